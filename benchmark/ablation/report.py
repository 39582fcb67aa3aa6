"""The ablation study as a table and a plot: our change beside the published one, and a sentence if they disagree."""

from pathlib import Path
from typing import Any

from benchmark.report.page import environment
from inference.core.files import atomic_writer, make_folder

JUDGED = "S11"
HELD_OUT = "S10"
TEMPLATE_NAME, TABLE_NAME, PLOT_NAME = "ablation.md.j2", "ablation.md", "ablation.svg"
STANDARD_ERRORS = (12.71, 4.30, 3.18, 2.78, 2.57)
"""A change is clear if the 95 % interval of its mean over 2, 3, ... seeds excludes zero (Student's t); 6 for more."""

WHY_NOT = {
    "1": "Synthetic sequences show one species or, rarely, two: softmax loses little by assuming one.",
    "5 mean": "A mean cancels errors that two networks do not share, but also mixes the better with the worse; which effect "
    "is larger depends on the networks.",
    "5": "A season has few positives of most classes here: 250 thousand sequences teach a stacker more than some hundreds.",
    "7": "Two sets of stackers learn from some hundred sequences each.",
}
"""Untested explanations from the data why a step may not help on them. Shown only for steps that do not help."""
UP = ("5 mean", "8")
"""Steps that increased the author's loss."""


def markdown(figures: dict[str, Any]) -> str:
    """The table, and a sentence for every step without the published effect."""
    # A single seed shows nothing that needs an explanation.
    unlike = [step for step in figures["steps"] if is_unlike(step)] if len(figures["seeds"]) > 1 else []
    template = environment(Path(__file__).parent).get_template(TEMPLATE_NAME)
    return template.render(figures, unlike=unlike, is_clear=is_clear, verdict=verdict)


def is_unlike(step: dict[str, Any]) -> bool:
    """Whether a step shows no significant change of the log loss in the author's direction."""
    if step["against"] is None:
        return False
    return not is_clear(step) or (step["change"]["mean"] > 0) != (step["step"] in UP)


def is_clear(step: dict[str, Any]) -> bool:
    """Whether a change exceeds chance; never with a single seed."""
    change = step["change"]
    n_seeds = len(change["of_each_seed"])
    if n_seeds < 2:  # noqa: PLR2004  # no spread
        return False
    width = STANDARD_ERRORS[min(n_seeds, len(STANDARD_ERRORS) + 1) - 2] * change["spread"] / n_seeds**0.5
    return bool(abs(change["mean"]) > width)


def verdict(step: dict[str, Any]) -> str:
    """The effect of a step in words, and a possible reason."""
    changes = step["change"]["of_each_seed"]
    why = f" {WHY_NOT[step['step']]}" if step["step"] in WHY_NOT else ""
    if is_clear(step):
        return f"{'worse' if step['change']['mean'] > 0 else 'better'} here.{why}"
    direction = "worse" if step["step"] in UP else "better"
    if all((one > 0) == (step["step"] in UP) for one in changes):
        smallest, largest = sorted(changes, key=abs)[:: len(changes) - 1]
        return f"{direction} with every seed, as for the author ({smallest:+.5f} to {largest:+.5f}), but not distinguishable from chance with {len(changes)} seeds."
    return f"no change beyond chance.{why}"


def plot(figures: dict[str, Any]) -> str:
    """Log loss of each step with its spread, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from benchmark.charts.style import COLOURS, PLOT_HEIGHT, STYLE, WIDTH, svg

    steps = figures["steps"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, PLOT_HEIGHT), layout="constrained")
        axes = figure.subplots()
        for name, marker, colour, label in (
            (JUDGED, "o", COLOURS[0], "season 11"),
            (HELD_OUT, "s", COLOURS[1], "held-out half of season 10"),
        ):
            shown = {k: step[name]["log_loss"] for k, step in enumerate(steps) if name in step}
            means, spreads = ([one[kind] for one in shown.values()] for kind in ("mean", "spread"))
            axes.errorbar(list(shown), means, yerr=spreads, marker=marker, color=colour, capsize=3, label=label)
        priors = figures["priors"]["log_loss"]["mean"]
        axes.axhline(priors, color="black", linestyle=":", label="priors alone, season 11")
        axes.set_xticks(range(len(steps)), [f"{step['step']}" for step in steps])
        axes.set(xlabel="step of the published solution", ylabel="mean log loss")
        axes.set_ylim(bottom=0)
        axes.set_title(f"Synthetic seasons, {len(figures['seeds'])} seeds (whiskers: standard deviation)")
        axes.legend()
    return svg(figure)


def write_report(figures: dict[str, Any], folder: Path) -> None:
    """Write the table and the plot."""
    make_folder(folder)
    for name, text in ((TABLE_NAME, markdown(figures)), (PLOT_NAME, plot(figures))):
        with atomic_writer(folder / name) as file:
            file.write(text)
