"""Runs short of time: every effort gives a valid submission, says so, and stackers see only what they expect."""

from __future__ import annotations

import itertools
import json
import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.errors import InterruptedRunError, TooManyFailuresError
from inference.core.labels import CLASS_PRIORS, LABELS
from inference.core.sequences import FailureReason, FrameFailure
from inference.ensemble.estimator import Estimator
from inference.execution.deadline import DeadlinePolicy
from inference.execution.job import RunOptions
from inference.outputs.provisional import Provisional
from inference.outputs.run_report import RunMetadata
from inference.process.progress import RunState
from inference.records.jsonl import RecordWriter, read_header, read_records
from inference.records.schema import Record
from inference.run.records_to_submission import records_to_submission
from runtime_tests.running import job_for, run, run_job
from runtime_tests.stand_in_engine import StandInEngine
from runtime_tests.tables import submission_rows

STACKED = LABELS.index("zebra")
BUDGET = 3600.0


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> list[Effort]:
    """Efforts of the batches to come; the last one stays. Mixed precision is not tried."""
    efforts = [Effort.FULL]

    monkeypatch.setattr(DeadlinePolicy, "effort_for", lambda *_: efforts.pop(0) if len(efforts) > 1 else efforts[0])
    return efforts


def within_budget(
    season: Path, bundle: Bundle, out: Path, engine: StandInEngine | None = None, **changes: Any
) -> dict[str, Any]:
    options = RunOptions(n_workers=2, batch_size=4, budget=BUDGET)
    job = replace(job_for(season, bundle), **changes)
    return run_job(job, out, options, executor_for=engine or StandInEngine(()))


def records_of(out: Path) -> list[Record]:
    path = out / "records.jsonl"
    return list(read_records(path, read_header(path)))


def submission(out: Path) -> dict[str, np.ndarray]:
    """As it was before it became text: float32."""
    return {seq_id: row.astype(np.float32) for seq_id, row in submission_rows(out / "submission.csv").items()}


@pytest.mark.parametrize("effort", [Effort.NO_LARGE_TTA, Effort.NO_TTA, Effort.ONE_SIZE, Effort.FIRST_NETWORK])
def test_every_effort_gives_the_estimate_of_what_was_asked(
    effort: Effort, season: Path, quick_bundle: Bundle, quick_prediction: Path, forced: list[Effort], tmp_path: Path
) -> None:
    forced[:] = [effort]
    report = within_budget(season, quick_bundle, tmp_path)
    assert report["degraded"] is True
    n_seen = sum(record.n_frames > 0 for record in records_of(quick_prediction))
    assert report["counts"]["sequences_by_effort"] == {effort.label: 12}
    rows, full_rows = submission(tmp_path), submission(quick_prediction)
    changed = [seq_id for seq_id in rows if (rows[seq_id] != full_rows[seq_id]).any()]
    assert len(changed) == n_seen
    for record in records_of(tmp_path):
        assert record.effort is effort
        if not record.n_frames:
            continue
        asked = ~np.isnan(record.frame_outputs[0, :, 0])
        n_asked = {Effort.ONE_SIZE: 3, Effort.FIRST_NETWORK: 1}.get(effort, 5)
        assert asked.sum() == n_asked
        medians = np.median(record.frame_outputs[:, asked].astype(np.float64), axis=1)
        weights = np.array([1, 0.8, 0.5])[: record.n_frames]
        expected = (weights[:, None] * medians).sum(axis=0) / weights.sum()
        plain = [c for c, label in enumerate(LABELS) if label not in quick_stacked(quick_bundle)]
        np.testing.assert_allclose(rows[record.seq_id][plain], expected[plain], rtol=0, atol=1e-6)
        is_stacked = abs(rows[record.seq_id][STACKED] - expected[STACKED]) > 1e-6
        assert is_stacked == (effort <= Effort.NO_TTA)


def quick_stacked(bundle: Bundle) -> set[str]:
    assert bundle.manifest.ensemble.stacking
    return set(bundle.manifest.ensemble.stacking.classes)


def test_effort_can_change_from_batch_to_batch_and_end_in_priors(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, forced: list[Effort], tmp_path: Path
) -> None:
    forced[:] = [Effort.FULL, Effort.NO_TTA, Effort.ONE_SIZE, Effort.ONE_SIZE, Effort.PRIORS]
    report = within_budget(season, quick_bundle, tmp_path)
    efforts = [record.effort for record in records_of(tmp_path)]
    # Single sequences until one of them tells what they take, then up to the next multiple of the batch size, 4.
    assert efforts == [Effort.FULL, Effort.NO_TTA] + [Effort.ONE_SIZE] * 6 + [Effort.PRIORS] * 4
    assert report["counts"]["sequences_by_effort"] == {"no tta": 1, "one size": 6, "priors": 4}
    rows = submission(tmp_path)
    priors = np.array(list(CLASS_PRIORS.values()), np.float32)
    for record in records_of(tmp_path)[8:]:
        np.testing.assert_array_equal(rows[record.seq_id], priors)
    first = records_of(quick_prediction)[0].seq_id
    np.testing.assert_array_equal(rows[first], submission(quick_prediction)[first])
    assert json.loads((tmp_path / "run.json").read_text())["budget"]["seconds"] == BUDGET


def test_sequences_that_nobody_looked_at_are_done_when_there_is_time(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, forced: list[Effort], tmp_path: Path
) -> None:
    forced[:] = [Effort.FULL, Effort.FULL, Effort.FULL, Effort.PRIORS]
    assert within_budget(season, quick_bundle, tmp_path)["counts"]["sequences_by_effort"] == {"priors": 8}
    forced[:] = [Effort.FULL]
    report = run(season, quick_bundle, tmp_path)
    assert report["sequences_kept_from_earlier_run"] == 4 - 4 % 8
    assert (tmp_path / "submission.csv").read_bytes() == (quick_prediction / "submission.csv").read_bytes()


def test_a_run_with_a_budget_that_goes_on_counts_what_was_kept_as_real(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, forced: list[Effort], tmp_path: Path
) -> None:
    whole = (quick_prediction / "records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_bytes(b"".join(whole[: 1 + 8]))
    forced[:] = [Effort.PRIORS]
    report = within_budget(season, quick_bundle, tmp_path)
    assert report["counts"]["sequences_by_effort"] == {"priors": 4}
    rows, full_rows = submission(tmp_path), submission(quick_prediction)
    same = [seq_id for seq_id in rows if (rows[seq_id] == full_rows[seq_id]).all()]
    assert len(same) >= 8


def test_sequences_whose_photos_the_disk_did_not_give_are_tried_again(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    path = tmp_path / "records.jsonl"
    header, records = read_header(quick_prediction / "records.jsonl"), records_of(quick_prediction)
    trouble = (FrameFailure("x.jpg", FailureReason.TIMED_OUT),)
    writer = RecordWriter(path, header)
    writer.append([*records[:8], *(replace(record, failures=trouble) for record in records[8:10])])
    writer.close()
    report = run(season, quick_bundle, tmp_path)
    assert report["sequences_kept_from_earlier_run"] == 8
    assert path.read_bytes() == (quick_prediction / "records.jsonl").read_bytes()


def test_an_error_under_a_budget_leaves_the_best_so_far_unless_there_is_an_older_submission(
    season: Path, quick_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("the GPU fell off the bus")

    monkeypatch.setattr("inference.run.pipeline.photos_to_records", breaks)
    with pytest.raises(RuntimeError, match="fell off the bus"):
        within_budget(season, quick_bundle, tmp_path)
    assert len(submission(tmp_path)) == 12
    (tmp_path / "submission.csv").write_bytes(b"an older one")
    with pytest.raises(RuntimeError, match="fell off the bus"):
        within_budget(season, quick_bundle, tmp_path)
    assert (tmp_path / "submission.csv").read_bytes() == b"an older one"


@pytest.mark.parametrize("error", [InterruptedRunError("SIGTERM", 15), TooManyFailuresError("too many")])
def test_a_run_under_a_budget_that_can_go_on_leaves_no_submission(
    error: Exception, season: Path, quick_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("inference.run.pipeline.photos_to_records", breaks)
    with pytest.raises(type(error)):
        within_budget(season, quick_bundle, tmp_path)
    assert (tmp_path / "submission.partial.csv").exists()
    assert not (tmp_path / "submission.csv").exists()


@pytest.mark.parametrize(("write_seconds", "expected"), [(1.0, 0.97 * BUDGET), (600.0, BUDGET - 3 * 600.0)])
def test_the_deadline_leaves_time_to_write_the_submission_three_times(
    write_seconds: float,
    expected: float,
    season: Path,
    quick_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    moments = itertools.count(step=write_seconds)
    deadlines = []

    def no_watchdog(_state: RunState, at_seconds: float, *_others: object) -> NoReturn:
        deadlines.append(at_seconds)
        raise InterruptedRunError("nothing else is looked at", 15)

    monkeypatch.setattr("inference.run.pipeline.Provisional", partial(Provisional, clock=lambda: next(moments)))
    monkeypatch.setattr("inference.run.pipeline.watchdog", no_watchdog)
    with pytest.raises(InterruptedRunError):
        within_budget(season, quick_bundle, tmp_path)
    assert deadlines == [pytest.approx(expected)]


def test_the_last_resort_is_kept_from_a_submission_from_before_it_gets_its_name(
    quick_prediction: Path, quick_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state, rename = RunState(), os.replace
    was_locked: dict[str, bool] = {}

    def renamed(source: Path, target: Path) -> None:
        was_locked[Path(target).name] = state.submission_lock.locked()
        rename(source, target)

    monkeypatch.setattr(os, "replace", renamed)
    records_to_submission(quick_prediction, Estimator(quick_bundle), tmp_path, run=RunMetadata(state=state))
    assert was_locked["submission.csv"]
    assert state.submission_lock.locked()


def test_features_leave_out_what_the_stackers_do_not_expect(
    season: Path, quick_bundle: Bundle, forced: list[Effort], tmp_path: Path
) -> None:
    forced[:] = [Effort.FULL, Effort.NO_TTA, Effort.FIRST_NETWORK]
    options = RunOptions(batch_size=4, budget=BUDGET, features_path=tmp_path / "features.npz")
    engine = StandInEngine(())
    run_job(job_for(season, quick_bundle), tmp_path / "out", options, executor_for=engine)
    features = np.load(tmp_path / "features.npz")
    expected = [one.seq_id for one in records_of(tmp_path / "out") if one.n_frames and one.effort <= Effort.NO_TTA]
    assert features["seq_id"].tolist() == expected
    assert np.isfinite(features["X"]).all()


def with_bound(bundle: Bundle, bound: float) -> Bundle:
    """The bundle, accepting mixed precision up to a bound."""
    ensemble = bundle.manifest.ensemble.model_copy(update={"max_mixed_loss_increase": bound})
    return Bundle(bundle.folder, bundle.manifest.model_copy(update={"ensemble": ensemble}), bundle.id)


@pytest.fixture
def second_batch_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second batch is short of time."""
    wanted = itertools.chain([Effort.FULL, Effort.NO_TTA], itertools.repeat(Effort.FULL))
    monkeypatch.setattr(DeadlinePolicy, "effort_for", lambda *_: next(wanted))


FLOAT32, MIXED = Precision.FLOAT32, Precision.MIXED


@pytest.mark.usefixtures("second_batch_is_late")
def test_before_anything_is_left_out_mixed_precision_is_tried(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    engine = StandInEngine()
    report = within_budget(season, with_bound(quick_bundle, 0.5), tmp_path, engine)
    assert engine.loaded == [FLOAT32, MIXED]
    assert [record.is_mixed for record in records_of(tmp_path)] == [False] + [True] * 11
    assert report["counts"]["sequences_in_lower_precision_for_lack_of_time"] == 11
    assert report["degraded"] is True
    rows, full_rows = submission(tmp_path), submission(quick_prediction)
    for record, exact in zip(records_of(tmp_path), records_of(quick_prediction), strict=True):
        if not record.is_mixed or not record.n_frames:
            np.testing.assert_array_equal(rows[record.seq_id], full_rows[record.seq_id])
        else:
            assert 0 < np.abs(record.frame_outputs - exact.frame_outputs).max() <= engine.noise + 1e-6


@pytest.mark.usefixtures("second_batch_is_late")
@pytest.mark.parametrize(("bound", "has_memory"), [(1e-300, True), (0.5, False)])
def test_mixed_precision_that_does_not_hold_or_fit_is_not_used_to_save_time(
    bound: float, has_memory: bool, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    engine = StandInEngine(has_memory=has_memory)
    report = within_budget(season, with_bound(quick_bundle, bound), tmp_path, engine)
    assert engine.loaded == [FLOAT32, MIXED, FLOAT32]
    assert report["degraded"] is False
    assert (tmp_path / "submission.csv").read_bytes() == (quick_prediction / "submission.csv").read_bytes()


@pytest.mark.usefixtures("second_batch_is_late")
def test_a_run_in_mixed_precision_has_no_other_to_save_time_with(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    engine = StandInEngine()
    report = within_budget(season, with_bound(quick_bundle, 0.5), tmp_path, engine, precision=MIXED)
    assert engine.loaded == [MIXED]
    assert report["precision"]["used"] == "mixed"
    assert report["counts"]["sequences_by_effort"] == {"no tta": 1}  # the second one, before anything is warm
    assert report["counts"]["sequences_in_lower_precision_for_lack_of_time"] == 0


def test_too_many_failures_write_nothing_over_a_good_submission(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "submission.csv").write_bytes(b"a good one")
    (tmp_path / "status.json").touch()  # of an earlier run
    job = job_for(season, quick_bundle)
    n_photos = sum(len(sequence.images[:3]) for sequence in job.plan.sequences)
    strict = RunOptions(n_workers=2, max_failures=1.5 / n_photos)
    for _ in range(2):  # the second time the records are complete
        with pytest.raises(TooManyFailuresError, match=f"1 of {n_photos}, got 2 failures") as error:
            run_job(job, tmp_path, strict)
        assert error.value.exit_code == 9
        assert re.search(
            r"the first: \S+JPG \(missing\), \S+JPG \(not a JPEG or PNG\); records are kept", str(error.value)
        )
        assert (tmp_path / "submission.csv").read_bytes() == b"a good one"
    run_job(job, tmp_path, RunOptions(n_workers=2, max_failures=2.5 / n_photos))
    assert (tmp_path / "submission.csv").read_bytes() != b"a good one"


def test_too_many_failures_end_the_run_as_soon_as_they_are_known(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    job = job_for(season, quick_bundle)
    with pytest.raises(TooManyFailuresError, match="in 2 of 12 sequences"):
        run_job(job, tmp_path, RunOptions(batch_size=2, max_failures=0.0))
