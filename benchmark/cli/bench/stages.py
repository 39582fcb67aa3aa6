"""`hakuna bench stages`: timing, and the regression gate."""

from pathlib import Path

from rich.console import Console

from benchmark.capacity.validation import IMAGES_PER_CALL
from benchmark.charts import tables
from benchmark.cli.bench.request import (
    QUICK_IMAGES,
    STARTUP_REPEATS,
    HarnessRequest,
    progress_bar,
    quiet_logs,
    working_in,
)
from benchmark.cli.bench.setup import make_harness
from benchmark.timing import regression_gate
from benchmark.timing.harness import time_startup
from benchmark.timing.report import BenchReport
from inference.cli.printing import printing_beside, show_or_write


def time_stages(
    request: HarnessRequest,
    plots: Path | None = None,
    baseline: BenchReport | None = None,
    max_regression: float = regression_gate.MAX_REGRESSION,
    json: Path | None = None,
) -> BenchReport:
    """Time every stage, print, keep, plot, compare. Raises DoesNotFitError where a stage has become slower."""
    with working_in(request.cache_dir) as work, quiet_logs():
        harness = make_harness(request, work, QUICK_IMAGES if request.quick else IMAGES_PER_CALL)
        bundle = harness.scene.bundle
        startup = time_startup(bundle, work / "startup", STARTUP_REPEATS)
        with progress_bar() as on_round:
            report = harness.time(request.n_repeats, startup, on_round=on_round)
        text = report.model_dump_json(indent=1, exclude_none=True)
        show_or_write(text, json, lambda: tables.print_report(report))
        if plots:
            from benchmark.charts.plots import write_plots

            for path in write_plots(report, bundle.manifest, plots):
                Console(stderr=True).print(f"plot  {path}", highlight=False)
        if baseline:
            compared = regression_gate.compare(
                report, baseline, max_regression, lambda names: harness.time(2 * request.n_repeats, only=names)
            )
            notes = (regression_gate.other_processor(report, baseline), regression_gate.new_stages(report, baseline))
            with printing_beside(json):
                tables.print_comparisons(compared, max_regression, [note for note in notes if note])
            regression_gate.check(compared, max_regression)
    return report
