"""Figures as tables for people."""

from __future__ import annotations

from rich.table import Table

from benchmark.capacity.device_profiles import Profile
from benchmark.capacity.projection import ENSEMBLES, LABEL, LOW, Projection
from benchmark.capacity.workloads import Workload
from benchmark.console import wide_console
from benchmark.timing.regression_gate import StageComparison
from benchmark.timing.report import BenchReport
from inference.core.choices import Precision

SHOWN_JUDGED = 8
MINUTE, HOUR = 60.0, 3600.0


def print_report(report: BenchReport) -> None:
    """Every stage with its rate and spread."""
    table = Table("stage", "per second", "unit", "ms a call", "quartiles", "of its kernel", "cores busy")
    for column in (1, 3, 4, 5, 6):
        table.columns[column].justify = "right"
    for one in report.stages:
        ms = one.seconds.times(1000)
        table.add_row(
            one.name,
            f"{one.per_second:.4g}",
            one.unit,
            f"{ms.median:.4g}",
            f"{ms.low:.4g}-{ms.high:.4g}",
            f"{one.ratio.median:.3g} x {one.kernel}",
            f"{one.load:.0%}",
        )
    console = wide_console()
    console.print(table)
    if report.startup_seconds:
        console.print(f"start-up (process, one photo): {report.startup_seconds.median:.1f} s", highlight=False)
    if report.bundle.demo:
        console.print("demo networks: the times mean something, the answers do not", highlight=False)


def print_judged(judged: list[StageComparison], max_regression: float, notes: list[str]) -> None:
    """The stages that grew most, and what to know about the baseline."""
    table = Table("stage", "times the baseline", "of its kernel now", "before", "kernel")
    for one in judged[:SHOWN_JUDGED]:
        regression = f"{one.regression:.2f}{' !' if one.regression > max_regression else ''}"
        table.add_row(one.name, regression, f"{one.now:.3g}", f"{one.baseline:.3g}", one.kernel)
    console = wide_console()
    console.print(table)
    for note in notes:
        console.print(note, highlight=False)


def print_projections(workload: Workload, projections: list[Projection], budget: float | None, what: str) -> None:
    """Ensembles down, precisions and levels across; those that fit are marked."""
    levels = list(dict.fromkeys((one.precision, one.level) for one in projections))
    table = Table("ensemble", *(f"{precision.value} {level}" for precision, level in levels))
    for column in table.columns[1:]:
        column.justify = "right"
    found = {(one.ensemble, one.precision, one.level): one for one in projections}
    for ensemble in ENSEMBLES:
        cells = [found[ensemble, precision, level] for precision, level in levels]
        table.add_row(ensemble.label, *(_cell(one, budget) for one in cells))
    console = wide_console()
    console.print(f"{LABEL}: {workload.name}, {workload.sequences:,} sequences, on {what}", highlight=False)
    console.print(table)
    if budget:
        console.print(f"* fits {duration(budget)} with 5 % to spare", highlight=False)


def _cell(one: Projection, budget: float | None) -> str:
    return f"{duration(one.seconds)}{' *' if budget and one.fits(budget) else ''}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.1f} s"
    return f"{seconds / MINUTE:.1f} min" if seconds < HOUR else f"{seconds / HOUR:.1f} h"


def print_assumptions(profile: Profile) -> None:
    """Every number of a profile with its source."""
    table = Table("assumption", "value", "source")
    for precision in Precision:
        arithmetic = profile.mixed if precision is Precision.MIXED else profile.float32
        for name in ("peak_tflops", LOW, "mid", "high"):
            one = getattr(arithmetic, name)
            table.add_row(f"{precision.value} {name.replace('_', ' ')}", f"{one.value:g}", one.source)
    for name in ("photo_core_seconds", "cores", "startup_seconds", "postprocess_seconds_per_sequence"):
        one = getattr(profile, name)
        table.add_row(name.replace("_", " "), f"{one.value:g}", one.source)
    calls = profile.calls
    table.add_row("images per call", f"{calls.images_per_call}", calls.source)
    console = wide_console()
    console.print(table)
    console.print(f"{profile.name}: {profile.description}", highlight=False)
