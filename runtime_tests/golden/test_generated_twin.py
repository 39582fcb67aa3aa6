"""A generated twin of the reference case: the same properties where the real photos are absent.

Expected values come from `runtime_tests/naive.py`, which shares no stage with the project.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.bundle.reader import Bundle
from inference.core.errors import CheckpointError
from inference.core.files import sha256_of_file
from inference.core.labels import CLASS_PRIORS, LABELS
from inference.ensemble.estimator import Estimator
from inference.records.jsonl import read_header, read_records
from inference.run.records_to_submission import records_to_submission
from models.bundling.import_assets import import_assets
from models.bundling.untrained import write_untrained_assets
from models.spec.recipe import Recipe
from runtime_tests import naive
from runtime_tests.running import job_for, run, run_job

TOLERANCE = 1e-5
"""Keras against frozen graphs: the tiny networks differ by 1e-7, measured at import."""


@pytest.fixture(scope="module")
def finished(season: Path, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("twin")
    run(season, tiny_bundle, out, features=out / "features.npz")
    return out


@pytest.fixture(scope="module")
def expected(season: Path, tiny_assets: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return naive.predict_season(season, tiny_assets)


def submission_rows(out: Path) -> dict[str, np.ndarray]:
    with (out / "submission.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["seq_id", *LABELS]
    return {row[0]: np.array(row[1:], dtype=np.float64) for row in rows[1:]}


def contents(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of_file(path) for path in folder.iterdir()}


def test_submission_matches_an_independent_implementation(
    finished: Path, expected: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
) -> None:
    predictions, _ = expected
    for seq_id, row in submission_rows(finished).items():
        wanted = predictions.get(seq_id, np.array(list(CLASS_PRIORS.values())))
        np.testing.assert_allclose(row, wanted, rtol=0, atol=TOLERANCE, err_msg=seq_id)


def test_features_match_an_independent_implementation(
    finished: Path, expected: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
) -> None:
    _, features = expected
    got = np.load(finished / "features.npz")
    assert sorted(got["seq_id"]) == sorted(features)
    for seq_id, row in zip(got["seq_id"], got["X"], strict=True):
        np.testing.assert_allclose(row, features[seq_id], rtol=0, atol=TOLERANCE, err_msg=seq_id)


def test_a_finished_run_is_verified_and_left_alone(finished: Path, season: Path, tiny_bundle: Bundle) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.iterdir()}
    run(season, tiny_bundle, finished)
    assert {path: path.stat().st_mtime_ns for path in finished.iterdir()} == before


@pytest.mark.parametrize("name", ["submission.csv", "failures.csv", "run.json"])
def test_a_finished_run_with_a_damaged_file_is_mended(
    name: str, season: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    run(season, tiny_bundle, tmp_path)
    before = contents(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-20])
    run(season, tiny_bundle, tmp_path)
    after = contents(tmp_path)
    for clocks in ("run.json", "status.json"):  # they hold seconds
        del before[clocks], after[clocks]
    assert after == before


def test_a_torn_run_continues_and_ends_in_the_same_bytes(
    finished: Path, season: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    whole = (finished / "records.jsonl").read_bytes()
    (tmp_path / "records.jsonl").write_bytes(whole[: len(whole) * 2 // 3])
    report = run(season, tiny_bundle, tmp_path, batch_size=2)
    assert report["sequences_kept_from_earlier_run"] > 0
    for name in ("records.jsonl", "submission.csv", "failures.csv"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_records_of_another_run_are_refused_until_told_fresh(
    season: Path, tiny_bundle: Bundle, tmp_path: Path, finished: Path
) -> None:
    run(season, tiny_bundle, tmp_path, flip_tta=False)
    with pytest.raises(CheckpointError, match="differs in flip TTA"):
        run(season, tiny_bundle, tmp_path)
    run(season, tiny_bundle, tmp_path, fresh=True)
    assert (tmp_path / "submission.csv").read_bytes() == (finished / "submission.csv").read_bytes()


def test_mirror_images_change_the_answer(season: Path, tiny_bundle: Bundle, tmp_path: Path, finished: Path) -> None:
    run(season, tiny_bundle, tmp_path, flip_tta=False)
    without, with_tta = submission_rows(tmp_path), submission_rows(finished)
    assert max(np.abs(without[seq_id] - with_tta[seq_id]).max() for seq_id in without) > 1e-4


def test_one_failing_photo_changes_only_its_own_sequence(
    season: Path, tiny_bundle: Bundle, tmp_path: Path, finished: Path
) -> None:
    job = job_for(season, tiny_bundle)
    victim = job.plan.sequences[5]
    damaged = replace(victim, images=(replace(victim.images[0], file_name="nowhere.jpg"), *victim.images[1:]))
    sequences = tuple(damaged if sequence is victim else sequence for sequence in job.plan.sequences)
    run_job(replace(job, plan=replace(job.plan, sequences=sequences)), tmp_path)
    before, after = submission_rows(finished), submission_rows(tmp_path)
    changed = [seq_id for seq_id in before if (before[seq_id] != after[seq_id]).any()]
    assert changed == [victim.seq_id]


def test_second_phase_takes_new_stackers_and_weights(
    finished: Path, tiny_assets: Path, recipe: Recipe, tmp_path: Path
) -> None:
    assert recipe.stacking
    other = recipe.model_copy(
        update={
            "stacking": recipe.stacking.model_copy(update={"classes": ("zebra",)}),
            "ensemble": recipe.ensemble.model_copy(update={"frame_weights": (1.0, 1.0, 1.0)}),
        }
    )
    bundle = import_assets(tiny_assets, other, tmp_path / "bundle")
    records_to_submission(finished, Estimator(bundle), tmp_path / "out")
    path = finished / "records.jsonl"
    first = next(record for record in read_records(path, read_header(path)) if record.n_frames == 3)
    expected = np.median(first.frame_outputs, axis=1).mean(axis=0)
    got = submission_rows(tmp_path / "out")[first.seq_id]
    not_stacked = [position for position, label in enumerate(LABELS) if label != "zebra"]
    np.testing.assert_allclose(got[not_stacked], expected[not_stacked], rtol=0, atol=1e-7)


def test_second_phase_refuses_other_networks(finished: Path, recipe: Recipe, tmp_path: Path) -> None:
    write_untrained_assets(tmp_path / "assets", recipe, seed=99)
    other = import_assets(tmp_path / "assets", recipe, tmp_path / "bundle")
    with pytest.raises(CheckpointError, match="networks of bundle"):
        records_to_submission(finished, Estimator(other), tmp_path / "out")


def test_demo_bundle_says_so_in_the_run_report(finished: Path) -> None:
    report = json.loads((finished / "run.json").read_text())
    assert report["warning"] == "demo model: not for conclusions"
    assert report["bundle"]["demo"] is True


def test_run_report_counts_what_happened(finished: Path) -> None:
    report = json.loads((finished / "run.json").read_text())
    path = finished / "records.jsonl"
    records = list(read_records(path, read_header(path)))
    assert report["counts"]["sequences"] == 12
    assert report["counts"]["frames"] == sum(record.n_frames for record in records)
    assert report["counts"]["failed_photos"] == {"missing": 1, "not a JPEG or PNG": 1}
    assert report["files"]["submission.csv"] == sha256_of_file(finished / "submission.csv")
    assert report["seconds"]["networks"] > 0
