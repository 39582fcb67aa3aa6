"""An output folder in which something else has the name of a file, or that goes away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.rehearsal.health import why_unhealthy
from inference.bundle.reader import Bundle
from inference.core.errors import CheckpointError, InputError, OutputError, UsageError
from inference.ensemble.estimator import Estimator
from inference.execution.job import RunOptions
from inference.outputs.finished_run import read_finished_run
from inference.process.progress import RunState
from inference.run.merge import merge_records
from inference.run.plan import plan
from inference.run.records_to_submission import records_to_submission
from runtime_tests.obstacles import OBSTACLES, dead_socket, folder, pipe
from runtime_tests.running import copy_of, job_for, run_job
from runtime_tests.scripted_executor import ScriptedExecutor

pytestmark = pytest.mark.usefixtures("nothing_waits")

NAMES = ["records.jsonl", "submission.csv", "submission.partial.csv", "failures.csv", "run.json", "status.json"]
REGULAR = "must be a regular file or absent, got a (folder|pipe, socket or device); remove it"


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_file_is_refused_before_the_work(
    name: str, obstacle: Callable[[Path], None], season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    job, executor = job_for(season, quick_bundle), ScriptedExecutor()
    obstacle(tmp_path / name)
    for fresh in (False, True):
        with pytest.raises(OutputError, match=f"{name}: {REGULAR}") as error:
            run_job(job, tmp_path, RunOptions(fresh=fresh), executor_for=executor)
        assert error.value.exit_code == 5
    with pytest.raises(OutputError, match=REGULAR):
        plan(job, tmp_path, RunOptions(), RunState(), executor)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize("name", ["submission.csv", "failures.csv", "run.json"])
def test_a_run_in_which_something_is_no_file_is_not_read(
    name: str, obstacle: Callable[[Path], None], quick_prediction: Path, tmp_path: Path
) -> None:
    copy_of(quick_prediction, tmp_path)
    (tmp_path / name).unlink()
    obstacle(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: {REGULAR}"):
        read_finished_run(tmp_path)


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_records_that_are_no_file_are_not_read(
    obstacle: Callable[[Path], None], quick_bundle: Bundle, tmp_path: Path
) -> None:
    obstacle(tmp_path / "records.jsonl")
    for read in (
        lambda: records_to_submission(tmp_path, Estimator(quick_bundle), tmp_path / "out"),
        lambda: merge_records([tmp_path], tmp_path / "out"),
    ):
        with pytest.raises(CheckpointError, match="must be readable records, got: (not a regular|No such device)"):
            read()


@pytest.mark.parametrize("name", ["submission.csv", "failures.csv", "run.json"])
def test_another_submission_of_the_same_records_does_not_go_where_something_is_no_file(
    name: str, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    folder(tmp_path / name)
    with pytest.raises(OutputError, match=REGULAR):
        records_to_submission(quick_prediction, Estimator(quick_bundle), tmp_path)


@pytest.mark.parametrize("obstacle", [pipe, dead_socket])
def test_a_heartbeat_that_is_no_file_is_no_sign_of_life(obstacle: Callable[[Path], None], tmp_path: Path) -> None:
    obstacle(tmp_path / "status.json")
    assert "must be a readable heartbeat" in (why_unhealthy(tmp_path) or "")


@pytest.mark.parametrize("n_done", [0, 4, 12])
@pytest.mark.parametrize("lose", [shutil.rmtree, lambda out: out.rename(out.with_name("elsewhere"))])
def test_a_folder_that_goes_away_in_mid_run_ends_it_with_5(
    lose: Callable[[Path], object], n_done: int, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    executor, out = ScriptedExecutor(), tmp_path / "out"

    def on_progress(done: int, _: int) -> None:
        if done == n_done:
            lose(out)

    with pytest.raises(OutputError, match="out: must stay until the run ends, but was moved or deleted") as error:
        run_job(job_for(season, quick_bundle), out, RunOptions(batch_size=2), on_progress, executor)
    assert error.value.exit_code == 5
    assert len(executor.requests) == min(6, n_done // 2 + 1), "it is noticed with the next records"


def test_records_that_are_replaced_in_mid_run_end_it_with_5(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    def on_progress(done: int, _: int) -> None:
        if done == 4:
            (tmp_path / "other").write_bytes(b"something else")
            os.replace(tmp_path / "other", tmp_path / "records.jsonl")

    with pytest.raises(OutputError, match="must be left alone while a run writes it, but was replaced"):
        run_job(job_for(season, quick_bundle), tmp_path, RunOptions(batch_size=2), on_progress, ScriptedExecutor())


@pytest.mark.parametrize("name", ["submission.csv", "failures.csv"])
def test_a_file_that_the_report_does_not_describe_is_not_believed(
    name: str, quick_prediction: Path, tmp_path: Path
) -> None:
    """As a second phase leaves it that was killed between two files, or is at work at this moment."""
    copy_of(quick_prediction, tmp_path)
    lines = (tmp_path / name).read_text().splitlines(keepends=True)
    (tmp_path / name).write_text("".join([lines[0], *reversed(lines[1:])]))
    with pytest.raises(InputError, match=f"{name}: must be the file that run.json describes, got another"):
        read_finished_run(tmp_path)


def test_a_submission_of_others_is_not_replaced(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    (tmp_path / "submission.csv").write_text("mine")
    message = "must be new, empty or an earlier run, got a folder with submission.csv"
    with pytest.raises(UsageError, match=message):
        run_job(job_for(season, quick_bundle), tmp_path)
    with pytest.raises(UsageError, match=message):
        records_to_submission(quick_prediction, Estimator(quick_bundle), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["submission.csv"]
    assert (tmp_path / "submission.csv").read_text() == "mine"
