"""What all `hakuna bench` commands share."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console
from rich.progress import Progress

from benchmark.timing.harness import Harness, default_sizes, n_workers
from benchmark.timing.repeated_season import write_repeated_season
from benchmark.timing.stages import set_up
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import Precision
from inference.core.errors import UsageError
from inference.core.files import write_json
from inference.execution.job import RunOptions
from models.bundling.import_assets import import_assets
from models.bundling.untrained import write_untrained_assets
from models.keras_io.architectures import TINY
from models.spec.recipe import load_recipe

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


def photos_of(request: BenchRequest) -> Path:
    """The folder of photos. Raises UsageError where none was given."""
    if request.data is None:
        raise UsageError("DATA: must be given with --against")
    return request.data


def show_figures(figures: dict[str, Any], json_file: Path | None) -> dict[str, Any]:
    """Print figures as JSON, and keep them."""
    Console().print_json(json.dumps(figures))
    if json_file:
        write_json(figures, with_parent_folder(json_file))
    return figures


def make_harness(
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
    write_untrained_assets(assets, recipe, SEED, application)
    return import_assets(assets, recipe, folder, demo=True)


def with_parent_folder(path: Path) -> Path:
    """The path, whose folder is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def work_folder(work: Path | None) -> Iterator[Path]:
    """The folder that was given, or a temporary one."""
    if work:
        work.mkdir(parents=True, exist_ok=True)
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="hakuna-bench-") as temporary:
        yield Path(temporary)


@contextmanager
def quiet_logs() -> Iterator[None]:
    """What a single run tells would be told a thousand times."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of rounds on standard error."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("rounds", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
