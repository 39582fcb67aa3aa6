"""Networks in int8: within the bound on photos that did not calibrate them, the same bytes each time, or nothing."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.synthetic.season import write_season
from inference.api.jobs import build_job
from inference.bundle.manifest import MANIFEST_NAME, Int8Figures, Network
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import DecoderName
from inference.core.errors import BundleError, HakunaError, InputError
from inference.core.files import sha256_of_file
from inference.core.sequences import ImageSize, View
from inference.images.decoder import find_decoder
from inference.networks.engine_openvino import FrozenNetwork
from inference.preprocessing.prepare import Preprocessor
from inference.process.read_timeout import ReadTimeout
from inference.process.stopwatch import Stopwatch
from models.bundling.quantize import quantize_bundle
from runtime_tests.running import hakuna, hakuna_here

openvino = pytest.importorskip("openvino")  # after the engine, which keeps it from reporting to a web service
pytestmark = pytest.mark.e2e
DEMO = Path(__file__).resolve().parents[3] / "models" / "demo" / "bundle"
PRODUCTS = ("Convolution", "MatMul")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_season(folder, n_sequences=40, n_cameras=4, size=ImageSize(240, 320), seed=5)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo bundle without its networks in int8."""
    folder = Path(shutil.copytree(DEMO, tmp_path_factory.mktemp("plain") / "bundle"))
    content = json.loads((folder / MANIFEST_NAME).read_text())
    for network in content["networks"]:
        network["int8"] = None
    for path in [path for path in content["files"] if ".int8." in path]:
        (folder / path).unlink()
        del content["files"][path]
    (folder / MANIFEST_NAME).write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def quantised(plain: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return quantize_bundle(open_bundle(plain), photos, tmp_path_factory.mktemp("quantised") / "bundle")


@pytest.fixture
def copy(quantised: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(quantised.folder, tmp_path / "copy"))


def figures(network: Network) -> Int8Figures:
    assert network.int8
    return network.int8


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / MANIFEST_NAME).read_text())
    change(content)
    (folder / MANIFEST_NAME).write_text(json.dumps(content))


def test_the_new_bundle_has_all_files_of_the_old_one_and_the_networks_in_int8(plain: Path, quantised: Bundle) -> None:
    old = json.loads((plain / MANIFEST_NAME).read_text())
    new = json.loads((quantised.folder / MANIFEST_NAME).read_text())
    added = {path for network in quantised.manifest.networks for path in network.int8_files}
    assert added == {f"openvino/{name}.int8.{end}" for name in ("v1", "background") for end in ("xml", "bin")}
    assert new["files"].keys() - old["files"].keys() == added
    assert {path: new["files"][path] for path in old["files"]} == old["files"]
    for path in new["files"]:
        assert sha256_of_file(quantised.path(path)) == new["files"][path]["sha256"]
    for network in new["networks"]:
        del network["int8"]
    for network in old["networks"]:
        network.pop("int8", None)
    assert {**new, "files": 0} == {**old, "files": 0}
    for network in quantised.manifest.networks:
        xml, weights = network.int8_files
        assert new["files"][weights]["n_bytes"] < old["files"][network.openvino_files[1]]["n_bytes"] / 2, xml


def images_of_half(photos: Path, network: Network, half: int) -> list[np.ndarray]:
    """Each image of a network that has one input, from every other sequence."""
    job = build_job(photos, open_bundle(DEMO), submission_format="none")
    [key] = [(one.view, size.as_image_size()) for one in network.inputs for size in network.sizes]
    prepare = Preprocessor(
        job.storage(ReadTimeout(10)), find_decoder(DecoderName.PILLOW), job.preset, 3, [key], Stopwatch()
    )
    viewed = prepare([one for one in job.sequences if one.images][half::2])
    if key[0] is View.FRAME:
        return [frame for one in viewed for frame in one.views[key]]
    return [one.views[key] for one in viewed if one.n_frames > 1]


def test_the_increase_is_that_of_the_photos_that_did_not_calibrate(quantised: Bundle, photos: Path) -> None:
    for network in quantised.manifest.networks:
        name = network.inputs[0].name
        compared = images_of_half(photos, network, 1)
        p, q = (
            np.concatenate([frozen({name: image[None].astype(np.float32)}) for image in compared]).astype(float)
            for frozen in (
                FrozenNetwork(quantised.path(path), (name,))
                for path in (network.openvino_files[0], network.int8_files[0])
            )
        )
        p, q = p.clip(1e-7, 1 - 1e-7), q.clip(1e-7, 1 - 1e-7)
        kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
        entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
        assert p.shape == (len(compared), 54)
        assert 0 < figures(network).relative_loss_increase < quantised.manifest.ensemble.max_mixed_loss_increase
        assert figures(network).relative_loss_increase == pytest.approx(kl.mean() / entropy.mean(), rel=1e-6)
        assert figures(network).n_compared_images == len(compared)
        assert figures(network).n_calibration_images == len(images_of_half(photos, network, 0))


def test_all_layers_but_the_first_and_the_last_run_in_int8(quantised: Bundle) -> None:
    for network in quantised.manifest.networks:
        model = openvino.Core().read_model(str(quantised.path(network.int8_files[0])))
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        compiled({network.inputs[0].name: np.zeros((1, 96, 128, 3), np.float32)})
        layers = [layer.get_rt_info() for layer in compiled.get_runtime_model().get_ordered_ops()]
        kinds = ("Convolution", "MatMul", "FullyConnected")
        run = [info["runtimePrecision"] for info in layers if info["layerType"] in kinds]
        assert len(run) == sum(layer.get_type_name() in PRODUCTS for layer in model.get_ops()) == 5
        assert run[0] == run[-1] == "f32"
        assert set(run[1:-1]) <= {"i8", "u8"}
        assert figures(network).n_float32_layers == 2


def test_the_same_photos_give_the_same_bytes_and_replace_a_bundle_on_request(
    quantised: Bundle, photos: Path, copy: Path
) -> None:
    with pytest.raises(BundleError, match="must not exist yet, or be a bundle that may be replaced"):
        quantize_bundle(quantised, photos, copy)
    (copy / "openvino" / "v1.int8.xml").write_text("older")
    again = quantize_bundle(quantised, photos, copy, force=True)
    assert again.folder == copy
    assert again.id == quantised.id
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


def test_more_layers_stay_in_float32_until_the_bound_holds(quantised: Bundle, photos: Path, tmp_path: Path) -> None:
    background = quantised.manifest.networks[1]
    assert background.name == "background"
    bound = figures(background).relative_loss_increase / 2
    done: list[tuple[int, int]] = []
    stricter = quantize_bundle(
        open_bundle(DEMO), photos, tmp_path / "bundle", bound, on_progress=lambda *counts: done.append(counts)
    )
    kept = figures(stricter.manifest.networks[1])
    assert kept.relative_loss_increase <= bound
    assert kept.n_float32_layers == 3
    assert done == [(0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("n_sequences", "bound", "error", "message"),
    [
        (
            128,
            1e-9,
            BundleError,
            r"network v1: must lose 0.000% at most in int8, got 0.0\d\d% with 4 of 5 layers",
        ),
        (
            4,
            None,
            InputError,
            r"must have 8 images of network v1 to calibrate it .*got [2-6] in one half of 4",
        ),
    ],
)
def test_without_success_nothing_is_written(
    n_sequences: int,
    bound: float | None,
    error: type[HakunaError],
    message: str,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("models.bundling.quantize.N_SEQUENCES", n_sequences)
    with pytest.raises(error, match=message) as caught:
        quantize_bundle(open_bundle(DEMO), photos, tmp_path / "new", bound)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda content: content["networks"][0].update(int8=None),
            r"got \['openvino/v1.int8.bin', .*\] without figures",
        ),
        (lambda content: content["files"].pop("openvino/v1.int8.bin"), r"got \['openvino/v1.int8.xml'\] with figures"),
        (lambda content: content["networks"][1]["int8"].update(relative_loss_increase=-1), "relative_loss_increase"),
        (lambda content: content["networks"][1]["int8"].update(more=1), "more"),
    ],
)
def test_figures_and_files_come_together(change: Callable[[dict[str, Any]], None], message: str, copy: Path) -> None:
    change_manifest(copy, change)
    with pytest.raises(BundleError, match=message):
        open_bundle(copy)


def test_verify_calls_the_networks_in_int8(quantised: Bundle, copy: Path) -> None:
    assert hakuna_here("bundle", "verify", quantised.folder).returncode == 0
    weights = copy / "openvino" / "v1.int8.bin"
    n_bytes = 4 * 54  # the last layer's bias is at the end
    weights.write_bytes(weights.read_bytes()[:-n_bytes] + b"\xff" * n_bytes)  # NaN
    entry = {"sha256": sha256_of_file(weights), "n_bytes": weights.stat().st_size}
    change_manifest(copy, lambda content: content["files"].update({"openvino/v1.int8.bin": entry}))
    result = hakuna_here("bundle", "verify", copy)
    assert result.returncode == 4
    assert "must answer with a probability, finite and in [0, 1], got nan" in " ".join(result.stderr.split())


def test_show_prints_the_parts_and_the_figures(plain: Path, quantised: Bundle) -> None:
    shown = hakuna_here("bundle", "show", quantised.folder, COLUMNS="200").stdout
    for name in ("v1", "background"):
        assert f"{name} in int8: expected log loss +0.0" in shown
    assert "2 layers in float32" in shown
    assert "SavedModels 0.4 MB; OpenVINO 0.4 MB; int8 0.2 MB; stackers 0.4 MB" in shown
    assert "int8" not in hakuna_here("bundle", "show", plain).stdout


def test_the_extra_is_named_where_nncf_is_missing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    result = hakuna_here("bundle", "quantize", DEMO, "--photos", photos, "--out", tmp_path / "new")
    assert result.returncode == 2
    assert "nncf: must be installed, got none" in result.stderr
    assert "the set 'quantize'" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.e2e
def test_the_command_makes_a_bundle_that_predicts(photos: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    arguments = ("--photos", photos, "--out", tmp_path / "new", "--max-loss-increase", 0.01)
    made = hakuna("bundle", "quantize", DEMO, *arguments, HOME=str(home), XDG_CACHE_HOME=str(home / "cache"))
    assert made.returncode == 0, made.stderr
    *lines, last = made.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["v1 in int8", "background in int8"]
    assert last == f"bundle demo {open_bundle(tmp_path / 'new').id[:12]} -> {tmp_path / 'new'}"
    assert list(home.iterdir()) == []  # NNCF and OpenVINO keep no id for their reports
    assert hakuna("bundle", "verify", tmp_path / "new").returncode == 0
    predicted = hakuna("predict", photos, "--bundle", tmp_path / "new", "--out", tmp_path / "out")
    assert predicted.returncode == 0, predicted.stderr
