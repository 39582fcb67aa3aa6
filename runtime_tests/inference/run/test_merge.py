"""Shards, in any order, some of them twice, are the records of one run."""

from __future__ import annotations

import itertools
import json
import math
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.reader import Bundle
from inference.core.errors import CheckpointError, InterruptedRunError, UsageError
from inference.ensemble.estimator import Estimator
from inference.execution.job import Shard, parse_shard
from inference.process.progress import RunState
from inference.records.jsonl import RecordWriter, read_header, read_records
from inference.records.schema import PROBE, RecordsHeader
from inference.run.merge import merge_records
from inference.run.records_to_submission import records_to_submission
from runtime_tests.running import copy_of, hakuna, hakuna_here, job_for, run_job
from runtime_tests.schemas import assert_valid


def shards_of(quick_prediction: Path, folder: Path, n_shards: int) -> list[Path]:
    """Cut finished records into those that the shards of a run would have left."""
    header = read_header(quick_prediction / "records.jsonl")
    records = list(read_records(quick_prediction / "records.jsonl", header))
    folders = []
    for number in range(1, n_shards + 1):
        first, end = Shard(number, n_shards).bounds(len(records))
        part = folder / f"{number} of {n_shards}"
        part.mkdir(parents=True, exist_ok=True)
        writer = RecordWriter(part / "records.jsonl", replace(header, first=first, n_sequences=end - first))
        writer.append(records[first:end])
        writer.close()
        folders.append(part)
    return folders


@pytest.mark.parametrize("n_shards", [1, 2, 5])
def test_any_number_of_shards_gives_the_bytes_of_one_run(
    n_shards: int, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    folders = []
    for number in range(1, n_shards + 1):
        out = tmp_path / f"part{number}"
        report = run_job(replace(job_for(season, quick_bundle), shard=Shard(number, n_shards)), out)
        assert report["status"] == ("shard complete" if n_shards > 1 else "complete")
        assert (out / "submission.csv").exists() == (n_shards == 1)
        folders.append(out)
    merged = tmp_path / "merged"
    merge_records([*reversed(folders), folders[0]], merged)
    records_to_submission(merged, Estimator(quick_bundle), merged)
    for name in ("records.jsonl", "submission.csv", "failures.csv"):
        assert (merged / name).read_bytes() == (quick_prediction / name).read_bytes()


@pytest.mark.parametrize("n_shards", range(1, 13))
def test_records_of_any_number_of_shards_are_joined(n_shards: int, quick_prediction: Path, tmp_path: Path) -> None:
    merge_records(shards_of(quick_prediction, tmp_path, n_shards), tmp_path / "merged")
    joined = (tmp_path / "merged" / "records.jsonl").read_bytes()
    assert joined == (quick_prediction / "records.jsonl").read_bytes()


def test_shards_of_different_numbers_can_overlap(quick_prediction: Path, tmp_path: Path) -> None:
    thirds, halves = shards_of(quick_prediction, tmp_path, 3), shards_of(quick_prediction, tmp_path, 2)
    merge_records([halves[1], thirds[0], thirds[1]], tmp_path / "merged")
    assert (tmp_path / "merged" / "records.jsonl").read_bytes() == (quick_prediction / "records.jsonl").read_bytes()


def test_a_missing_shard_is_named(quick_prediction: Path, tmp_path: Path) -> None:
    first, _, last = shards_of(quick_prediction, tmp_path, 3)
    with pytest.raises(CheckpointError, match="got none for those from 5 to 8"):
        merge_records([first, last], tmp_path / "merged")
    with pytest.raises(CheckpointError, match="got none for those from 9 to 12"):
        merge_records(shards_of(quick_prediction, tmp_path, 3)[:2], tmp_path / "merged")
    assert not (tmp_path / "merged" / "records.jsonl").exists()


def test_an_unfinished_shard_is_told(quick_prediction: Path, tmp_path: Path) -> None:
    first, second = shards_of(quick_prediction, tmp_path, 2)
    path = second / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="from 12 to 12"):
        merge_records([first, second], tmp_path / "merged")


def test_shards_of_another_run_are_refused(quick_prediction: Path, tmp_path: Path) -> None:
    first, second = shards_of(quick_prediction, tmp_path, 2)
    header = read_header(second / "records.jsonl")
    other = replace(header, fingerprint={**header.fingerprint, "preprocessing": "quarter+jpeg"})
    RecordWriter(second / "records.jsonl", other).close()
    with pytest.raises(CheckpointError, match="differs in preprocessing"):
        merge_records([first, second], tmp_path / "merged")
    RecordWriter(second / "records.jsonl", replace(header, precision={"used": "mixed"})).close()
    with pytest.raises(CheckpointError, match="differs in used precision"):
        merge_records([first, second], tmp_path / "merged")


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([0, 2, 1, 3, 4, 5, 6], "shards: must have one record per sequence"),
        ([0, 1, 2, 2, 4, 5, 6], "shards: must have one record per sequence"),
        ([0, 1, 2, 3, 4, 5, 6, 6], "records.jsonl: must have 6 records, got more"),
    ],
)
def test_a_shard_whose_records_are_not_in_their_places_is_refused(
    order: list[int], message: str, quick_prediction: Path, tmp_path: Path
) -> None:
    first, second = shards_of(quick_prediction, tmp_path, 2)
    lines = (first / "records.jsonl").read_bytes().splitlines(keepends=True)
    (first / "records.jsonl").write_bytes(b"".join(lines[line] for line in order))
    with pytest.raises(CheckpointError, match=message):
        merge_records([second, first], tmp_path / "merged")
    assert not (tmp_path / "merged" / "records.jsonl").exists()


@pytest.mark.parametrize("grows", [True, False])
def test_a_shard_that_is_written_while_it_is_read_leaves_nothing_out(
    grows: bool, quick_prediction: Path, tmp_path: Path
) -> None:
    """It grows after its records were counted, as if a run resumed or restarted."""
    folders, n_read = shards_of(quick_prediction, tmp_path, 2), 0
    path = folders[1] / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)

    def check() -> None:
        nonlocal n_read
        n_read += 1
        if n_read == 13:  # 12 were counted
            path.write_bytes(b"".join([*lines, lines[-1]] if grows else lines[:3]))

    if grows:
        merge_records(folders, tmp_path / "merged", check)
        joined = (tmp_path / "merged" / "records.jsonl").read_bytes()
        assert joined == (quick_prediction / "records.jsonl").read_bytes()
    else:
        with pytest.raises(CheckpointError, match="shards: must have 12 complete records, got 8"):
            merge_records(folders, tmp_path / "merged", check)


def with_probe(folder: Path, difference: float, device: str = "CPU") -> RecordsHeader:
    """The records of a shard as if its networks had answered the probe otherwise."""
    path = folder / "records.jsonl"
    header = read_header(path)
    records = list(read_records(path, header))
    fingerprint = {**header.fingerprint, "device": device, PROBE: f"{PROBE} {difference}"}
    other = replace(header, fingerprint=fingerprint, probe=(header.probe[0] + difference, *header.probe[1:]))
    writer = RecordWriter(path, other)
    writer.append(records)
    writer.close()
    return other


def test_shards_whose_networks_answer_otherwise_are_joined_on_request_only(
    quick_prediction: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    first, second, third = shards_of(quick_prediction, tmp_path, 3)
    with_probe(second, 2e-7)
    merged = tmp_path / "merged"
    message = f"{second}/records.jsonl: must belong to the same run as {first}/records.jsonl, but differs in {PROBE} "
    with pytest.raises(CheckpointError, match=message + r"of its networks, by up to 2e-07 .*--allow-mixed-hardware"):
        merge_records([third, second, first], merged)
    assert not (merged / "records.jsonl").exists()
    merge_records([third, second, first], merged, allow_mixed_hardware=True)
    report = records_to_submission(merged, Estimator(quick_bundle), merged)
    assert report["probe_differences"] == {"sequences": 4, "largest": pytest.approx(2e-7, rel=1e-6)}
    assert_valid(merged)
    assert (merged / "submission.csv").read_bytes() == (quick_prediction / "submission.csv").read_bytes()
    assert "probe_differences" not in json.loads((quick_prediction / "run.json").read_text())


@pytest.mark.parametrize(("difference", "is_taken"), [(0.9e-3, True), (1.1e-3, False), (-0.9e-3, True)])
def test_shards_of_a_gpu_may_differ_within_a_bound_and_it_is_reported(
    difference: float, is_taken: bool, quick_prediction: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    first, second = shards_of(quick_prediction, tmp_path, 2)
    with_probe(first, 0.0, "a GPU")
    with_probe(second, difference, "a GPU")
    merged = tmp_path / "merged"
    if not is_taken:
        with pytest.raises(CheckpointError, match=r"by up to 0.0011 \(allowed: 0.001\)"):
            merge_records([first, second], merged)
        return
    merge_records([first, second], merged)
    report = records_to_submission(merged, Estimator(quick_bundle), merged)
    assert report["probe_differences"] == {"sequences": 6, "largest": pytest.approx(abs(difference), rel=1e-6)}


def test_shards_of_different_gpus_are_refused(quick_prediction: Path, tmp_path: Path) -> None:
    first, second = shards_of(quick_prediction, tmp_path, 2)
    with_probe(first, 0.0, "a GPU")
    with_probe(second, 0.0, "another GPU")
    with pytest.raises(CheckpointError, match="differs in device"):
        merge_records([first, second], tmp_path / "merged", allow_mixed_hardware=True)


@pytest.mark.parametrize("probe", [(), (math.nan,)])
def test_answers_that_cannot_be_compared_are_never_joined(
    probe: tuple[float, ...], quick_prediction: Path, tmp_path: Path
) -> None:
    first, second = shards_of(quick_prediction, tmp_path, 2)
    header = with_probe(second, 0.0)
    broken = probe + header.probe[1:] if probe else ()
    RecordWriter(second / "records.jsonl", replace(header, probe=broken)).close()
    with pytest.raises(CheckpointError, match=f"differs in {PROBE}"):
        merge_records([first, second], tmp_path / "merged", allow_mixed_hardware=True)


@pytest.mark.skipif("avx2" not in Path("/proc/cpuinfo").read_text(encoding="utf-8").split(), reason="needs AVX2")
def test_a_shard_that_an_older_processor_made_is_not_joined_in_silence(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    first, _ = shards_of(quick_prediction, tmp_path, 2)
    options = ("--bundle", quick_bundle.folder, "--out", tmp_path / "old", "--shard", "2/2")
    done = hakuna("predict", season, *options, ONEDNN_MAX_CPU_ISA="SSE41")
    assert done.returncode == 0, done.stderr
    merge = ("merge", first, tmp_path / "old", "--bundle", quick_bundle.folder, "--out", tmp_path / "merged")
    done = hakuna_here(*merge)
    assert done.returncode == 8
    assert f"differs in {PROBE} of its networks" in " ".join(done.stderr.split())
    assert hakuna_here(*merge, "--allow-mixed-hardware").returncode == 0
    report = json.loads((tmp_path / "merged" / "run.json").read_text())
    assert report["probe_differences"]["sequences"] == 6
    assert 0 < report["probe_differences"]["largest"] < 1e-5


def test_a_shard_is_no_submission(quick_prediction: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    shard, _ = shards_of(quick_prediction, tmp_path, 2)
    with pytest.raises(CheckpointError, match="got a shard of 6; `hakuna merge` joins them"):
        records_to_submission(shard, Estimator(quick_bundle), tmp_path / "out")


def test_another_shard_does_not_go_on_in_the_same_folder(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    job = job_for(season, quick_bundle)
    run_job(replace(job, shard=Shard(1, 2)), tmp_path)
    with pytest.raises(CheckpointError, match="differs in shard"):
        run_job(replace(job, shard=Shard(2, 2)), tmp_path)


@given(st.integers(0, 10**6), st.integers(1, 1000))
def test_shards_cover_everything_once(n_sequences: int, n_shards: int) -> None:
    bounds = [Shard(number, n_shards).bounds(n_sequences) for number in range(1, n_shards + 1)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == n_sequences
    assert all(before[1] == after[0] for before, after in itertools.pairwise(bounds))
    sizes = [end - first for first, end in bounds]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "-1/2", "1/2/3", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard: must be I/N"):
        parse_shard(text)


def test_a_shard_is_counted_from_one() -> None:
    assert parse_shard("2/7") == Shard(2, 7)


def test_records_of_another_run_are_not_replaced(quick_prediction: Path, tmp_path: Path) -> None:
    folders = shards_of(quick_prediction, tmp_path, 2)
    before = (folders[0] / "records.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="must be absent or of this run, but differs in shard"):
        merge_records(folders, folders[0])
    assert (folders[0] / "records.jsonl").read_bytes() == before


def test_more_shards_than_sequences_are_merged_too(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    folders = shards_of(quick_prediction, tmp_path, 11)
    run_job(replace(job_for(season, quick_bundle), shard=Shard(1, 20)), tmp_path / "empty")
    assert Shard(1, 20).bounds(12) == (0, 0)
    merge_records([tmp_path / "empty", *folders], tmp_path / "merged")
    assert (tmp_path / "merged" / "records.jsonl").read_bytes() == (quick_prediction / "records.jsonl").read_bytes()


def test_a_signal_stops_the_joining_and_leaves_nothing(quick_prediction: Path, tmp_path: Path) -> None:
    thirds = shards_of(quick_prediction, tmp_path, 3)
    state, n_read = RunState(), 0

    def check() -> None:
        nonlocal n_read
        n_read += 1
        state.stop_signal = signal.SIGTERM if n_read > 15 else None  # of 12 to count and 12 to copy
        state.check()

    with pytest.raises(InterruptedRunError) as stopped:
        merge_records(thirds, tmp_path / "merged", check)
    assert stopped.value.exit_code == 143
    assert list((tmp_path / "merged").iterdir()) == []


def test_joined_records_have_no_report_of_others(quick_prediction: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    copy_of(quick_prediction, out)
    merge_records(shards_of(quick_prediction, tmp_path, 2), out)
    assert not (out / "run.json").exists()
