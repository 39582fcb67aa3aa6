"""`hakuna bench`: stages, and the regression gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmark.capacity.validation import IMAGES_PER_CALL
from benchmark.charts import tables
from benchmark.studies.gate_experiments import run_experiments
from benchmark.timing import regression_gate
from benchmark.timing.harness import time_startup
from benchmark.timing.report import BenchReport, read_report, write_report

if TYPE_CHECKING:
    pass
from benchmark.cli.bench.request import (
    SHORT_IMAGES,
    STARTUP_REPEATS,
    BenchRequest,
    make_harness,
    progress_bar,
    quiet_logs,
    show_figures,
    with_parent_folder,
    work_folder,
)


def time_stages(request: BenchRequest, plots: Path | None, compare: Path | None, max_regression: float) -> BenchReport:
    """Time every stage, print, keep, plot, compare. Raises DoesNotFitError where a stage has become slower."""
    baseline = read_report(compare) if compare else None
    with work_folder(request.work) as work, quiet_logs():
        harness = make_harness(request, work, SHORT_IMAGES if request.short else IMAGES_PER_CALL)
        bundle = harness.scene.bundle
        startup = time_startup(bundle, work / "startup", STARTUP_REPEATS)
        with progress_bar() as on_round:
            report = harness.time(request.n_repeats, startup, on_round=on_round)
        tables.print_report(report)
        if request.json_file:
            with_parent_folder(request.json_file)
            write_report(report, request.json_file)
        if plots:
            from benchmark.charts.plots import write_plots

            for path in write_plots(report, bundle.manifest, plots):
                Console().print(f"plot  {path}", highlight=False)
        if baseline:
            compared = regression_gate.compare(
                report, baseline, max_regression, lambda names: harness.time(2 * request.n_repeats, only=names)
            )
            notes = (regression_gate.other_processor(report, baseline), regression_gate.new_stages(report, baseline))
            tables.print_comparisons(compared, max_regression, [note for note in notes if note])
            regression_gate.check(compared, max_regression)
    return report


def try_gate(request: BenchRequest) -> dict[str, Any]:
    """The gate with a slowed stage and on a busy machine."""
    with work_folder(request.work) as work, quiet_logs():
        figures = run_experiments(make_harness(request, work, SHORT_IMAGES), request.n_repeats)
    return show_figures(figures, request.json_file)
