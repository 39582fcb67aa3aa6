"""A score as printed tables."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.console import LOG_WIDTH, numbers_table, wide_console
from benchmark.scoring.log_loss import Score
from benchmark.scoring.report import FEWEST_UNITS_WITH_POSITIVES, ClassReport, Comparison, Interval, ScoreReport
from inference.core.errors import counted

DIGITS = 6
MOST_GROUPS = 8
"""Number of sites shown, those with the largest loss. `--json` has all of them."""
MOST_CLASSES_COMPARED = 10
BAR_CELLS = 16


def print_score(result: Score, most: int | None = None) -> None:
    """The short table at the end of the demo."""
    table = numbers_table("class", "log loss", "contribution", "positives", "mean prediction")
    for one in result.classes[:most]:
        numbers = [f"{value:.{DIGITS}f}" for value in (one.log_loss, one.contribution)]
        table.add_row(one.label, *numbers, str(one.positives), f"{one.mean_prediction:.{DIGITS}f}")
    console = wide_console()
    console.print(table)
    if most and most < len(result.classes):
        console.out(f"... and {len(result.classes) - most} more classes")
    console.out(f"mean log loss {result.log_loss:.{DIGITS}f} over {counted(result.n_sequences, 'sequence')}")


def print_report(report: ScoreReport, *names: object) -> None:
    """Classes, groups, tuning, comparison of two submissions with these names; the score with its interval is the last line."""
    console = wide_console()
    console.print(_class_table(report.classes, console.width))
    for name, groups in report.breakdowns.items():
        if len(groups) == 1:
            continue
        shown = groups if name != "site" else sorted(groups, key=lambda one: -one.share)[:MOST_GROUPS]
        table = numbers_table(name, "sequences", "log loss", "share of the loss")
        for one in shown:
            table.add_row(escape(one.name), f"{one.n_sequences:,}", f"{one.log_loss:.{DIGITS}f}", f"{one.share:.1%}")
        console.print(table)
        if len(shown) < len(groups):
            console.out(f"... and {len(groups) - len(shown)} more (--json has them all)")
    if tuning := report.tuning:
        console.out(
            f"on the held-out half: {tuning.as_it_is:.{DIGITS}f} unchanged, "
            f"{tuning.clipped:.{DIGITS}f} {tuning.clipping}, {tuning.tempered:.{DIGITS}f} with confidence rescaled by temperature "
            f"{' or '.join(f'{one:.3f}' for one in tuning.temperatures)}",
        )
    if report.comparison:
        _print_comparison(report.comparison, console, *names)
    top1 = report.headline.species_top1_accuracy
    console.out(
        f"accuracy on empty {report.headline.empty_accuracy:.2%}, likeliest species right "
        f"{'-' if top1 is None else f'{top1:.2%}'} of {report.headline.n_not_empty:,} non-empty sequences",
    )
    for n_lost, words in (
        (report.n_without_labels, "left out: {} without labels"),
        (report.n_without_prediction, "left out: labels of {} without a prediction"),
        (report.n_without_metadata, "not in the metadata: {}; site, hour and number of frames count as unknown"),
    ):
        if n_lost:
            console.out(words.format(counted(n_lost, "sequence")))
    if report.resampling.small_sample_note:
        console.out(report.resampling.small_sample_note)
    console.out(
        f"mean log loss {report.log_loss:.{DIGITS}f} over {counted(report.n_sequences, 'sequence')}, "
        f"{report.resampling.level:.0%} interval {_bounds(report.interval)} "
        f"({report.resampling.n_units} {report.resampling.drawn} drawn {report.resampling.n_resamples} times)",
    )


def _class_table(classes: tuple[ClassReport, ...], width: int) -> Table:
    """All columns, or those that fit 80 columns of text."""
    heads = ("class", "log loss", "95 %", "contribution", "positives", "", "mean prediction", "calibration error")
    n_shown = len(heads) if width >= LOG_WIDTH else heads.index("")
    table = numbers_table(*heads[:n_shown])
    if n_shown == len(heads):
        table.columns[heads.index("")].justify = "left"  # a bar
    largest = max(one.contribution for one in classes)
    for one in classes:
        cells = (
            one.label,
            f"{one.log_loss:.{DIGITS}f}",
            _bounds(one.interval),
            f"{one.contribution:.{DIGITS}f}",
            f"{one.positives:,}",
            "█" * round(BAR_CELLS * one.contribution / largest) if largest else "",
            f"{one.mean_prediction:.{DIGITS}f}",
            f"{one.calibration_error:.{DIGITS}f}",
        )
        table.add_row(*cells[:n_shown])
    return table


def _print_comparison(comparison: Comparison, console: Console, first: object, second: object) -> None:
    table = numbers_table("class", "difference", "95 %", "of the score", "better")
    for one in comparison.classes[:MOST_CLASSES_COMPARED]:
        table.add_row(
            one.label,
            f"{one.difference:+.{DIGITS}f}",
            _bounds(one.interval, sign=True),
            f"{one.contribution:+.{DIGITS}f}",
            one.better,
        )
    console.print(table)
    console.out(
        "of 54 verdicts at 95 % two or three differ by chance; a class on fewer than "
        f"{FEWEST_UNITS_WITH_POSITIVES} sites is unclear",
    )
    if len(comparison.classes) > MOST_CLASSES_COMPARED:
        console.out(f"... and {len(comparison.classes) - MOST_CLASSES_COMPARED} classes with smaller contributions")
    console.out(
        f"first ({first}) {comparison.first:.{DIGITS}f}, second ({second}) {comparison.second:.{DIGITS}f}, difference "
        f"{comparison.difference:+.{DIGITS}f} {_bounds(comparison.interval, sign=True)}: {comparison.better} "
        f"(the first is better in {comparison.share_first_better:.1%} of the draws)",
    )


def _bounds(interval: Interval, *, sign: bool = False) -> str:
    plus = "+" if sign else ""
    return f"[{interval.low:{plus}.{DIGITS}f}, {interval.high:{plus}.{DIGITS}f}]"
