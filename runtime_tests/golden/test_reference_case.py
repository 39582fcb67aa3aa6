"""The reference case: real photos, and what the published program made of them (provenance: docs/explanation/published.md)."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from inference.bundle.reader import Bundle
from inference.core.choices import DecoderName, Preset
from inference.core.labels import LABELS
from inference.core.sequences import ImageSize, Sequence, View
from inference.dataset.metadata import FORMAT_NAME, METADATA_NAME, plan_sequences, read_metadata, read_submission_format
from inference.ensemble.estimator import Estimator
from inference.images.decoder import decode_sequences, find_decoder
from inference.preprocessing.info_strip import black_out_strip
from inference.preprocessing.views import make_views, same_size
from inference.run.records_to_submission import records_to_submission
from inference.storage.local import LocalFolder
from runtime_tests.running import run
from runtime_tests.tables import probabilities

pytestmark = pytest.mark.e2e
PIXEL_CASES = {
    "elephant_burst": "SER_S1#D04#6#1",
    "wide_single": "SER_S11#A01#1#5",
    "big_single": "SER_S10#D12#2#1",
}
SIZES = {"480": ImageSize(360, 480), "512": ImageSize(384, 512)}

# The issue asks for 1e-3 and 1e-5; a pixel that is off by one moves `sensitive` by 0.06. Measured: 1.2e-4, 3.1e-6.
LARGEST_DIFFERENCE = {"sensitive": 2e-4, "smooth": 1e-5}


Finished = tuple[str, Path, Path, Bundle]
"""A set of networks, what the published program made with it, what we made, and its bundle."""


def sequence_of(reference_case: Path, seq_id: str) -> Sequence:
    return read_metadata(reference_case / "data" / METADATA_NAME).sequences[seq_id]


@pytest.fixture(scope="module")
def finish(
    request: pytest.FixtureRequest, reference_case: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Finished]:
    """Predict the case with one set of networks, once for all tests."""

    @cache
    def predicted(name: str) -> Finished:
        bundle: Bundle = request.getfixturevalue(f"{name}_bundle")
        out = tmp_path_factory.mktemp(f"out_{name}")
        run(reference_case / "data", bundle, out, features=out / "features.npz")
        return name, reference_case / name, out, bundle

    return predicted


@pytest.fixture(params=["sensitive", "smooth"])
def finished(request: pytest.FixtureRequest, finish: Callable[[str], Finished]) -> Finished:
    return finish(request.param)


def test_submission_is_the_published_one(finished: Finished) -> None:
    name, expected_folder, out, bundle = finished
    expected_ids, expected = probabilities(expected_folder / "expected_submission.csv", first="")
    got_ids, got = probabilities(out / "submission.csv")
    assert got_ids == expected_ids
    stacking = bundle.manifest.ensemble.stacking
    assert stacking
    stacked = np.isin(LABELS, stacking.classes)
    difference = np.abs(got - expected)
    assert difference[:, ~stacked].max() <= LARGEST_DIFFERENCE[name]
    # A stacked class jumps only where a feature crosses a tree's threshold: none does.
    assert (difference[:, stacked] > 1e-3).sum() == 0
    assert difference[:, stacked].max() <= 1e-6


def test_features_are_the_published_ones(finished: Finished) -> None:
    name, expected_folder, out, bundle = finished
    expected, got = np.load(expected_folder / "expected_features.npz"), np.load(out / "features.npz")
    assert sorted(got["seq_id"]) == sorted(expected["seq_id"])
    row = {seq_id: position for position, seq_id in enumerate(got["seq_id"])}
    order = [row[seq_id] for seq_id in expected["seq_id"]]
    assert (got["count"][order] == expected["count"]).all()
    assert tuple(got["feature_names"]) == bundle.manifest.feature_names
    assert np.abs(got["X"][order] - expected["X"]).max() <= LARGEST_DIFFERENCE[name]


def test_photos_that_cannot_be_used_are_listed(finished: Finished) -> None:
    _, _, out, _ = finished
    with (out / "failures.csv").open() as file:
        rows = list(csv.reader(file))
    assert sorted(rows[1:]) == [
        ["SER_S11#B02#1#1", "S11/B02/B02_R1/m0001.JPG", "missing"],
        ["SER_S11#B02#1#3", "S11/B02/B02_R1/g0001.JPG", "not a JPEG or PNG"],
        ["SER_S11#B02#1#4", "S11/B02/B02_R1/z0001.JPG", "empty file"],
    ]


def test_second_phase_alone_writes_the_same_bytes(finished: Finished, tmp_path: Path) -> None:
    _, _, out, bundle = finished
    records_to_submission(out, Estimator(bundle), tmp_path / "again")
    for name in ("submission.csv", "failures.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


@pytest.mark.parametrize(
    ("finished", "batch_size", "n_workers"),
    [("smooth", 1, 1), ("sensitive", 3, 2), ("smooth", 32, 4)],
    indirect=["finished"],
)
def test_batch_size_and_workers_do_not_change_a_byte(
    batch_size: int, n_workers: int, finished: Finished, reference_case: Path, tmp_path: Path
) -> None:
    """Of real photos; `test_generated_twin` has all of these with a bundle that takes no time."""
    _, _, out, bundle = finished
    run(reference_case / "data", bundle, tmp_path, batch_size=batch_size, n_workers=n_workers)
    for name in ("records.jsonl", "submission.csv", "failures.csv"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


@pytest.mark.parametrize("case", PIXEL_CASES)
def test_pixels_are_identical(case: str, reference_case: Path) -> None:
    expected = np.load(reference_case / "expected_pixels.npz")
    sequence = sequence_of(reference_case, PIXEL_CASES[case])
    [decoded] = decode_sequences(
        [sequence], LocalFolder(reference_case / "data"), Preset.QUARTER, 3, find_decoder(DecoderName.AUTO)
    )
    quarter, n_resized = same_size(decoded.frames)
    np.testing.assert_array_equal(quarter, expected[f"{case}_quarter"])
    masked = black_out_strip(quarter)
    changed_rows = np.flatnonzero((masked != quarter).any(axis=(0, 2, 3)))
    np.testing.assert_array_equal(changed_rows, expected[f"{case}_masked_rows"])
    views = make_views(masked, [(View.FRAME, size) for size in SIZES.values()])
    for name, size in SIZES.items():
        np.testing.assert_array_equal(views[View.FRAME, size], expected[f"{case}_{name}"])
    assert n_resized == 0


def test_mean_and_background_are_the_published_ones(reference_case: Path) -> None:
    expected = np.load(reference_case / "expected_pixels.npz")
    sequence = sequence_of(reference_case, PIXEL_CASES["elephant_burst"])
    [decoded] = decode_sequences(
        [sequence], LocalFolder(reference_case / "data"), Preset.QUARTER, 3, find_decoder(DecoderName.AUTO)
    )
    frames = black_out_strip(same_size(decoded.frames)[0])
    size = SIZES["480"]
    views = make_views(frames, [(View.MEAN, size), (View.BACKGROUND, size)])
    np.testing.assert_array_equal(views[View.MEAN, size], expected["elephant_burst_mean_480"])
    np.testing.assert_array_equal(views[View.BACKGROUND, size], expected["elephant_burst_background_480"])


def test_plan_follows_the_submission_format(reference_case: Path) -> None:
    data = reference_case / "data"
    plan = plan_sequences(read_metadata(data / METADATA_NAME), read_submission_format(data / FORMAT_NAME))
    with (data / FORMAT_NAME).open() as file:
        expected = [row[0] for row in csv.reader(file)][1:]
    assert [sequence.seq_id for sequence in plan.sequences] == expected
