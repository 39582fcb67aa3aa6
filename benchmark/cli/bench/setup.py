"""Networks and photos to time, off the clock."""

import tempfile
from pathlib import Path
from typing import Any

from benchmark.cli.bench.request import HarnessRequest, command_line
from benchmark.timing.harness import Harness, default_sizes, n_workers
from benchmark.timing.repeated_season import write_repeated_season
from benchmark.timing.stages import all_stages, set_up
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import Precision
from inference.execution.job import RunOptions
from models.bundling.import_assets import import_assets
from models.bundling.untrained import write_untrained_assets
from models.keras_io.architectures import TINY
from models.spec.recipe import load_recipe

SEED = 1


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
    return Harness(scene, all_stages(scene, images_per_call), command_line())


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
