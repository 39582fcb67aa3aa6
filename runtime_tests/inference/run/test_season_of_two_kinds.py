"""A season whose cameras are replaced after half of it, and trained networks in int8 that are spoilt for the new photos.

The proof set has no such photos, so it accepts the networks. The audit finds the error on the photos of the season.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from benchmark.selftest.demo import BUNDLE_FOLDER
from benchmark.synthetic.season import encode, write_season
from inference.bundle.manifest import Network
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import DecoderName, EngineName, Precision
from inference.core.sequences import ImageSize, Pixels, ViewedSequence
from inference.dataset.metadata import METADATA_NAME
from inference.ensemble import audit
from inference.execution.proof import proof_sequences
from inference.images.decoder import find_decoder
from inference.networks.engine import find_engine
from inference.networks.engine_openvino import compiled, read_model, save_model
from inference.networks.forward import images_of
from inference.preprocessing.prepare import Preprocessor
from inference.process.read_timeout import ReadTimeout
from inference.process.stopwatch import Stopwatch
from runtime_tests.damage import rewrite_manifest
from runtime_tests.running import job_for, run_job
from runtime_tests.tables import rows_of

pytestmark = pytest.mark.e2e
FLOAT32, INT8 = Precision.FLOAT32, Precision.INT8
N_SEQUENCES = 24
BOUND = 0.01
"""Of the runs. On photos of both kinds the demo networks use a tenth of it, and the spoilt ones exceed it 80 times."""
HALF, ALL = 0.5, 1.0
"""Shares of the sequences that are audited. The verdict on all of them is certain."""
ENLARGEMENT = 1.5
GRAIN, GRAIN_PIXELS = 20, 8
"""Standard deviation of the noise in grey levels, and the size of its grains in the enlarged photo."""
CAST = (1.0, 0.7, 0.91)
"""Red, green and blue of white. Cameras whose infra-red filter is stuck take such pink photos."""


@pytest.fixture(scope="module")
def demo() -> Bundle:
    """Trained networks, with those in int8 as they were made."""
    if INT8 not in find_engine(EngineName.OPENVINO).lower_precisions:
        pytest.skip("needs a processor with VNNI")
    return open_bundle(BUNDLE_FOLDER)


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A season of photos such as those of the proof set; the first one is damaged."""
    folder = drawn(tmp_path_factory.mktemp("ordinary"), seed=6)
    first = min(rows_of(folder / METADATA_NAME), key=lambda row: row["datetime"])
    (folder / first["file_name"]).write_bytes(b"this is no photo")
    return folder


@pytest.fixture(scope="module")
def two_kinds(ordinary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same season, with other cameras in its second half."""
    folder = Path(shutil.copytree(ordinary, tmp_path_factory.mktemp("two_kinds") / "season"))
    rows = rows_of(folder / METADATA_NAME)
    moments = sorted({row["seq_id"]: row["datetime"] for row in rows}.values())
    random = np.random.default_rng(20191216)
    for row in rows:
        if row["datetime"] >= moments[N_SEQUENCES // 2]:
            path = folder / row["file_name"]
            path.write_bytes(encode(by_another_camera(Image.open(path), random)))
    return folder


@pytest.fixture(scope="module")
def spoilt(demo: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The demo bundle, whose int8 saturates beyond the values that occur on other ordinary photos."""
    folder = Path(shutil.copytree(demo.folder, tmp_path_factory.mktemp("spoilt") / "bundle"))
    others = drawn(tmp_path_factory.mktemp("others"), seed=12)
    viewed = [*proof_sequences(demo), *views_of(others, demo)]
    for network in demo.manifest.networks:
        saturate(folder / network.int8_files[0], network, viewed)
    rewrite_manifest(folder)
    return open_bundle(folder)


def drawn(folder: Path, seed: int) -> Path:
    write_season(folder, n_sequences=N_SEQUENCES, n_cameras=4, size=ImageSize(384, 512), seed=seed)
    return folder


def by_another_camera(photo: Image.Image, random: np.random.Generator) -> Pixels:
    """The same scene in infra-red: larger, with coarse grain and a pink cast."""
    grey = photo.convert("L").resize((int(photo.width * ENLARGEMENT), int(photo.height * ENLARGEMENT)))
    grain = random.normal(0, GRAIN, (grey.height // GRAIN_PIXELS, grey.width // GRAIN_PIXELS))
    enlarged = np.kron(grain, np.ones((GRAIN_PIXELS, GRAIN_PIXELS)))
    return (np.clip(np.asarray(grey) + enlarged, 0, 255)[..., None] * CAST).astype(np.uint8)


def views_of(photos: Path, bundle: Bundle) -> list[ViewedSequence]:
    """The views of every sequence of a season."""
    job = job_for(photos, bundle)
    decoder, n_frames = find_decoder(DecoderName.FAST), bundle.manifest.n_frames
    storage, keys = job.storage(ReadTimeout(10)), bundle.manifest.view_keys
    return Preprocessor(storage, decoder, job.preset, n_frames, keys, Stopwatch())(list(job.sequences))


def saturate(xml: Path, network: Network, viewed: list[ViewedSequence]) -> None:
    """Limit each channel of the rounded layers to its largest value on some photos and their mirror images.

    A network in int8 with a range for each channel has such limits, if these photos alone calibrated it.
    """
    from openvino import opset13

    [(name, images)] = images_of(viewed, network, network.sizes[0].as_image_size()).items()
    batch = np.stack(images).astype(np.float32)
    largest = largest_values(xml, {name: np.concatenate([batch, batch[:, :, ::-1]])})
    model = read_model(xml)
    for quantiser, limits in zip(quantisers(model), largest, strict=True):
        limited = opset13.minimum(quantiser.input_value(0), opset13.constant(limits[:, None, None]))
        quantiser.input(0).replace_source_output(limited.output(0))
    save_model(model, xml)


def largest_values(xml: Path, inputs: dict[str, npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    """The largest value of each channel before each quantiser: float32 (C,)."""
    model = read_model(xml)
    model.add_outputs([quantiser.input_value(0) for quantiser in quantisers(model)])
    _, *values = compiled(model, INT8, {})(inputs).values()
    return [one.max(axis=(0, 2, 3)) for one in values]


def quantisers(model: Any) -> list[Any]:
    return [layer for layer in model.get_ordered_ops() if layer.get_type_name() == "FakeQuantize"]


def predict(photos: Path, bundle: Bundle, out: Path, precision: Precision = INT8) -> dict[str, Any]:
    """`hakuna predict --engine openvino --decoder fast --precision int8 --max-loss-increase 0.01`."""
    job = replace(job_for(photos, bundle), engine=EngineName.OPENVINO, decoder=DecoderName.FAST)
    return run_job(replace(job, precision=precision, max_loss_increase=BOUND), out)


def test_a_network_spoilt_for_the_second_half_is_found_by_the_audit_and_everything_is_computed_anew(
    two_kinds: Path, spoilt: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(audit, "SHARE", HALF)
    report = predict(two_kinds, spoilt, tmp_path / "int8")
    precision = report["precision"]
    assert (precision["asked"], precision["used"]) == ("int8", "float32")
    assert 0 < precision["relative_loss_increase"] <= spoilt.manifest.ensemble.max_mixed_loss_increase
    found = precision["audit"]
    assert found["verdict"] == "broken"
    assert (found["n_sampled"], found["n_population"]) == (HALF * N_SEQUENCES, N_SEQUENCES)
    assert found["mean_kl"] > 10 * BOUND * found["mean_entropy"]
    assert report["degraded"] is False
    predict(two_kinds, spoilt, tmp_path / "float32", FLOAT32)
    for name in ("submission.csv", "failures.csv"):
        assert (tmp_path / "int8" / name).read_bytes() == (tmp_path / "float32" / name).read_bytes()
    assert len(rows_of(tmp_path / "int8" / "failures.csv")) == 1


def test_the_same_network_holds_on_a_season_of_the_first_kind(
    ordinary: Path, spoilt: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(audit, "SHARE", ALL)
    assert_held(predict(ordinary, spoilt, tmp_path))


def test_a_network_that_is_not_spoilt_holds_on_both_kinds(
    two_kinds: Path, demo: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(audit, "SHARE", ALL)
    assert_held(predict(two_kinds, demo, tmp_path))


def assert_held(report: dict[str, Any]) -> None:
    precision = report["precision"]
    assert (precision["used"], precision["audit"]["verdict"]) == ("int8", "held"), precision
    assert precision["audit"]["n_sampled"] == N_SEQUENCES
