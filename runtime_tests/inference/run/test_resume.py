"""What a run keeps of an earlier one, what it does again, and what it calls complete."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from benchmark.rehearsal.health import why_unhealthy
from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.choices import REFERENCE_PIXELS, DecoderName
from inference.core.errors import CheckpointError, InputError, TooManyFailuresError
from inference.core.sequences import FailureReason, FrameFailure
from inference.ensemble.estimator import Estimator
from inference.execution.executor import Executor
from inference.execution.job import Job, RunOptions, Shard
from inference.images.decoder import is_whole
from inference.outputs.run_report import RunMetadata
from inference.outputs.verify import verify_run
from inference.process.lock import locked
from inference.process.progress import RunState
from inference.records import jsonl
from inference.records.jsonl import RecordWriter, read_header, read_records
from inference.records.schema import PROBE
from inference.run import pipeline
from inference.run.plan import plan
from inference.run.records_to_submission import records_to_submission
from inference.storage.local import LocalFolder
from runtime_tests.running import copy_of, ignore_progress, job_for, run, run_job
from runtime_tests.scripted_executor import ScriptedExecutor
from runtime_tests.stand_in_engine import StandInEngine
from runtime_tests.tables import rows_of

NAMES = ("records.jsonl", "submission.csv", "failures.csv")


@pytest.fixture
def data(season: Path, tmp_path: Path) -> Path:
    """A copy of the season that a test may change."""
    return Path(shutil.copytree(season, tmp_path / "data"))


def missing_photo(data: Path) -> Path:
    rows = rows_of(data / "test_metadata.csv")
    [path] = [path for row in rows if not (path := data / row["file_name"]).exists()]
    return path


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in NAMES}


def mend(data: Path) -> None:
    """Put a photo where one was missing."""
    shutil.copy(max(data.glob("S1/*/*/*.JPG"), key=lambda path: path.stat().st_size), missing_photo(data))


def test_a_folder_without_any_of_the_photos_is_refused(
    data: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    job = replace(job_for(data, quick_bundle), photos=str(tmp_path / "wrong"))
    n_photos = job.n_photos
    with pytest.raises(
        InputError, match=rf"wrong: must hold the photos that the metadata name, got none of {n_photos}"
    ):
        run_job(job, tmp_path / "out")
    assert not (tmp_path / "out" / "submission.csv").exists()
    # The corrected command starts as if nothing had been.
    run(data, quick_bundle, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(quick_prediction)


def test_a_single_photo_is_enough(data: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    photos = sorted(data.glob("S1/*/*/*.JPG"))
    for photo in photos[:-1]:
        photo.unlink()
    assert run(data, quick_bundle, tmp_path / "out")["counts"]["frames"] == 1


def test_a_format_of_other_metadata_is_refused(data: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    path = data / "submission_format.csv"
    path.write_text(path.read_text().replace("SER_S1#", "SER_S9#"))
    with pytest.raises(InputError, match="must have sequences of the submission format, got none of its 12"):
        run(data, quick_bundle, tmp_path / "out")


def test_a_complete_run_says_that_missing_photos_have_come(
    data: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    out = copy_of(quick_prediction, tmp_path / "out")
    before = contents(out)
    mend(data)
    with capture_logs() as logs:
        run(data, quick_bundle, out)
    told = [log for log in logs if "--restart predicts them anew" in log["event"]]
    assert [log["count"] for log in told] == [1]
    assert contents(out) == before


def test_results_of_another_run_without_records_are_kept(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    out, other = copy_of(quick_prediction, tmp_path / "out"), replace(job_for(season, quick_bundle), flip_tta=False)
    (out / "records.jsonl").unlink()
    before = (out / "submission.csv").read_bytes()
    with pytest.raises(CheckpointError, match="run.json: must belong to this run, but differs in flip TTA"):
        run_job(other, out)
    assert (out / "submission.csv").read_bytes() == before
    run_job(other, out, RunOptions(fresh=True))
    assert (out / "submission.csv").read_bytes() != before


def test_a_complete_run_mends_its_report(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    out = copy_of(quick_prediction, tmp_path / "out")
    path, before = out / "run.json", contents(out)
    path.write_text(path.read_text().replace('"sequences": 12', '"sequences": 13'))
    assert run(season, quick_bundle, out)["counts"]["sequences"] == 12
    assert verify_run(out)["sequences"] == 12
    assert contents(out) == before


@pytest.mark.parametrize("text", [None, "{", '{"stage": "complete"}', '"photos to records"'])
def test_a_complete_run_mends_its_last_status(
    text: str | None, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    out = copy_of(quick_prediction, tmp_path / "out")
    path, before = out / "status.json", contents(out)
    if text is None:
        path.unlink()
    else:
        path.write_text(path.read_text().replace('"complete"', text) if text.startswith('"') else text)
    run(season, quick_bundle, out)
    assert json.loads(path.read_text())["stage"] == "complete"
    assert contents(out) == before
    assert verify_run(out)["status"] == "complete"


def test_a_complete_run_counts_bad_photos_that_were_copied_again(
    data: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    def n_repaired() -> list[int]:
        with capture_logs() as logs:
            run(data, quick_bundle, out)
        assert [log["count"] for log in logs if "without their end" in log["event"]] == [1]
        return [log["count"] for log in logs if "--restart predicts them anew" in log["event"]]

    out = copy_of(quick_prediction, tmp_path / "out")
    cut_short, text = (
        path
        for path in sorted(data.glob("S1/*/*/*.JPG"))
        if not is_whole(LocalFolder(data), path.relative_to(data).as_posix())
    )
    assert n_repaired() == []  # they were copied, and are as bad as before
    sound = max(data.glob("S1/*/*/*.JPG"), key=lambda path: path.stat().st_size)
    for n_copied, path in enumerate((cut_short, text), start=1):
        shutil.copy2(sound, path)  # with the time of the file, as programs that copy cards do
        assert n_repaired() == [n_copied]
    assert contents(out) == contents(quick_prediction)


def test_after_too_many_failures_the_same_command_goes_on_with_what_was_mended(
    data: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    out, options = (
        tmp_path / "out",
        RunOptions(n_workers=2, batch_size=1, max_failures=1.5 / job_for(data, quick_bundle).n_photos),
    )
    for _ in range(2):
        with pytest.raises(TooManyFailuresError) as error:
            run_job(job_for(data, quick_bundle), out, options)
        assert error.value.hint.endswith("--restart rereads every photo")
    mend(data)
    report = run_job(job_for(data, quick_bundle), out, options)
    assert report["counts"]["failed_photos"] == {"not a JPEG or PNG": 1}
    run(data, quick_bundle, tmp_path / "whole", batch_size=1)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_run_without_a_single_usable_photo_ends_with_9_and_is_done_again(
    data: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    photos = {path: path.read_bytes() for path in data.rglob("*.JPG")}
    for path in photos:
        path.write_bytes(b"")
    out, job, options = tmp_path / "out", job_for(data, quick_bundle), RunOptions(n_workers=2)
    for again in range(2):
        with pytest.raises(
            TooManyFailuresError, match=r"at least one must be usable, got none of \d+, the first: .* .empty file"
        ):
            run_job(job, out, replace(options, budget=600.0) if again else options)
        assert "has failed" in (why_unhealthy(out) or "")
        assert {path.name for path in out.glob("*.*")} >= {"records.jsonl", "status.json"}
        assert not [name for name in ("submission.csv", "run.json") if (out / name).exists()]
    with pytest.raises(TooManyFailuresError, match="at least one must be usable"):
        records_to_submission(out, Estimator(quick_bundle), tmp_path / "restacked")
    for path, content in photos.items():
        path.write_bytes(content)
    assert run_job(job, out, options)["counts"]["frames"] > 0


def test_29_of_100_photos_are_29_percent() -> None:
    for percent in range(101):
        assert RunOptions(max_failures=percent / 100).allowed_failures(100) == percent
    assert RunOptions(max_failures=0.05).allowed_failures(19) == 0


class Killed(BaseException):
    """Stands for the end of the process."""


def killed_before_the_submission(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(pipeline, "records_to_submission", kill)


def test_a_submission_of_other_records_is_not_called_complete(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(season, quick_bundle, tmp_path / "plain", flip_tta=False)
    out = copy_of(quick_prediction, tmp_path / "out")
    with monkeypatch.context() as patch:
        killed_before_the_submission(patch)
        with pytest.raises(Killed):
            run(season, quick_bundle, out, flip_tta=False, fresh=True)
    assert not (out / "run.json").exists()
    run(season, quick_bundle, out, flip_tta=False)
    assert contents(out) == contents(tmp_path / "plain")


def test_a_report_of_another_run_does_not_vouch_for_the_submission(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    copy_of(quick_prediction, tmp_path)
    report = json.loads((tmp_path / "run.json").read_text())
    report["fingerprint"]["flip TTA"] = "off"
    (tmp_path / "run.json").write_text(json.dumps(report))
    run(season, quick_bundle, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["fingerprint"]["flip TTA"] == "on"


def test_a_report_that_no_parser_takes_is_written_again(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    copy_of(quick_prediction, tmp_path)
    (tmp_path / "run.json").write_text("[" * 100_000)
    run(season, quick_bundle, tmp_path)
    assert contents(tmp_path) == contents(quick_prediction)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "complete"


def test_records_that_are_torn_make_no_submission(quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path) -> None:
    lines = (quick_prediction / "records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:-9])
    state = RunState()
    with pytest.raises(CheckpointError, match="must have 12 complete records, got 11; run predict to the end first"):
        records_to_submission(tmp_path, Estimator(quick_bundle), tmp_path / "out", run=RunMetadata(state))
    assert list((tmp_path / "out").iterdir()) == []
    assert not state.submission_lock.locked()


def test_a_provisional_submission_of_an_earlier_run_goes(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "submission.partial.csv").touch()
    run(season, quick_bundle, tmp_path)
    assert not (tmp_path / "submission.partial.csv").exists()


@pytest.mark.parametrize(
    ("in_trouble", "frames_left", "kept"),
    [
        (range(12), True, 10),  # a bad spot in every sequence: no reason to begin again
        (range(7, 12), False, 7),  # the disk went away
        ((3,), False, 12),
    ],
)
def test_a_resume_goes_back_to_where_the_disk_went_away(
    in_trouble: range,
    frames_left: bool,
    kept: int,
    season: Path,
    quick_bundle: Bundle,
    quick_prediction: Path,
    tmp_path: Path,
) -> None:
    path = tmp_path / "records.jsonl"
    header = read_header(quick_prediction / "records.jsonl")
    writer = RecordWriter(path, replace(header, n_sequences=12))
    for index, record in enumerate(read_records(quick_prediction / "records.jsonl", header)):
        one = record
        if index in in_trouble:
            [image, *_] = job_for(season, quick_bundle).sequences[index].images
            failure = FrameFailure(image.file_name, FailureReason.UNREADABLE, "Input/output error")
            one = replace(record, failures=(failure,))
            if not frames_left:
                one = replace(one, frame_outputs=one.frame_outputs[:0], sequence_outputs=one.sequence_outputs[:0])
        writer.append([one])
    writer.close()
    if kept < 12:
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))  # it is not finished
    report = run(season, quick_bundle, tmp_path, batch_size=1)
    assert report["sequences_kept_from_earlier_run"] == kept


def test_other_sequences_are_not_called_another_shard(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    copy_of(quick_prediction, tmp_path)
    job = job_for(season, quick_bundle)
    fewer = replace(job, plan=replace(job.plan, sequences=job.plan.sequences[:5]))
    with pytest.raises(
        CheckpointError, match="differs in metadata and submission format, seq_ids, number of sequences;"
    ):
        run_job(fewer, tmp_path)


def test_a_signal_is_heard_while_old_records_are_read(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    copy_of(quick_prediction, tmp_path)
    state = RunState(stop_signal=signal.SIGTERM)
    with locked(tmp_path) as out, pytest.raises(Exception, match="stopped by SIGTERM"):
        pipeline.predict(job_for(season, quick_bundle), out, RunOptions(), ignore_progress, state)


def test_a_name_below_a_file_is_missing(data: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    metadata = data / "test_metadata.csv"
    name = max(data.glob("S1/*/*/*.JPG")).relative_to(data).as_posix()
    metadata.write_text(metadata.read_text().replace(name, f"{name}/x.jpg"))
    report = run(data, quick_bundle, tmp_path / "out")
    assert report["counts"]["failed_photos"]["missing"] == 2
    assert os.path.exists(data / name)


def test_a_finished_run_whose_last_sequences_have_no_metadata_is_complete(
    data: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    path = data / "test_metadata.csv"
    last = job_for(data, quick_bundle).sequences[-1].seq_id
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if last not in line))
    run(data, quick_bundle, tmp_path / "out")
    records = tmp_path / "out" / "records.jsonl"
    *others, without = read_records(records, header := read_header(records))
    assert (without.seq_id, without.has_metadata) == (last, False)
    writer = RecordWriter(records, header, keep=len(others))
    writer.append([replace(without, effort=Effort.PRIORS)])  # as a budget leaves it that ended before
    writer.close()
    before = records.stat().st_mtime_ns
    run(data, quick_bundle, tmp_path / "out")  # the counts are renewed
    with capture_logs() as logs:
        run(data, quick_bundle, tmp_path / "out")
    assert any("already complete" in log["event"] for log in logs)
    assert records.stat().st_mtime_ns == before


def test_a_continued_run_reads_the_old_records_twice(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (quick_prediction / "records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_bytes(b"".join(lines[:9]))
    n_parsed = 0
    parse = jsonl._text_of_line

    def counted(line: bytes) -> bytes:
        nonlocal n_parsed
        n_parsed += b'"seq_id"' in line
        return parse(line)

    monkeypatch.setattr(jsonl, "_text_of_line", counted)
    monkeypatch.setattr("runtime_tests.running.assert_valid", lambda _: None)  # reads them too
    run(season, quick_bundle, tmp_path)
    n_passes_of_phase_2 = 1 + bool(quick_bundle.manifest.ensemble.stacking.neighbours)  # type: ignore[union-attr]
    assert n_parsed == 8 + 12 * n_passes_of_phase_2


@pytest.mark.parametrize(
    ("pixels", "decoder"),
    [
        (REFERENCE_PIXELS, DecoderName.FAST),
        ("dali 1.53 cpu", DecoderName.DALI),
        ("of a decoder to come", DecoderName.AUTO),
    ],
)
def test_the_pixels_of_the_records_decide_which_decoder_continues_them(
    pixels: str,
    decoder: DecoderName,
    season: Path,
    quick_bundle: Bundle,
    quick_prediction: Path,
    tmp_path: Path,
) -> None:
    header = read_header(quick_prediction / "records.jsonl")
    header = replace(header, fingerprint=header.fingerprint | {"pixels": pixels})
    RecordWriter(tmp_path / "records.jsonl", header).close()
    asked = []

    def executor_for(job: Job, *_: Any) -> Executor:
        asked.append((job.engine.value, job.decoder))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run_job(job_for(season, quick_bundle), tmp_path, executor_for=executor_for)
    assert asked == [(header.fingerprint["engine"].split()[0], decoder)]


def test_a_run_does_not_go_on_in_silence_where_the_networks_answer_otherwise(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    job, options, path = job_for(season, quick_bundle), RunOptions(batch_size=5), tmp_path / "records.jsonl"
    run_job(job, tmp_path, options, executor_for=ScriptedExecutor())
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: 1 + 7]))
    kept, other = path.read_bytes(), ScriptedExecutor(probe=0.5 + 2**-20)
    differs = f"{path}: must belong to this run, but differs in {PROBE} of its networks, by up to 9.5e-07"
    with pytest.raises(CheckpointError, match=differs) as error:
        run_job(job, tmp_path, options, executor_for=other)
    with pytest.raises(CheckpointError, match=differs):
        plan(job, tmp_path, options, RunState(), other)
    assert (error.value.exit_code, path.read_bytes(), other.requests) == (8, kept, [])
    mixing = replace(options, allow_mixed_hardware=True)
    report = run_job(job, tmp_path, mixing, executor_for=other)
    assert report["probe_differences"] == {"sequences": 7, "largest": 2**-20}
    assert report["fingerprint"] == read_header(path).fingerprint
    # On either machine it is complete now, and whoever starts over has only its own.
    for executor in (ScriptedExecutor(), other):
        assert run_job(job, tmp_path, options, executor_for=executor) == report
    again = run_job(job, tmp_path, replace(options, fresh=True), executor_for=other)
    assert "probe_differences" not in again
    assert again["fingerprint"][PROBE] != report["fingerprint"][PROBE]


def test_a_shard_states_that_it_was_mixed(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    job, path = replace(job_for(season, quick_bundle), shard=Shard(1, 2)), tmp_path / "records.jsonl"
    options = RunOptions(batch_size=2, allow_mixed_hardware=True)
    report = run_job(job, tmp_path, options, executor_for=ScriptedExecutor())
    assert PROBE in report["fingerprint"]
    assert "probe_differences" not in report
    for n_left, probe in ((4, 0.75), (2, 0.5)):
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: 1 + 6 - n_left]))
        report = run_job(job, tmp_path, options, executor_for=ScriptedExecutor(probe=probe))
        assert report["probe_differences"] == {"sequences": 4 if probe > 0.5 else 2, "largest": 0.25}


def test_records_of_which_nothing_is_kept_do_not_bind_a_run_to_their_machine(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    job, path = job_for(season, quick_bundle), tmp_path / "records.jsonl"
    run_job(job, tmp_path, executor_for=ScriptedExecutor())
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: 1 + 3]))  # less than a batch
    run_job(job, tmp_path, executor_for=ScriptedExecutor(probe=0.75))
    assert set(read_header(path).probe) == {0.75}


def test_a_finished_run_is_verified_without_its_networks(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    out, engine = copy_of(quick_prediction, tmp_path), StandInEngine()
    run_job(job_for(season, quick_bundle), out, executor_for=engine)
    assert engine.loaded == []


def test_records_of_an_older_format_come_with_a_remedy(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    out = copy_of(quick_prediction, tmp_path / "out")
    header, *records = (out / "records.jsonl").read_bytes().splitlines(keepends=True)
    content = json.loads(header.partition(b" ")[2])
    del content["probe"]
    older = jsonl.checked_line({**content, "format_version": 3})
    (out / "records.jsonl").write_bytes(b"".join([older, *records]))
    remedy = "must be the header of records of format 4, got format 3; `hakuna predict --restart` recomputes them"
    with pytest.raises(CheckpointError, match=remedy):
        run(season, quick_bundle, out)
    run(season, quick_bundle, out, fresh=True)
    assert contents(out) == contents(quick_prediction)
