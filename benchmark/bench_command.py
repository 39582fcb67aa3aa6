"""What `hakuna bench` does, verb by verb; `benchmark.cli` hands over plain arguments."""

from __future__ import annotations

import json
import logging
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from rich.console import Console
from rich.progress import Progress

from benchmark import gate, scaling, tables
from benchmark.bench_report import BenchReport, read_report, write_report
from benchmark.flops import bundle_operations, recipe_operations
from benchmark.gate_experiments import run_experiments
from benchmark.harness import Harness, default_sizes, measured_rates, n_workers, time_startup
from benchmark.machine import origin, write_json
from benchmark.neighbour_speed import measure_neighbours
from benchmark.profiles import load_profile
from benchmark.projection import ENSEMBLES, LOW, MEASURED, Projection, manifest_of, profile_table, project
from benchmark.repeated_season import write_repeated_season
from benchmark.stages import set_up
from benchmark.validation import IMAGES_PER_CALL, TIMED_SIZES, validate
from benchmark.workloads import load_workload
from inference.bundle import Bundle, open_bundle
from inference.domain import DoesNotFitError, Effort, Precision, UsageError
from inference.job import RunOptions
from models.architectures import TINY
from models.importing import import_assets
from models.random_assets import write_random_assets
from models.recipes import load_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmark.workloads import Workload

SHORT_REPEATS, REPEATS = 7, 9
STARTUP_REPEATS = 2
SHORT_IMAGES = (2, 16)
BACKBONE = "InceptionResNetV2"
SEED = 1


@dataclass(frozen=True)
class BenchRequest:
    """What the command line asked for."""

    data: Path | None
    bundle: Path | None
    application: str | None
    recipe: str
    short: bool
    repeats: int | None
    work: Path | None
    json_file: Path | None
    command: str

    @property
    def n_repeats(self) -> int:
        """Repeats of every stage."""
        return self.repeats or (SHORT_REPEATS if self.short else REPEATS)


def time_stages(request: BenchRequest, plots: Path | None, compare: Path | None, max_regression: float) -> BenchReport:
    """Time every stage, print, keep, plot, compare. Raises DoesNotFitError where a stage has become slower."""
    baseline = read_report(compare) if compare else None
    with _work_folder(request.work) as work, _quiet():
        harness = _harness(request, work, SHORT_IMAGES if request.short else IMAGES_PER_CALL)
        bundle = harness.scene.bundle
        startup = time_startup(bundle, work / "startup", STARTUP_REPEATS)
        with _bar() as on_round:
            report = harness.time(request.n_repeats, startup, on_round=on_round)
        tables.print_report(report)
        if request.json_file:
            _parent(request.json_file)
            write_report(report, request.json_file)
        if plots:
            from benchmark.plots import write_plots  # noqa: PLC0415  # Matplotlib is there for developers only

            for path in write_plots(report, bundle.manifest, plots):
                Console().print(f"plot  {path}", highlight=False)
        if baseline:
            judged = gate.judge(
                report, baseline, max_regression, lambda names: harness.time(2 * request.n_repeats, only=names)
            )
            notes = (gate.other_processor(report, baseline), gate.new_stages(report, baseline))
            tables.print_judged(judged, max_regression, [note for note in notes if note])
            gate.check(judged, max_regression)
    return report


def project_workload(
    request: BenchRequest,
    workload_name: str,
    budget: float | None,
    profile_name: str | None,
    ensemble: Effort,
    precision: Precision,
) -> None:
    """Project a workload for every ensemble. Raises DoesNotFitError where the one that is asked for does not fit."""
    workload = load_workload(workload_name)
    if profile_name:
        projections, what, level = _on_profile(request, workload, profile_name, budget)
    else:
        projections, what, level = _on_this_machine(request, workload, budget)
    judged = [one for one in projections if (one.ensemble, one.precision, one.level) == (ensemble, precision, level)]
    if not judged:
        raise UsageError(f"--precision {precision.value}: must be one that this machine has")
    if request.json_file:
        write_json(_figures(workload, projections, budget, what, request.command), _parent(request.json_file))
    if budget and not judged[0].fits(budget):
        fitting = [one for one in projections if one.level == level and one.fits(budget)]
        best = min(fitting, key=lambda one: (one.ensemble, one.precision is Precision.MIXED), default=None)
        instead = f"; {best.ensemble.label} in {best.precision.value} would fit" if best else "; nothing would fit"
        raise DoesNotFitError(
            f"--budget {tables.duration(budget)}: must be enough for {workload.name}, {ensemble.label} in "
            f"{precision.value} on {what} ({level}), got a projection of {tables.duration(judged[0].seconds)}{instead}"
        )


def _on_profile(
    request: BenchRequest, workload: Workload, name: str, budget: float | None
) -> tuple[list[Projection], str, str]:
    profile = load_profile(name)
    if request.bundle:
        bundle = open_bundle(request.bundle)
        manifest, operations = bundle.manifest, bundle_operations(bundle)
    else:
        recipe = load_recipe(request.recipe)
        manifest, operations = manifest_of(recipe), recipe_operations(recipe, request.application or BACKBONE)
    projections = profile_table(workload, manifest, profile, operations)
    tables.print_assumptions(profile)
    tables.print_projections(workload, projections, budget, f"{profile.name} (not measured)")
    return projections, profile.name, LOW


def _on_this_machine(
    request: BenchRequest, workload: Workload, budget: float | None
) -> tuple[list[Projection], str, str]:
    report = time_stages(request, None, None, gate.MAX_REGRESSION)
    manifest = open_bundle(request.bundle).manifest if request.bundle else manifest_of(load_recipe(request.recipe))
    timed = [one for one in Precision if any(stage.precision == one.value for stage in report.stages)]
    projections = [
        project(workload, manifest, measured_rates(report, one), ensemble=ensemble, precision=one, level=MEASURED)
        for one in timed
        for ensemble in ENSEMBLES
    ]
    tables.print_projections(workload, projections, budget, "this machine, from the rates above")
    return projections, "this machine", MEASURED


def _figures(
    workload: Workload, projections: list[Projection], budget: float | None, what: str, command: str
) -> dict[str, Any]:
    return {
        "what": f"projection of {workload.name} on {what}: not measured",
        **origin(command),
        "workload": workload.model_dump(mode="json"),
        "budget_seconds": budget,
        "projections": [
            {
                "ensemble": one.ensemble.label,
                "precision": one.precision.value,
                "level": one.level,
                "hours": round(one.seconds / tables.HOUR, 3),
                "fits": one.fits(budget) if budget else None,
            }
            for one in projections
        ],
    }


def validate_projections(request: BenchRequest, n_sequences: int) -> dict[str, Any]:
    """Predicted against real time of three workloads."""
    with _work_folder(request.work) as work, _quiet():
        harness = _harness(request, work, IMAGES_PER_CALL, sizes=TIMED_SIZES, precisions=(Precision.FLOAT32,))
        bundle = harness.scene.bundle
        figures = validate(
            harness,
            bundle,
            Path(tempfile.mkdtemp(dir=work)),
            n_sequences=n_sequences,
            repeats=request.n_repeats,
            time_startup=lambda: time_startup(bundle, Path(tempfile.mkdtemp(dir=work)), STARTUP_REPEATS),
        )
    return _shown(figures, request.json_file)


def try_gate(request: BenchRequest) -> dict[str, Any]:
    """The gate with a slowed stage and on a busy machine."""
    with _work_folder(request.work) as work, _quiet():
        figures = run_experiments(_harness(request, work, SHORT_IMAGES), request.n_repeats)
    return _shown(figures, request.json_file)


def time_decoders(request: BenchRequest) -> dict[str, Any]:
    """Every decoder beside Pillow. Raises UsageError without photos."""
    from benchmark.decoders import compare_decoders  # noqa: PLC0415  # DALI is not everywhere

    return _shown(compare_decoders(_photos_of(request), request.command), request.json_file)


def time_against_published(request: BenchRequest) -> dict[str, Any]:
    """Ours beside the published program's way of working. Raises UsageError without photos."""
    from benchmark.against_published import compare  # noqa: PLC0415  # TensorFlow takes seconds

    with _work_folder(request.work) as work:
        figures = compare(
            _photos_of(request),
            recipe_name=request.recipe,
            application=request.application or BACKBONE,
            work=work,
            command=request.command,
        )
    return _shown(figures, request.json_file)


def time_training(request: BenchRequest) -> dict[str, Any]:
    """Images per second of training."""
    from benchmark.training import APPLICATION, measure_training  # noqa: PLC0415  # TensorFlow takes seconds

    with _work_folder(request.work) as work:
        figures = measure_training(work, n_workers(), request.command, request.application or APPLICATION)
    return _shown(figures, request.json_file)


def time_scaling(request: BenchRequest, plots: Path | None) -> dict[str, Any]:
    """Time and memory against the number of sequences."""
    with _work_folder(request.work) as work:
        figures = _shown(scaling.measure_scaling(work, request.command), request.json_file)
    if plots:
        plots.mkdir(parents=True, exist_ok=True)
        scaling.plot(figures, plots / "scaling.svg")
    return figures


def climb_ladder(request: BenchRequest, plots: Path | None, *, mini: bool) -> dict[str, Any]:
    """The published solution step by step; `--work` keeps what is done."""
    from benchmark.ladder import FULL, MINI, run_ladder  # noqa: PLC0415  # TensorFlow takes seconds
    from benchmark.ladder_report import markdown, write_report  # noqa: PLC0415

    with _work_folder(request.work) as work:
        figures = run_ladder(work, MINI if mini else FULL, n_workers(), request.command)
    print(markdown(figures))  # noqa: T201  # a table in Markdown, to be copied: lines must not be broken
    if request.json_file:
        write_json(figures, _parent(request.json_file))
    if plots:
        write_report(figures, plots)
    return figures


def train_demo_bundle(request: BenchRequest, out: Path) -> None:
    """The bundle of `hakuna demo`."""
    from benchmark.demo_bundle import make_demo_bundle  # noqa: PLC0415  # TensorFlow takes seconds

    with _work_folder(request.work) as work:
        bundle = make_demo_bundle(work, out, request.command, n_workers())
    Console().print(f"bundle {bundle.id[:12]} -> {bundle.folder}", highlight=False)


def time_neighbours(request: BenchRequest) -> dict[str, Any]:
    """Seconds and memory of finding the neighbours of all public seasons."""
    return _shown(measure_neighbours(request.command), request.json_file)


def draw_history(folder: Path) -> None:
    """All committed figures on one page."""
    from benchmark.history import write_page  # noqa: PLC0415  # Matplotlib is there for developers only

    Console().print(f"page  {write_page(folder)}", highlight=False)


def _photos_of(request: BenchRequest) -> Path:
    if request.data is None:
        raise UsageError("DATA: must be given with --against")
    return request.data


def _shown(figures: dict[str, Any], json_file: Path | None) -> dict[str, Any]:
    Console().print_json(json.dumps(figures))
    if json_file:
        write_json(figures, _parent(json_file))
    return figures


def _harness(
    request: BenchRequest,
    work: Path,
    images_per_call: tuple[int, ...],
    sizes: list[tuple[Any, int]] | None = None,
    precisions: tuple[Precision, ...] | None = None,
) -> Harness:
    """Networks and photos, off the clock."""
    data = request.data or work / "photos"
    if not request.data and not data.exists():
        write_repeated_season(data, sizes or default_sizes(short=request.short), SEED)
    stages_folder = Path(tempfile.mkdtemp(prefix="stages-", dir=work))
    wanted = precisions or ((Precision.FLOAT32,) if request.short else tuple(Precision))
    scene = set_up(data, _bundle(request, work), RunOptions(n_workers=n_workers()), stages_folder, wanted)
    return Harness.of(scene, images_per_call, request.command)


def _bundle(request: BenchRequest, work: Path) -> Bundle:
    """The bundle that is asked for, or an untrained one."""
    if request.bundle:
        return open_bundle(request.bundle)
    application = request.application or TINY
    folder, assets = work / f"bundle_{request.recipe}_{application}", work / f"assets_{request.recipe}_{application}"
    if folder.exists():
        return open_bundle(folder)
    recipe = load_recipe(request.recipe)
    write_random_assets(assets, recipe, SEED, application)
    return import_assets(assets, recipe, folder, demo=True)


def _parent(path: Path) -> Path:
    """The path, whose folder is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _work_folder(work: Path | None) -> Iterator[Path]:
    if work:
        work.mkdir(parents=True, exist_ok=True)
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="hakuna-bench-") as temporary:
        yield Path(temporary)


@contextmanager
def _quiet() -> Iterator[None]:
    """What a single run tells would be told a thousand times."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("rounds", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
