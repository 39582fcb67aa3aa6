"""Networks and photos to time, off the clock, and what all `hakuna bench` and `study` commands share."""

from __future__ import annotations

import json
import logging
import sys
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
from inference.cli.printing import show_or_write
from inference.core.choices import Precision
from inference.execution.job import RunOptions
from inference.settings.logs import configure_logging
from models.bundling.import_assets import import_assets
from models.bundling.untrained import write_untrained_assets
from models.keras_io.architectures import TINY
from models.spec.recipe import load_recipe

QUICK_REPEATS, REPEATS = 7, 9
STARTUP_REPEATS = 2
QUICK_IMAGES = (2, 16)
BACKBONE = "InceptionResNetV2"
SEED = 1


@dataclass(frozen=True)
class HarnessRequest:
    """What to time: options of the command line."""

    data: Path | None = None
    bundle: Path | None = None
    backbone: str | None = None
    recipe: str = "third_place"
    quick: bool = False
    repeats: int | None = None
    cache_dir: Path | None = None

    @property
    def n_repeats(self) -> int:
        """Repeats of every stage."""
        return self.repeats or (QUICK_REPEATS if self.quick else REPEATS)


def command_line() -> str:
    """The command as a reader can repeat it: folders of this machine are left out."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return " ".join(["hakuna", *words])


def show_figures(figures: dict[str, Any], target: Path | None) -> None:
    """Print figures as JSON, and keep them where `--json` names a file."""
    text = json.dumps(figures, indent=1)
    show_or_write(text, target, lambda: Console().print_json(text))


def make_harness(
    request: HarnessRequest,
    work: Path,
    images_per_call: tuple[int, ...],
    sizes: list[tuple[Any, int]] | None = None,
    precisions: tuple[Precision, ...] | None = None,
) -> Harness:
    """Networks and photos, off the clock."""
    data = request.data or work / "photos"
    if not request.data and not data.exists():
        write_repeated_season(data, sizes or default_sizes(short=request.quick), SEED)
    stages_folder = Path(tempfile.mkdtemp(prefix="stages-", dir=work))
    wanted = precisions or ((Precision.FLOAT32,) if request.quick else tuple(Precision))
    scene = set_up(data, _bundle(request, work), RunOptions(n_workers=n_workers()), stages_folder, wanted)
    return Harness.of(scene, images_per_call, command_line())


def _bundle(request: HarnessRequest, work: Path) -> Bundle:
    """The bundle that is asked for, or an untrained one."""
    if request.bundle:
        return open_bundle(request.bundle)
    backbone = request.backbone or TINY
    folder, assets = work / f"bundle_{request.recipe}_{backbone}", work / f"assets_{request.recipe}_{backbone}"
    if folder.exists():
        return open_bundle(folder)
    recipe = load_recipe(request.recipe)
    write_untrained_assets(assets, recipe, SEED, backbone)
    return import_assets(assets, recipe, folder, demo=True)


@contextmanager
def working_in(cache_dir: Path | None) -> Iterator[Path]:
    """Begin to log; the folder that was given, or a temporary one."""
    configure_logging("auto")
    if cache_dir:
        cache_dir.mkdir(parents=True, exist_ok=True)
        yield cache_dir
        return
    with tempfile.TemporaryDirectory(prefix="hakuna-bench-") as temporary:
        yield Path(temporary)


@contextmanager
def quiet_logs() -> Iterator[None]:
    """What a single run logs would be logged a thousand times."""
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
