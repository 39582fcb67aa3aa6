"""Has anything become slower? Judged by ratios to calibration kernels, so that the machine's own speed drops out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.calibration import COPY, JPEG, JPEG_ALL, MATRIX
from inference.domain import DoesNotFitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from benchmark.bench_report import BenchReport, StageFigures

MAX_REGRESSION = 1.3
SECOND_LOOKS = 2
"""How often a stage that seems slower is timed again before that is believed; its best look counts."""
KERNEL_OF = {
    "decode": JPEG,
    "resample, networks": MATRIX,
    "views": COPY,
    "photos to views, stackers, submission, end to end": JPEG_ALL,
    "write records": JPEG,
}
"""Which kernel stands beside which stage: the one that uses cores and memory in the same way. For readers; each stage
names its own."""


@dataclass(frozen=True)
class Judged:
    """A stage now and in the baseline.

    Attributes
    ----------
    now, baseline : first quartile of its time over its kernel's: what it takes when nobody interrupts it
    """

    name: str
    kernel: str
    now: float
    baseline: float

    @property
    def regression(self) -> float:
        """How many times slower than in the baseline."""
        return self.now / self.baseline


def compare_reports(now: BenchReport, baseline: BenchReport) -> list[Judged]:
    """Every stage that both reports have, the slowest-grown first. Raises UsageError where they do not compare."""
    judged = []
    for stage in now.stages:
        old = baseline.stage(stage.name)
        if old is None or not _is_comparable(stage, old):
            continue
        judged.append(Judged(stage.name, stage.kernel, stage.ratio.low, old.ratio.low))
    if not judged:
        raise UsageError("--compare: the baseline must have stages of this timing run, got none; time it again")
    return sorted(judged, key=lambda one: -one.regression)


def _is_comparable(now: StageFigures, baseline: StageFigures) -> bool:
    return (now.kernel, now.n_units) == (baseline.kernel, baseline.n_units)


def judge(
    now: BenchReport,
    baseline: BenchReport,
    max_regression: float,
    time_again: Callable[[Collection[str]], BenchReport],
) -> list[Judged]:
    """Compare, and time again what seems slower; returns every stage with its best look."""
    best = {one.name: one for one in compare_reports(now, baseline)}
    for _ in range(SECOND_LOOKS):
        slower = [one.name for one in best.values() if one.regression > max_regression]
        if not slower:
            break
        for one in compare_reports(time_again(slower), baseline):
            best[one.name] = min(best[one.name], one, key=lambda look: look.regression)
    return sorted(best.values(), key=lambda one: -one.regression)


def check(judged: list[Judged], max_regression: float) -> None:
    """Raise DoesNotFitError naming every stage that is more than `max_regression` times slower."""
    slower = [one for one in judged if one.regression > max_regression]
    if slower:
        told = "; ".join(
            f"{one.name}: {one.regression:.2f} times ({one.baseline:.3g} -> {one.now:.3g} of '{one.kernel}')"
            for one in slower
        )
        raise DoesNotFitError(
            f"--max-regression {max_regression:g}: no stage must take more than that many times the baseline, "
            f"relative to its calibration kernel, got {told}"
        )
