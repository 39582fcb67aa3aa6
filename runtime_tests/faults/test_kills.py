"""Killed anywhere, the same command ends in the same bytes, and nobody ever sees half a submission."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from runtime_tests.faults.commands import (
    OLD,
    Season,
    Watcher,
    leave_older_submission,
    predict,
    results,
    sha256,
    start,
    watched,
)
from runtime_tests.faults.conftest import Figures
from runtime_tests.faults.faulty import KILL_HOOKS

MAX_COUNT = {"load": 5, "batch": 30, "record": 4, "stack": 1, "rename": 6}
"""How often a run gets to each hook at least: 5 networks, a header and 6 batches of records, 1 chunk of stacking."""
MOST_ATTEMPTS = 400
"""For a hundred kills; runs that come to their end first are not counted."""


def kill_and_resume(
    season: Season, out: Path, fault: str, undisturbed: dict[str, bytes], kill_after: float | None = None
) -> bool:
    """One kill and one resume in a folder that holds an older submission; whether the kill came before the end."""
    out.mkdir()
    leave_older_submission(out)
    with watched(out / "submission.csv") as watcher:
        process = start(season, out, fault=fault)
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        process.communicate(timeout=300)
        assert process.returncode in (-signal.SIGKILL, 0), fault
        code, said = predict(season, out)
    assert code == 0, said
    assert results(out) == undisturbed, fault
    assert watcher.seen <= {sha256(OLD), sha256(undisturbed["submission.csv"])}, fault
    assert watcher.n_looks > 10
    return process.returncode != 0


@pytest.mark.parametrize("hook", KILL_HOOKS)
def test_killed_anywhere_the_same_command_ends_in_the_same_bytes(
    hook: str, quick: Season, undisturbed: dict[str, bytes], seed: int, tmp_path: Path
) -> None:
    count = 1 + random.Random(seed + len(hook)).randrange(MAX_COUNT[hook])  # noqa: S311
    assert kill_and_resume(quick, tmp_path / "out", f"kill-{hook}:{count}", undisturbed)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_killed_at_any_time_the_same_command_ends_in_the_same_bytes(
    share: float, quick: Season, undisturbed: dict[str, bytes], quick_seconds: float, tmp_path: Path
) -> None:
    """A run that is faster than the undisturbed one was ends before it is killed, so it is killed sooner the next time."""
    for attempt in range(4):
        if kill_and_resume(quick, tmp_path / f"out{attempt}", "none", undisturbed, share * quick_seconds / 2**attempt):
            return
    pytest.fail("no run was killed before its end")


@pytest.mark.faults
def test_a_hundred_kills(
    quick: Season, undisturbed: dict[str, bytes], quick_seconds: float, seed: int, tmp_path: Path, figures: Figures
) -> None:
    generator = random.Random(seed)  # noqa: S311
    kills = dict.fromkeys((*KILL_HOOKS, "random time"), 0)
    n_resumes = 0
    while sum(kills.values()) < 100 or min(kills.values()) < 10:
        hook = min(kills, key=lambda name: kills[name])
        out = tmp_path / f"out{n_resumes}"
        if hook == "random time":
            killed = kill_and_resume(quick, out, "none", undisturbed, generator.uniform(0.1, quick_seconds))
        else:
            count = 1 + generator.randrange(MAX_COUNT[hook])
            killed = kill_and_resume(quick, out, f"kill-{hook}:{count}", undisturbed)
        kills[hook] += killed
        n_resumes += 1
        assert n_resumes < MOST_ATTEMPTS, f"runs must be killed before their end, got {kills}"
    figures["kill + resume"] = {
        "seed": seed,
        "kills": kills,
        "resumes": n_resumes,
        "identical_bytes": n_resumes,
        "seen_under_the_final_name": "only the old and the new submission",
    }


def test_a_difference_would_be_seen(quick: Season, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    other = {**undisturbed, "submission.csv": undisturbed["submission.csv"][:-2] + b"\n"}
    with pytest.raises(AssertionError):
        kill_and_resume(quick, tmp_path / "out", "kill-batch:3", other)


def test_a_torn_file_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    watcher = Watcher(path)
    watcher.look()
    path.write_bytes(b"half")
    watcher.look()
    assert watcher.seen == {None, sha256(b"half")}
