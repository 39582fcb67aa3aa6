"""Detects slower stages. Comparing ratios to reference kernels cancels the machine's speed."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from benchmark.provenance import PROCESSOR
from benchmark.timing.report import BenchReport, ComparedFigures, ComparisonFigures
from inference.core.errors import DoesNotFitError, UsageError

MAX_REGRESSION = 1.3
RETRIES = 3
"""Repeats of a seemingly slower stage before it counts as slower; its best comparison counts."""
UNDISTURBED = 0.9
"""A kernel is disturbed if it gets less than this share of the processor time that it got in the baseline."""


def compare_reports(now: BenchReport, baseline: BenchReport) -> list[ComparedFigures]:
    """Every stage in both reports, the largest growth first.

    Waiting is not the fault of a stage whose kernel is disturbed: it only counts as slower if it also needs more
    processor time.
    """
    compared = []
    for stage in now.stages:
        old = baseline.stage(stage.name)
        if old is None or (stage.kernel, stage.n_units) != (old.kernel, old.n_units):
            continue
        is_disturbed = stage.kernel_load < UNDISTURBED * old.kernel_load
        on_the_clock, at_work = stage.ratio.low / old.ratio.low, stage.cpu_ratio.low / old.cpu_ratio.low
        compared.append(
            ComparedFigures(
                name=stage.name,
                kernel=stage.kernel,
                times_the_baseline=min(on_the_clock, at_work) if is_disturbed else on_the_clock,
                ratio=stage.ratio.low,
                baseline_ratio=old.ratio.low,
                is_disturbed=is_disturbed,
            )
        )
    return sorted(compared, key=lambda one: -one.times_the_baseline)


def notes_on(now: BenchReport, baseline: BenchReport) -> tuple[str, ...]:
    """Notes about stages that the baseline does not have, and about networks that are not the same."""
    new = [one.name for one in now.stages if baseline.stage(one.name) is None]
    notes = [f"not in the baseline, so not compared: {', '.join(new)}"] if new else []
    # Untrained networks are drawn anew for every report: another id, the same work.
    drawn_anew = now.bundle.demo and baseline.bundle.demo and now.bundle.name == baseline.bundle.name
    if now.bundle.id != baseline.bundle.id and not drawn_anew:
        before, here = (f"{one.bundle.name} ({one.bundle.id[:12]})" for one in (baseline, now))
        notes.append(f"the baseline is of bundle {before}, this run of {here}: networks may differ in their work")
    return tuple(notes)


def figures_of(
    compared: list[ComparedFigures], now: BenchReport, baseline: BenchReport, max_regression: float
) -> ComparisonFigures:
    """The comparison for programs."""
    return ComparisonFigures(
        verdict="slower" if any(one.times_the_baseline > max_regression for one in compared) else "not slower",
        max_regression=max_regression,
        baseline_date=baseline.date,
        stages=tuple(compared),
        notes=notes_on(now, baseline),
    )


def check_processor(machine: Mapping[str, Any], baseline: BenchReport) -> None:
    """Raise UsageError for a baseline of another kind of processor: ratios to kernels differ whatever the code does."""
    there, here = ([facts.get(one) for one in PROCESSOR] for facts in (baseline.machine, machine))
    if here != there:
        before, now = (
            f"{cores} cores of {cpu} with {instructions or 'instructions unknown'}"
            for cpu, instructions, cores in (there, here)
        )
        raise UsageError(
            f"--compare: the baseline must come from {now}, as this machine, got {before}; "
            "make one here: hakuna bench stages --json FILE"
        )


def compare(
    now: BenchReport,
    baseline: BenchReport,
    max_regression: float,
    time_again: Callable[[Collection[str]], BenchReport],
) -> list[ComparedFigures]:
    """Compare, and repeat stages that seem slower; returns every stage with its best comparison.

    Raises UsageError if a stage of the baseline has no counterpart: a gate must not widen unnoticed.
    """
    best = {one.name: one for one in compare_reports(now, baseline)}
    lost = [one.name for one in baseline.stages if one.name not in best]
    if lost or not best:
        raise UsageError(
            f"--compare: every stage of the baseline must be timed again, got none like {', '.join(lost) or 'any'}; "
            f"the baseline is of bundle {baseline.bundle.name} ({baseline.command}), this run of {now.bundle.name}"
        )
    for _ in range(RETRIES):
        slower = [one.name for one in best.values() if one.times_the_baseline > max_regression]
        if not slower:
            break
        for one in compare_reports(time_again(slower), baseline):
            best[one.name] = min(best[one.name], one, key=lambda each: each.times_the_baseline)
    return sorted(best.values(), key=lambda one: -one.times_the_baseline)


def check(compared: list[ComparedFigures], max_regression: float) -> None:
    """Raise DoesNotFitError naming every stage that is more than `max_regression` times slower."""
    slower = [one for one in compared if one.times_the_baseline > max_regression]
    if slower:
        details = "; ".join(
            f"{one.name}: {one.times_the_baseline:.2f} times ({one.baseline_ratio:.3g} -> {one.ratio:.3g} of '{one.kernel}')"
            for one in slower
        )
        raise DoesNotFitError(
            f"--max-regression {max_regression:g}: no stage must take more than that many times the baseline, "
            f"relative to its reference kernel, got {details}"
        )
