"""The audit at the end of a run in a lower precision. The engine is a stand-in whose lower precision adds noise."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference import api
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.errors import BundleError, DegradedError, InputError, InterruptedRunError, OutOfMemoryError
from inference.ensemble import audit
from inference.ensemble.audit import sample_of
from inference.execution.job import RunOptions, Shard
from inference.execution.local_executor import LocalExecutor
from inference.records.jsonl import read_header, read_records
from runtime_tests.running import job_for, run_job
from runtime_tests.stand_in_engine import StandInEngine

FLOAT32, MIXED = Precision.FLOAT32, Precision.MIXED
OUTPUTS = ("records.jsonl", "audit.jsonl", "submission.csv", "failures.csv")
BOUND = 0.02


@pytest.fixture(autouse=True)
def audits_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample is the whole run, whose verdict is then certain."""
    monkeypatch.setattr(audit, "SHARE", 1.0)


def predict(
    season: Path,
    bundle: Bundle,
    out: Path,
    noise_on_photos: float | None,
    *,
    noise: float = 1e-5,
    options: RunOptions | None = None,
    shard: Shard | None = None,
    engine: StandInEngine | None = None,
) -> dict[str, Any]:
    """A run in mixed precision; the proof set sees only `noise`."""
    job = replace(job_for(season, bundle), precision=MIXED, max_loss_increase=BOUND, shard=shard or Shard())
    engine = engine or StandInEngine(noise=noise, noise_on_photos=noise_on_photos)
    return run_job(job, out, options or RunOptions(n_workers=2, batch_size=2), executor_for=engine)


def test_a_healthy_run_is_held_and_its_submission_is_that_of_the_lower_precision(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    report = predict(season, quick_bundle, tmp_path, 1e-5)
    found = report["precision"]["audit"]
    n_with_photos = sum(record.n_frames > 0 for record in records(tmp_path, "records.jsonl"))
    assert (found["verdict"], found["n_population"]) == ("held", n_with_photos)
    assert found["kl_lower"] == pytest.approx(found["mean_kl"]) == pytest.approx(found["kl_upper"])
    assert 0 < found["mean_kl"] < BOUND * found["mean_entropy"]
    assert report["degraded"] is False
    exact = {record.seq_id: record for record in records(quick_prediction, "records.jsonl")}
    for record in records(tmp_path, "audit.jsonl"):
        assert (record.frame_outputs == exact[record.seq_id].frame_outputs).all()
    assert (tmp_path / "submission.csv").read_bytes() != (quick_prediction / "submission.csv").read_bytes()


def test_a_run_whose_precision_costs_too_much_is_computed_anew_in_float32(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    engine = StandInEngine(noise=1e-5, noise_on_photos=0.3)
    report = predict(season, quick_bundle, tmp_path, None, engine=engine)
    precision = report["precision"]
    assert (precision["asked"], precision["used"], precision["audit"]["verdict"]) == ("mixed", "float32", "broken")
    assert engine.loaded == [MIXED, FLOAT32, FLOAT32]
    assert report["degraded"] is False
    assert not (tmp_path / "audit.jsonl").exists()
    for name in ("submission.csv", "failures.csv"):
        assert (tmp_path / name).read_bytes() == (quick_prediction / name).read_bytes()
    counts, expected = (json.loads((one / "run.json").read_text())["counts"] for one in (tmp_path, quick_prediction))
    assert counts == expected
    again = StandInEngine()
    predict(season, quick_bundle, tmp_path, None, engine=again)
    assert again.loaded == [], "a finished run is verified and left alone"


@pytest.mark.e2e
@pytest.mark.parametrize("noise_on_photos", [1e-5, 0.3])
@pytest.mark.parametrize("stops_at", [1, 5])
def test_a_run_that_is_stopped_in_its_audit_or_while_it_is_computed_anew_ends_in_the_same_bytes(
    noise_on_photos: float,
    stops_at: int,
    season: Path,
    quick_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    whole = predict(season, quick_bundle, tmp_path / "whole", noise_on_photos)
    calls = 0

    def stopping(method: Any) -> Any:
        def called(*arguments: Any) -> Any:
            nonlocal calls
            calls += arguments[-1] is FLOAT32
            if calls == stops_at + 1:
                raise InterruptedRunError("SIGTERM", 15)
            return method(*arguments)

        return called

    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "sample", stopping(LocalExecutor.sample))
        patch.setattr(LocalExecutor, "next_records", stopping(LocalExecutor.next_records))
        with pytest.raises(InterruptedRunError):
            predict(season, quick_bundle, tmp_path / "out", noise_on_photos)
    report = predict(season, quick_bundle, tmp_path / "out", noise_on_photos)
    assert report["precision"] == whole["precision"]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize(("noise_on_photos", "verdict"), [(1e-5, "held"), (0.3, "broken")])
def test_shards_come_to_the_verdict_of_the_whole_run(
    noise_on_photos: float, verdict: str, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    parts = [tmp_path / str(number) for number in (1, 2, 3)]
    for number, part in enumerate(parts, start=1):
        report = predict(season, quick_bundle, part, noise_on_photos, shard=Shard(number, 3))
        assert "audit" not in report.get("precision", {})
    out = tmp_path / "out"
    report = api.merge([*parts[::-1], parts[0]], quick_bundle.folder, out)
    found = report["precision"]["audit"]
    assert (found["verdict"], report["degraded"]) == (verdict, verdict == "broken")
    if verdict == "held":
        whole = predict(season, quick_bundle, tmp_path / "whole", noise_on_photos)
        assert report["precision"] == whole["precision"]
        assert contents(out) == contents(tmp_path / "whole")
    else:
        with pytest.raises(DegradedError, match=r"mixed is not exact enough.*more than 0.02 of it") as error:
            api.merge(parts, quick_bundle.folder, out, fail_if_degraded=True)
        assert "--precision float32 and --restart" in str(error.value.hint)


def test_the_audit_of_a_missing_shard_ends_the_sample(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    parts = [tmp_path / str(number) for number in (1, 2)]
    for number, part in enumerate(parts, start=1):
        predict(season, quick_bundle, part, 1e-5, shard=Shard(number, 2))
    audited = {record.seq_id for record in records(parts[0], "audit.jsonl")}
    (parts[1] / "audit.jsonl").unlink()
    report = api.merge(parts, quick_bundle.folder, tmp_path / "out")
    job = job_for(season, quick_bundle)
    sample = sample_of((one.seq_id for one in job.plan.sequences if one.images), len(job.plan.sequences))
    first_missing = next(number for number, seq_id in enumerate(sample) if seq_id not in audited)
    assert [record.seq_id for record in records(tmp_path / "out", "audit.jsonl")] == sample[:first_missing]
    assert report["precision"]["audit"]["verdict"] == "not shown"


def test_a_run_with_a_budget_keeps_what_is_complete_and_counts_as_degraded(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    options = RunOptions(n_workers=2, batch_size=2, budget=600.0, strict=True)
    with pytest.raises(DegradedError, match="mixed is not exact enough") as error:
        predict(season, quick_bundle, tmp_path, 0.3, options=options)
    assert error.value.exit_code == 6
    report = json.loads((tmp_path / "run.json").read_text())
    assert (report["precision"]["used"], report["precision"]["audit"]["verdict"]) == ("mixed", "broken")
    assert (report["status"], report["degraded"]) == ("complete", True)
    assert report["counts"]["sequences_by_effort"] == {}


def test_records_are_kept_where_the_photos_are_gone_before_they_are_computed_anew(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    photos = Path(shutil.copytree(season, tmp_path / "photos"))
    options = RunOptions(n_workers=2, batch_size=2, budget=600.0)
    predict(photos, quick_bundle, tmp_path / "out", 0.3, options=options)
    before = (tmp_path / "out" / "records.jsonl").read_bytes()
    (tmp_path / "out" / "run.json").unlink()  # as after a kill between the audit and the submission
    for photo in [path for path in photos.rglob("*") if path.suffix.lower() == ".jpg"]:
        photo.unlink()
    with pytest.raises(InputError, match="photo"):
        predict(photos, quick_bundle, tmp_path / "out", 0.3)
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == before


@pytest.mark.parametrize("error", [OutOfMemoryError("no room"), BundleError("no answer"), RuntimeError("library")])
def test_an_audit_that_cannot_run_or_has_no_time_shows_nothing_and_loses_nothing(
    error: Exception, season: Path, quick_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def cannot_run(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "sample", cannot_run)
        report = predict(season, quick_bundle, tmp_path / "error", 0.3)
    assert report["precision"]["audit"]["verdict"] == "not shown"
    assert report["precision"]["audit"]["n_sampled"] == 0
    monkeypatch.setattr("inference.run.precision.MIN_SLACK", 1e9)
    options = RunOptions(n_workers=2, batch_size=2, budget=600.0)
    report = predict(season, quick_bundle, tmp_path / "time", 0.3, options=options)
    assert report["precision"]["audit"]["n_sampled"] == 0
    assert report["status"] == "complete"


def test_starting_over_makes_the_audit_anew(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    predict(season, quick_bundle, tmp_path, 1e-5)
    before = (tmp_path / "audit.jsonl").read_bytes()
    (tmp_path / "audit.jsonl").write_bytes(before[:-9])
    options = RunOptions(n_workers=2, batch_size=2, fresh=True)
    predict(season, quick_bundle, tmp_path, 1e-5, options=options)
    assert (tmp_path / "audit.jsonl").read_bytes() == before


def test_the_sample_is_one_percent_and_depends_on_names_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    names = [f"SER_S1#B{number}" for number in range(5_000)]
    sample = sample_of(names, len(names))
    assert len(sample) == len(set(sample)) == 50
    assert sample_of(reversed(names), len(names)) == sample
    assert sample_of(names[:99], 99) == []
    assert sample_of(names[:2_500], len(names))[:10] == [one for one in sample if one in names[:2_500]][:10]
    positions = sorted(names.index(one) for one in sample)
    assert positions[0] < 1_000, "spread over the plan"
    assert positions[-1] > 4_000


def records(folder: Path, name: str) -> list[Any]:
    return list(read_records(folder / name, read_header(folder / name)))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS if (folder / name).exists()}
