"""With a budget, a complete submission exists before it ends, whatever the networks are doing."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest

from inference.core.labels import CLASS_PRIORS, LABELS
from inference.outputs.verify import verify_run
from inference.records.jsonl import read_header, read_records
from runtime_tests.faults.commands import Season, predict, results
from runtime_tests.faults.conftest import Figures
from runtime_tests.schemas import assert_valid

pytestmark = pytest.mark.timing
N_SEQUENCES = 12


def rows(out: Path) -> dict[str, np.ndarray]:
    """The submission, checked as the competition would."""
    with (out / "submission.csv").open(newline="") as file:
        header, *body = list(csv.reader(file))
    assert header == ["seq_id", *LABELS]
    values = {row[0]: np.array(row[1:], np.float32) for row in body}
    assert len(values) == N_SEQUENCES
    assert all(np.isfinite(row).all() and (row >= 0).all() and (row <= 1).all() for row in values.values())
    return values


def is_prior(row: np.ndarray) -> bool:
    return bool((row == np.array(list(CLASS_PRIORS.values()), np.float32)).all())


def test_a_generous_budget_changes_nothing(quick: Season, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    code, said = predict(quick, tmp_path, "--budget", "1h", "--fail-if-degraded")
    assert code == 0, said
    assert results(tmp_path) == undisturbed
    assert not (tmp_path / "submission.partial.csv").exists()
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["status"] == "complete"
    assert report["degraded"] is False


def test_half_the_time_that_is_needed_degrades_but_is_complete_in_time(
    quick: Season, tmp_path: Path, figures: Figures
) -> None:
    # Some 28 calls of networks for each of 6 batches at full effort, 0.25 s each, and the start: 44 s or more.
    budget = 24
    start = time.monotonic()
    code, said = predict(quick, tmp_path, "--budget", f"{budget}s", "--fail-if-degraded", fault="slow:0.25")
    seconds = time.monotonic() - start
    assert code == 6, said
    assert seconds < budget
    submission = rows(tmp_path)
    header = read_header(tmp_path / "records.jsonl")
    records = list(read_records(tmp_path / "records.jsonl", header))
    finished = [record for record in records if record.n_frames]
    n_real = sum(not is_prior(submission[record.seq_id]) for record in finished)
    assert len(finished) >= N_SEQUENCES // 2
    assert n_real >= 0.95 * len(finished)
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["degraded"] is True
    figures["deadline, half the time"] = {
        "budget_seconds": budget,
        "seconds": round(seconds, 1),
        "sequences": len(submission),
        "finished": len(finished),
        "finished_and_real": n_real,
        "by_effort": report["counts"].get("sequences_by_effort"),
    }


def test_hardly_any_time_means_priors_and_ends_with_6(quick: Season, tmp_path: Path, figures: Figures) -> None:
    start = time.monotonic()
    code, said = predict(quick, tmp_path, "--budget", "10s", fault="slow:60")
    seconds = time.monotonic() - start
    assert code == 6, said
    assert seconds < 10
    assert all(is_prior(row) for row in rows(tmp_path).values())
    *_, message, event = said.splitlines()
    assert "12 have only the usual share of each class (priors)" in message
    assert json.loads(event)["exit_code"] == 6
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["status"] == "out of time"
    assert report["degraded"] is True
    assert report["counts"]["sequences_with_priors"] == N_SEQUENCES
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["stage"], status["total"]) == ("failed", N_SEQUENCES)
    assert_valid(tmp_path)
    assert verify_run(tmp_path)["status"] == "out of time"
    assert not (tmp_path / "submission.partial.csv").exists()
    figures["deadline, 10 s"] = {"budget_seconds": 10, "seconds": round(seconds, 1), "with_priors": N_SEQUENCES}


def test_a_run_that_ran_out_of_time_goes_on_when_there_is_more(
    quick: Season, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    code, _ = predict(quick, tmp_path, "--budget", "10s", "--fail-if-degraded", fault="slow:60")
    assert code == 6
    code, said = predict(quick, tmp_path)
    assert code == 0, said
    assert results(tmp_path) == undisturbed


@pytest.mark.faults
def test_the_provisional_submission_is_complete_from_the_first_minute(
    quick: Season, tmp_path: Path, figures: Figures
) -> None:
    from runtime_tests.faults.commands import start

    process = start(quick, tmp_path, "--budget", "1h", fault="slow:10")
    begun = time.monotonic()
    path = tmp_path / "submission.partial.csv"
    while not path.exists() and time.monotonic() - begun < 60:
        time.sleep(0.1)
    seconds = time.monotonic() - begun
    process.kill()
    process.communicate()
    assert seconds < 60
    path.rename(tmp_path / "submission.csv")
    assert len(rows(tmp_path)) == N_SEQUENCES
    figures["provisional submission"] = {"seconds_until_complete": round(seconds, 1)}
