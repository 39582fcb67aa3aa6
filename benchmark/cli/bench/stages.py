"""Networks and photos to time, off the clock; `hakuna bench stages`: timing, and the regression gate."""

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark.capacity.validation import IMAGES_PER_CALL
from benchmark.charts import tables
from benchmark.cli.bench.request import (
    QUICK_IMAGES,
    STARTUP_REPEATS,
    HarnessRequest,
    check_tensorflow,
    command_line,
    quiet_logs,
    working_in,
)
from benchmark.timing import regression_gate
from benchmark.timing.harness import Harness, default_sizes, n_workers, time_startup
from benchmark.timing.repeated_season import write_repeated_season
from benchmark.timing.report import BenchReport, ComparedFigures
from benchmark.timing.stages import all_stages, set_up
from inference.bundle.reader import Bundle, open_bundle
from inference.cli.printing import printing_beside, show_or_write
from inference.cli.session import working
from inference.core.choices import Precision
from inference.execution.job import RunOptions
from inference.settings.settings import load_settings

SEED = 1


def make_harness(
    request: HarnessRequest,
    work: Path,
    images_per_call: tuple[int, ...],
    sizes: list[tuple[Any, int]] | None = None,
    precisions: tuple[Precision, ...] | None = None,
) -> Harness:
    """Networks and photos, off the clock."""
    bundle = _bundle(request, work)
    data = request.data or work / "photos"
    if not request.data and not data.exists():
        write_repeated_season(data, sizes or default_sizes(short=request.quick), SEED)
    stages_folder = Path(tempfile.mkdtemp(prefix="stages-", dir=work))
    wanted = precisions or ((Precision.FLOAT32,) if request.quick else tuple(Precision))
    given = load_settings()
    scene = set_up(
        data,
        bundle,
        RunOptions(n_workers=n_workers(), batch_size=given.sequences_per_batch),
        stages_folder,
        wanted,
        engine=given.engine,
        device=given.device,
    )
    return Harness(scene, all_stages(scene, images_per_call), command_line())


def _bundle(request: HarnessRequest, work: Path) -> Bundle:
    """The requested bundle, or an untrained one."""
    if request.bundle:
        return open_bundle(request.bundle)
    check_tensorflow("without --bundle", "makes untrained networks", "give --bundle, or ")
    from models.bundling.untrained import untrained_bundle
    from models.keras_io.architectures import TINY
    from models.spec.recipe import load_recipe

    backbone = request.backbone or TINY
    folder = work / f"bundle_{request.recipe}_{backbone}"
    return (
        open_bundle(folder)
        if folder.exists()
        else untrained_bundle(folder, load_recipe(request.recipe), SEED, backbone)
    )


def time_stages(
    request: HarnessRequest,
    plots: Path | None = None,
    baseline: BenchReport | None = None,
    max_regression: float = regression_gate.MAX_REGRESSION,
    json: Path | None = None,
) -> BenchReport:
    """Time every stage, print, keep, plot, compare. Raises DoesNotFitError if a stage has become slower."""
    with working_in(request.cache_dir) as work, quiet_logs():
        harness = make_harness(request, work, QUICK_IMAGES if request.quick else IMAGES_PER_CALL)
        bundle = harness.scene.bundle
        startup = time_startup(bundle, work / "startup", STARTUP_REPEATS)
        with working("timing") as on_round:
            report = harness.time(request.n_repeats, startup, on_round=on_round)
        compared: list[ComparedFigures] = []

        def time_again(names: Collection[str]) -> BenchReport:
            seeming = f"slower than {max_regression:g} times the baseline, so timed again: {', '.join(names)}"
            Console(stderr=True).print(seeming, highlight=False, markup=False)
            return harness.time(2 * request.n_repeats, only=names)

        try:
            if baseline:
                compared = regression_gate.compare(report, baseline, max_regression, time_again)
                figures = regression_gate.figures_of(compared, report, baseline, max_regression)
                report = report.model_copy(update={"comparison": figures})
        finally:  # also if the baseline has other stages
            text = report.model_dump_json(indent=1, exclude_none=True)
            show_or_write(text, json, lambda: tables.print_report(report))
        if plots:
            from benchmark.charts.plots import write_plots

            for path in write_plots(report, bundle.manifest, plots):
                Console(stderr=True).print(f"plot  {path}", highlight=False)
        if report.comparison:
            with printing_beside(json):
                tables.print_comparison(report.comparison)
            regression_gate.check(compared, max_regression)
    return report
