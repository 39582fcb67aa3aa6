"""Detects slower stages. Comparing ratios to reference kernels cancels the machine's speed."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.provenance import PROCESSOR
from benchmark.timing.report import BenchReport, ComparedFigures, ComparisonFigures
from inference.core.errors import DoesNotFitError, UsageError

MAX_REGRESSION = 1.3
RETRIES = 3
"""Repeats of a seemingly slower stage before it counts as slower; its best comparison counts."""
UNDISTURBED = 0.9
"""A kernel is disturbed if it gets less than this share of the processor time that it got in the baseline."""


@dataclass(frozen=True)
class StageComparison:
    """A stage now and in the baseline.

    Attributes
    ----------
    now, baseline : first quartile of its time divided by its kernel's: its undisturbed duration
    cpu_now, cpu_baseline : the same in processor time
    is_disturbed : whether other processes took cores from the kernel, and so from the stage. Waiting is then not the
        stage's fault: it counts as slower only if it also needs more processor time
    """

    name: str
    kernel: str
    now: float
    baseline: float
    cpu_now: float
    cpu_baseline: float
    is_disturbed: bool

    @property
    def regression(self) -> float:
        """Factor by which it is slower than in the baseline."""
        on_the_clock, at_work = self.now / self.baseline, self.cpu_now / self.cpu_baseline
        return min(on_the_clock, at_work) if self.is_disturbed else on_the_clock


def compare_reports(now: BenchReport, baseline: BenchReport) -> list[StageComparison]:
    """Every stage in both reports, the largest growth first."""
    compared = [
        StageComparison(
            name=stage.name,
            kernel=stage.kernel,
            now=stage.ratio.low,
            baseline=old.ratio.low,
            cpu_now=stage.cpu_ratio.low,
            cpu_baseline=old.cpu_ratio.low,
            is_disturbed=stage.kernel_load < UNDISTURBED * old.kernel_load,
        )
        for stage in now.stages
        if (old := baseline.stage(stage.name)) and (stage.kernel, stage.n_units) == (old.kernel, old.n_units)
    ]
    return sorted(compared, key=lambda one: -one.regression)


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
    compared: list[StageComparison], now: BenchReport, baseline: BenchReport, max_regression: float
) -> ComparisonFigures:
    """The comparison for programs."""
    stages = tuple(
        ComparedFigures(
            name=one.name,
            kernel=one.kernel,
            times_the_baseline=one.regression,
            ratio=one.now,
            baseline_ratio=one.baseline,
            is_disturbed=one.is_disturbed,
        )
        for one in compared
    )
    return ComparisonFigures(
        verdict="slower" if any(one.regression > max_regression for one in compared) else "not slower",
        max_regression=max_regression,
        baseline_date=baseline.date,
        stages=stages,
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
) -> list[StageComparison]:
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
        slower = [one.name for one in best.values() if one.regression > max_regression]
        if not slower:
            break
        for one in compare_reports(time_again(slower), baseline):
            best[one.name] = min(best[one.name], one, key=lambda each: each.regression)
    return sorted(best.values(), key=lambda one: -one.regression)


def check(compared: list[StageComparison], max_regression: float) -> None:
    """Raise DoesNotFitError naming every stage that is more than `max_regression` times slower."""
    slower = [one for one in compared if one.regression > max_regression]
    if slower:
        details = "; ".join(
            f"{one.name}: {one.regression:.2f} times ({one.baseline:.3g} -> {one.now:.3g} of '{one.kernel}')"
            for one in slower
        )
        raise DoesNotFitError(
            f"--max-regression {max_regression:g}: no stage must take more than that many times the baseline, "
            f"relative to its reference kernel, got {details}"
        )
