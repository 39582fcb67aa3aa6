"""A generated twin of the reference case: the same properties where the real photos are absent.

Expected values come from `runtime_tests/naive.py`, which shares no stage with the project.
"""

from __future__ import annotations

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
from runtime_tests.running import copy_of, job_for, run, run_job
from runtime_tests.tables import submission_rows

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


def contents(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of_file(path) for path in folder.iterdir()}


@pytest.mark.e2e
def test_submission_matches_an_independent_implementation(
    finished: Path, expected: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
) -> None:
    predictions, _ = expected
    for seq_id, row in submission_rows(finished / "submission.csv").items():
        wanted = predictions.get(seq_id, np.array(list(CLASS_PRIORS.values())))
        np.testing.assert_allclose(row, wanted, rtol=0, atol=TOLERANCE, err_msg=seq_id)


@pytest.mark.e2e
def test_features_match_an_independent_implementation(
    finished: Path, expected: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
) -> None:
    _, features = expected
    got = np.load(finished / "features.npz")
    assert sorted(got["seq_id"]) == sorted(features)
    for seq_id, row in zip(got["seq_id"], got["X"], strict=True):
        np.testing.assert_allclose(row, features[seq_id], rtol=0, atol=TOLERANCE, err_msg=seq_id)


def test_a_finished_run_is_verified_and_left_alone(
    quick_prediction: Path, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    out = copy_of(quick_prediction, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    run(season, quick_bundle, out)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


@pytest.mark.parametrize("name", ["submission.csv", "failures.csv", "run.json"])
def test_a_finished_run_with_a_damaged_file_is_mended(
    name: str, quick_prediction: Path, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    copy_of(quick_prediction, tmp_path)
    before = contents(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-20])
    run(season, quick_bundle, tmp_path)
    after = contents(tmp_path)
    for clocks in ("run.json", "status.json"):  # they hold seconds
        del before[clocks], after[clocks]
    assert after == before


def test_a_torn_run_continues_and_ends_in_the_same_bytes(
    quick_prediction: Path, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    whole = (quick_prediction / "records.jsonl").read_bytes()
    (tmp_path / "records.jsonl").write_bytes(whole[: len(whole) * 2 // 3])
    report = run(season, quick_bundle, tmp_path, batch_size=2)
    assert report["sequences_kept_from_earlier_run"] > 0
    for name in ("records.jsonl", "submission.csv", "failures.csv"):
        assert (tmp_path / name).read_bytes() == (quick_prediction / name).read_bytes()


def test_records_of_another_run_are_refused_until_told_fresh(
    season: Path, quick_bundle: Bundle, tmp_path: Path, quick_prediction: Path
) -> None:
    run(season, quick_bundle, tmp_path, flip_tta=False)
    with pytest.raises(CheckpointError, match="differs in flip TTA"):
        run(season, quick_bundle, tmp_path)
    run(season, quick_bundle, tmp_path, fresh=True)
    assert (tmp_path / "submission.csv").read_bytes() == (quick_prediction / "submission.csv").read_bytes()


def test_mirror_images_change_the_answer(
    season: Path, quick_bundle: Bundle, tmp_path: Path, quick_prediction: Path
) -> None:
    run(season, quick_bundle, tmp_path, flip_tta=False)
    without, with_tta = (
        submission_rows(tmp_path / "submission.csv"),
        submission_rows(quick_prediction / "submission.csv"),
    )
    assert max(np.abs(without[seq_id] - with_tta[seq_id]).max() for seq_id in without) > 1e-4


def test_one_failing_photo_changes_only_its_own_sequence(
    season: Path, quick_bundle: Bundle, tmp_path: Path, quick_prediction: Path
) -> None:
    job = job_for(season, quick_bundle)
    victim = job.plan.sequences[5]
    damaged = replace(victim, images=(replace(victim.images[0], file_name="nowhere.jpg"), *victim.images[1:]))
    sequences = tuple(damaged if sequence is victim else sequence for sequence in job.plan.sequences)
    run_job(replace(job, plan=replace(job.plan, sequences=sequences)), tmp_path)
    before, after = submission_rows(quick_prediction / "submission.csv"), submission_rows(tmp_path / "submission.csv")
    changed = [seq_id for seq_id in before if (before[seq_id] != after[seq_id]).any()]
    assert changed == [victim.seq_id]


def test_second_phase_takes_new_stackers_and_weights(
    quick_prediction: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    ensemble = quick_bundle.manifest.ensemble
    assert ensemble.stacking
    other = ensemble.model_copy(
        update={
            "stacking": ensemble.stacking.model_copy(update={"classes": ("zebra",)}),
            "frame_weights": (1.0, 1.0, 1.0),
        }
    )
    manifest = quick_bundle.manifest.model_copy(update={"ensemble": other})
    bundle = Bundle(quick_bundle.folder, manifest, quick_bundle.id)
    records_to_submission(quick_prediction, Estimator(bundle), tmp_path / "out")
    path = quick_prediction / "records.jsonl"
    first = next(record for record in read_records(path, read_header(path)) if record.n_frames == 3)
    expected = np.median(first.frame_outputs, axis=1).mean(axis=0)
    got = submission_rows(tmp_path / "out" / "submission.csv")[first.seq_id]
    not_stacked = [position for position, label in enumerate(LABELS) if label != "zebra"]
    np.testing.assert_allclose(got[not_stacked], expected[not_stacked], rtol=0, atol=1e-7)


@pytest.mark.parametrize(("batch_size", "n_workers"), [(1, 1), (2, 4), (3, 2), (7, 2), (32, 4)])
def test_batch_size_and_workers_do_not_change_a_byte(
    batch_size: int, n_workers: int, quick_prediction: Path, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    run(season, quick_bundle, tmp_path, batch_size=batch_size, n_workers=n_workers)
    for name in ("records.jsonl", "submission.csv", "failures.csv"):
        assert (tmp_path / name).read_bytes() == (quick_prediction / name).read_bytes()


@pytest.mark.e2e
def test_second_phase_refuses_other_networks(finished: Path, recipe: Recipe, tmp_path: Path) -> None:
    write_untrained_assets(tmp_path / "assets", recipe, seed=99)
    other = import_assets(tmp_path / "assets", recipe, tmp_path / "bundle")
    with pytest.raises(CheckpointError, match="networks of bundle"):
        records_to_submission(finished, Estimator(other), tmp_path / "out")


def test_demo_bundle_says_so_in_the_run_report(quick_prediction: Path) -> None:
    report = json.loads((quick_prediction / "run.json").read_text())
    assert report["warning"] == "demo model: not for conclusions"
    assert report["bundle"]["demo"] is True


def test_run_report_counts_what_happened(quick_prediction: Path) -> None:
    report = json.loads((quick_prediction / "run.json").read_text())
    path = quick_prediction / "records.jsonl"
    records = list(read_records(path, read_header(path)))
    assert report["counts"]["sequences"] == 12
    assert report["counts"]["frames"] == sum(record.n_frames for record in records)
    assert report["counts"]["failed_photos"] == {"missing": 1, "not a JPEG or PNG": 1}
    assert report["files"]["submission.csv"] == sha256_of_file(quick_prediction / "submission.csv")
    assert report["seconds"]["networks"] > 0
