"""What the driver of a run asks an executor for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from inference import api
from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.dataset.metadata import OddDatetimes
from inference.execution.executor import Block
from inference.execution.job import RunOptions, Shard
from inference.records.jsonl import read_header, read_records
from runtime_tests.running import job_for, run_job
from runtime_tests.scripted_executor import FACTS, ScriptedExecutor

FULL = (Effort.FULL, Precision.FLOAT32)


@pytest.mark.parametrize("batch_size", [1, 5, 12, 100])
def test_blocks_are_cut_at_multiples_of_the_batch_size(
    batch_size: int, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    executor = ScriptedExecutor()
    run_job(job_for(season, quick_bundle), tmp_path, RunOptions(batch_size=batch_size), executor_for=executor)
    starts = range(0, 12, batch_size)
    assert executor.requests == [(first, min(batch_size, 12 - first), *FULL) for first in starts]
    assert executor.is_closed


def test_photos_without_their_end_are_counted_and_named(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    photos = sorted(path.relative_to(season).as_posix() for path in season.glob("S1/*/*/*.JPG"))
    assert (season / photos[3]).stat().st_size == 9000, "cut by the fixture, which has no first photo any more"
    for again in (False, True):  # from the photos, and from the records
        with capture_logs() as logs:
            if again:
                api.restack(quick_prediction, quick_bundle.folder, tmp_path / "again")
            else:
                run_job(job_for(season, quick_bundle), tmp_path / "out", RunOptions())
        [warning] = [one for one in logs if "without their end" in one["event"]]
        assert (warning["log_level"], warning["count"], warning["files"]) == ("warning", 1, photos[3])
    for out in (quick_prediction, tmp_path / "out", tmp_path / "again"):
        assert json.loads((out / "run.json").read_text())["counts"]["photos_cut_short"] == 1
    header = read_header(tmp_path / "out" / "records.jsonl")
    records = read_records(tmp_path / "out" / "records.jsonl", header)
    assert [name for record in records for name in record.cut_short] == [photos[3]]


def test_a_run_that_is_resumed_asks_for_the_same_blocks(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    job, options = job_for(season, quick_bundle), RunOptions(batch_size=5)
    run_job(job, tmp_path, options, executor_for=ScriptedExecutor())
    submission, path = (tmp_path / "submission.csv").read_bytes(), tmp_path / "records.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: 1 + 7]))  # the header and seven records
    executor = ScriptedExecutor()
    run_job(job, tmp_path, options, executor_for=executor)
    assert executor.requests == [(5, 5, *FULL), (10, 2, *FULL)]
    assert (tmp_path / "submission.csv").read_bytes() == submission


def test_what_was_made_of_odd_datetimes_is_told_with_its_count(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    job = job_for(season, quick_bundle)
    odd = replace(
        job.plan,
        n_not_in_format=17,
        unreadable=OddDatetimes(2, "row 2: 'noon'"),
        without_time=OddDatetimes(3, "row 5: '2010-08-19'"),
    )
    with capture_logs() as logs:
        report = run_job(replace(job, plan=odd), tmp_path, RunOptions(), executor_for=ScriptedExecutor())
    told = {entry["event"]: (entry["count"], entry["first"]) for entry in logs if "first" in entry}
    assert told == {
        "metadata: datetimes that are not YYYY-MM-DD HH:MM:SS, treated as unknown; make the table again with hakuna metadata, "
        "or give the column this format in the spreadsheet": (2, "row 2: 'noon'"),
        "metadata: dates without a time, taken as midnight": (3, "row 5: '2010-08-19'"),
    }
    not_predicted = "sequences of the metadata that are not in the submission format: not predicted"
    assert [entry["count"] for entry in logs if entry["event"] == not_predicted] == [17]
    assert (report["counts"]["unreadable_datetimes"], report["counts"]["datetimes_without_time"]) == (2, 3)


def test_each_block_gets_the_effort_that_the_time_leaves(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    executor = ScriptedExecutor(seconds=1000.0)  # after the first one an hour is not enough for full effort
    options = RunOptions(batch_size=4, budget=3600.0)
    run_job(job_for(season, quick_bundle), tmp_path, options, executor_for=executor)
    assert executor.requests[0] == (0, 1, *FULL)  # a single one, before anything was measured
    assert executor.requests[1][:3] == (
        1,
        3,
        Effort.ONE_SIZE,
    )  # 1,000 s each at full effort are too much for 11 more


def test_networks_that_share_no_cores_with_the_photos_begin_with_a_whole_block(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    executor = ScriptedExecutor(facts=replace(FACTS, device="GPU"))
    options = RunOptions(batch_size=4, budget=3600.0)
    run_job(job_for(season, quick_bundle), tmp_path, options, executor_for=executor)
    assert executor.requests == [(first, 4, *FULL) for first in (0, 4, 8)]


class ColdAtFirst(ScriptedExecutor):
    """Its first block takes a hundred times longer, as networks do that meet new shapes."""

    def next_records(self, first: int, n_sequences: int, effort: Effort, precision: Precision) -> Block:
        block = super().next_records(first, n_sequences, effort, precision)
        is_warm = first > 0
        seconds = block.timing.network_seconds * (1 if is_warm else 100)
        return replace(block, is_warm=is_warm, timing=replace(block.timing, network_seconds=seconds))


def test_what_the_first_block_takes_decides_nothing(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    executor = ColdAtFirst(seconds=100.0)  # 11 more of them fit into an hour, but none that takes 10,000 s
    options = RunOptions(batch_size=4, budget=3600.0)
    run_job(job_for(season, quick_bundle), tmp_path, options, executor_for=executor)
    assert executor.requests == [(0, 1, *FULL), (1, 1, *FULL), (2, 2, *FULL), (4, 4, *FULL), (8, 4, *FULL)]


def test_a_shard_counts_what_got_less_than_full_effort_also_when_it_goes_on(
    season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    job, options = replace(job_for(season, quick_bundle), shard=Shard(1, 2)), RunOptions(batch_size=4, budget=3600.0)
    executor = ScriptedExecutor(seconds=1000.0)  # after the first one an hour is not enough for full effort
    for again in (executor, ScriptedExecutor()):
        report = run_job(job, tmp_path, options, executor_for=again)
        n_degraded = sum(n for _, n, effort, _ in executor.requests if effort is not Effort.FULL)
        assert n_degraded > 0
        assert report["degraded"] is True
        assert json.loads((tmp_path / "status.json").read_text())["degraded_sequences"] == n_degraded
    assert run_job(job, tmp_path / "in time", options, executor_for=ScriptedExecutor())["degraded"] is False
