"""Fixtures that several test files share: the reference case, a synthetic season, tiny bundles."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import structlog

from benchmark.synthetic.season import write_season
from inference.bundle.manifest import Size
from inference.bundle.reader import Bundle
from inference.core.sequences import ImageSize
from inference.settings.cache import CACHE_VARIABLE
from inference.settings.verbosity import Verbosity, set_verbosity
from models.spec.recipe import Recipe, load_recipe
from runtime_tests.kept import digest_of_files, kept, kept_bundle
from runtime_tests.running import run

SHARED = Path(__file__).resolve().parents[2] / "shared"
SECOND_RECIPE = Path(__file__).parent / "second_recipe.toml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--faults-json FILE` keeps the figures of the fault tests, `--faults-seed N` makes them try others."""
    parser.addoption("--faults-json", type=Path, default=None, help="keep the figures of the fault tests in this file")
    parser.addoption(
        "--faults-seed", type=int, default=20191216, help="what the fault tests draw faults and damage from"
    )


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Which bundles have passed is remembered from one run of the tests to the next, apart from the user's."""
    os.environ[CACHE_VARIABLE] = str(kept("cache", "", Path.mkdir, tmp_path_factory.mktemp("kept")))


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A command that runs in this process sends the log to a stream that is closed with it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    set_verbosity(Verbosity.NORMAL)


@pytest.fixture
def nothing_waits(tmp_path: Path) -> Iterator[None]:
    """Who waits for the other end of a pipe is let go after 10 s, and the test fails. A signal may not fit on the stack."""
    is_over, has_waited = threading.Event(), False

    def let_go() -> None:
        nonlocal has_waited
        while not is_over.wait(10):
            has_waited = True
            for path in filter(Path.is_fifo, tmp_path.rglob("*")):
                os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))

    thread = threading.Thread(target=let_go)
    thread.start()
    yield
    is_over.set()
    thread.join()
    assert not has_waited


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real photos and what the published program made of them; skips where it is absent."""
    if not (SHARED / "reference_case").is_dir():
        message = f"needs the reference case in {SHARED.name}/ beside the project"
        if os.environ.get("HAKUNA_REQUIRE_REFERENCE"):
            pytest.fail(message)
        pytest.skip(message)
    return SHARED


@pytest.fixture(scope="session")
def reference_case(shared: Path) -> Path:
    """Real photos with the published program's outputs."""
    return shared / "reference_case"


@pytest.fixture(scope="session")
def sensitive_bundle(reference_case: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The chaotic stand-in networks: one grey level in a few pixels shows."""
    assets = reference_case / "sensitive" / "assets"
    return kept_bundle("sensitive", assets, load_recipe("third_place"), tmp_path_factory.mktemp("kept"), demo=False)


@pytest.fixture(scope="session")
def smooth_bundle(reference_case: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shallow stand-in networks."""
    assets = reference_case / "smooth" / "assets"
    return kept_bundle("smooth", assets, load_recipe("third_place"), tmp_path_factory.mktemp("kept"), demo=False)


@pytest.fixture(scope="session")
def season(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic season of 12 sequences, one photo missing, one truncated, one not an image."""
    folder = tmp_path_factory.mktemp("season")
    write_season(folder, n_sequences=12, n_cameras=3, size=ImageSize(480, 640), seed=5)
    photos = sorted(folder.glob("S1/*/*/*.JPG"))
    photos[0].unlink()
    photos[4].write_bytes(photos[4].read_bytes()[:9000])
    photos[8].write_bytes(b"this is no photo")
    return folder


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """The published ensemble."""
    return load_recipe("third_place")


def random_assets(name: str, recipe: Recipe, seed: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained tiny networks and boosters for a recipe."""

    def make(folder: Path) -> None:
        from models.bundling.untrained import write_untrained_assets

        write_untrained_assets(folder, recipe, seed=seed)

    return kept(f"{name}_assets", f"{seed} {recipe.model_dump_json()}", make, tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="session")
def tiny_assets(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained tiny networks and boosters under the published names."""
    return random_assets("tiny", recipe, 3, tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_bundle(tiny_assets: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny networks as a bundle, marked as a demo."""
    return kept_bundle("tiny", tiny_assets, recipe, tmp_path_factory.mktemp("kept"), demo=True)


@pytest.fixture(scope="session")
def second_assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained networks for another recipe: other names, sizes, frames, weights, stacked classes."""
    return random_assets("second", load_recipe(str(SECOND_RECIPE)), 4, tmp_path_factory)


@pytest.fixture(scope="session")
def second_bundle(second_assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The other recipe as a bundle."""
    recipe = load_recipe(str(SECOND_RECIPE))
    return kept_bundle("second", second_assets, recipe, tmp_path_factory.mktemp("kept"), demo=True)


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """What faults and damage are drawn from."""
    return int(request.config.getoption("--faults-seed"))


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """An empty folder in memory, where thousands of folders are made and removed at once; on a disk they take a minute."""
    folder = Path(tempfile.mkdtemp(prefix="hakuna-test-", dir="/dev/shm"))
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)  # what Python offers recurses


def deep_folder(top: Path, depth: int, name: str) -> None:
    """Make so many folders, each in the one before it, with a file in the last one."""
    top.mkdir(exist_ok=True)
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):  # step by step: no path of 4,096 bytes or more can be given
        with suppress(FileExistsError):
            os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


@pytest.fixture
def random() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20191216)


def read_only(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The same array, which no stage may change."""
    array.setflags(write=False)
    return array


@pytest.fixture(scope="session")
def quick_bundle(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The published ensemble with tiny networks that look at tiny views: a run takes seconds, most of them imports."""
    small = {360: Size(height=48, width=64), 384: Size(height=60, width=80)}
    networks = tuple(
        network.model_copy(update={"sizes": tuple(small[size.height] for size in network.sizes)})
        for network in recipe.networks
    )
    quick = recipe.model_copy(update={"networks": networks})
    assets = random_assets("quick", quick, 3, tmp_path_factory)
    return kept_bundle("quick", assets, quick, tmp_path_factory.mktemp("kept"), demo=True)


@pytest.fixture(scope="session")
def quick_prediction(season: Path, quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What `hakuna predict` makes of the season with the quick bundle; for all tests, so nobody may change it."""
    out = tmp_path_factory.mktemp("quick_prediction")
    run(season, quick_bundle, out)
    before = digest_of_files(out)
    yield out
    assert digest_of_files(out) == before, "some test has changed the prediction that all share"
