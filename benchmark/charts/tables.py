"""Figures as printed tables."""

from rich.table import Table

from benchmark.capacity.device_profiles import Profile
from benchmark.capacity.projection import ENSEMBLES, LABEL, Decisive, Projection
from benchmark.capacity.rates import BYTES_OF_A_FRAME, BYTES_OF_A_VIEW
from benchmark.capacity.workloads import Workload
from benchmark.console import numbers_table, wide_console
from benchmark.timing.report import BenchReport, ComparisonFigures
from inference.core.choices import GPU_BATCH_SIZE
from inference.core.errors import counted
from inference.networks.forward import MAX_CALL_IMAGES

SHOWN_COMPARISONS = 8
MINUTE, HOUR = 60.0, 3600.0


def print_report(report: BenchReport) -> None:
    """Every stage with its rate and spread."""
    table = numbers_table("stage", "per second", "unit", "ms a call", "quartiles", "of its kernel", "cores busy")
    table.columns[2].justify = "left"
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
        console.out(f"start-up (process, one photo): {report.startup_seconds.median:.1f} s")
    if report.bundle.demo:
        console.out("demo networks: timings are valid, predictions are not")


def print_comparison(comparison: ComparisonFigures) -> None:
    """Print the stages that grew most, and notes about the baseline."""
    table = Table("stage", "times the baseline", "of its kernel now (first quartile)", "before", "kernel")
    for one in comparison.stages[:SHOWN_COMPARISONS]:
        regression = f"{one.times_the_baseline:.2f}{' !' if one.times_the_baseline > comparison.max_regression else ''}"
        table.add_row(one.name, regression, f"{one.ratio:.3g}", f"{one.baseline_ratio:.3g}", one.kernel)
    console = wide_console()
    console.print(table)
    if rest := comparison.stages[SHOWN_COMPARISONS:]:
        console.out(f"{counted(len(rest), 'more stage')}: at most {rest[0].times_the_baseline:.2f} times the baseline")
    for note in comparison.notes:
        console.out(note)


def print_projections(workload: Workload, projections: list[Projection], budget: float | None, what: str) -> None:
    """Ensembles down, precisions and levels across; those that fit are marked."""
    levels = list(dict.fromkeys((one.precision, one.level) for one in projections))
    table = numbers_table("ensemble", *(f"{precision.value} {level}" for precision, level in levels))
    found = {(one.ensemble, one.precision, one.level): one for one in projections}
    for ensemble in ENSEMBLES:
        cells = [found[ensemble, *level] for level in levels]
        shown = (f"{duration(one.seconds)}{' *' if budget and one.fits(budget) else ''}" for one in cells)
        table.add_row(ensemble.label, *shown)
    console = wide_console()
    console.out(f"{LABEL}: {workload.name}, {workload.sequences:,} sequences, on {what}")
    console.print(table)
    if budget:
        console.out(f"* fits {duration(budget)} with 5 % to spare")


def duration(seconds: float) -> str:
    """Seconds in a readable unit."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.1f} s"
    return f"{seconds / MINUTE:.1f} min" if seconds < HOUR else f"{seconds / HOUR:.1f} h"


def print_assumptions(profile: Profile) -> None:
    """Every number of a profile with its support and source, and the calls of networks as a run makes them."""
    table = Table("number", "value", "basis", "source")
    for path, one in profile.assumptions():
        table.add_row(" ".join(path).replace("_", " "), f"{one.value:g}", one.basis.value, one.source)
    console = wide_console()
    console.print(table)
    console.out(f"{profile.name}: {profile.description}")
    console.out(
        f"calls: {GPU_BATCH_SIZE} sequences a batch, as a run on a GPU has; each call is padded to {MAX_CALL_IMAGES} images, "
        f"mirror images included; a frame goes over the bus as {BYTES_OF_A_FRAME} bytes a pixel, other views as {BYTES_OF_A_VIEW}"
    )


def print_decisive(verdict: Projection, decisive: list[Decisive]) -> None:
    """The numbers on which a verdict hangs."""
    console, what = wide_console(), f"{verdict.ensemble.label} in {verdict.precision.value} ({verdict.level})"
    if not decisive:
        console.out(f"the verdict on {what} stays the same if any one number is half or twice as large")
    for one in decisive:
        console.out(
            f"the verdict on {what} hangs on {one.name}: {one.value:g} ({one.basis.value}); it turns at {one.turns_at:.3g}"
        )
