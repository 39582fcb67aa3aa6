"""Signals, other runs in the same folder, and nothing left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from inference.process.signals import WAKE_UP
from runtime_tests.faults.commands import Season, children_of, predict, results, start
from runtime_tests.faults.conftest import Figures
from runtime_tests.running import HAKUNA, environment
from runtime_tests.tables import rows_of

SECONDS_TO_STOP = 8.0


def wait_for_status(out: Path) -> None:
    """Until the run has begun to work."""
    for _ in range(6000):
        if (out / "status.json").exists():
            return
        time.sleep(0.01)
    pytest.fail("no heartbeat within a minute")


def wait_for_records(out: Path, process: subprocess.Popen[str]) -> None:
    """Until the first batch is done."""
    path = out / "records.jsonl"
    for _ in range(6000):
        if path.exists() and path.read_bytes().count(b"\n") > 1:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    pytest.fail("no record within a minute")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_in_time_and_it_goes_on_where_it_was(
    number: signal.Signals, code: int, quick: Season, undisturbed: dict[str, bytes], tmp_path: Path, figures: Figures
) -> None:
    process = start(quick, tmp_path, fault="slow:0.1")
    wait_for_records(tmp_path, process)
    children = children_of(process.pid)
    start_time = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    seconds = time.monotonic() - start_time
    assert process.returncode == code, said
    assert seconds < SECONDS_TO_STOP
    assert "progress is saved" in said
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert json.loads((tmp_path / "status.json").read_text())["stage"] == "interrupted"
    n_kept = (tmp_path / "records.jsonl").read_bytes().count(b"\n") - 1
    assert 0 < n_kept < 12
    assert predict(quick, tmp_path)[0] == 0
    assert results(tmp_path) == undisturbed
    assert json.loads((tmp_path / "run.json").read_text())["sequences_kept_from_earlier_run"] == n_kept
    figures[f"{number.name}"] = {"exit_code": code, "seconds": round(seconds, 2), "orphans": 0}


def test_a_call_that_takes_too_long_is_cut_off(quick: Season, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    process = start(quick, tmp_path, fault="slow:30")
    wait_for_status(tmp_path)
    time.sleep(3)  # the first call sleeps now, on a busy machine too
    start_time = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert 5 < time.monotonic() - start_time < SECONDS_TO_STOP
    assert predict(quick, tmp_path)[0] == 0
    assert results(tmp_path) == undisturbed


@pytest.mark.timing
def test_a_second_signal_ends_the_run_at_once(quick: Season, tmp_path: Path) -> None:
    process = start(quick, tmp_path, fault="slow:30")
    wait_for_status(tmp_path)
    time.sleep(1)  # the first call sleeps now: the run cannot end by itself
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    start_time = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - start_time < 1.5


@pytest.mark.parametrize("n_runs", [2, 3, 8])
def test_of_many_runs_in_one_folder_one_wins_and_the_others_leave(
    n_runs: int, quick: Season, undisturbed: dict[str, bytes], tmp_path: Path, figures: Figures
) -> None:
    winner = start(quick, tmp_path, fault=f"slow:{0.05 + 0.03 * n_runs}")
    wait_for_status(tmp_path)
    begun = time.monotonic()
    others = [start(quick, tmp_path) for _ in range(n_runs - 1)]
    codes = []
    for other in others:
        _, said = other.communicate(timeout=60)
        codes.append(other.returncode)
        assert "another run writes to it" in said
    seconds = time.monotonic() - begun
    assert winner.poll() is None
    winner.communicate(timeout=120)
    assert [winner.returncode, *codes] == [0, *[7] * (n_runs - 1)]
    assert results(tmp_path) == undisturbed
    figures[f"concurrency, {n_runs} runs"] = {"winners": 1, "exit_7": len(codes), "seconds_of_all": round(seconds, 2)}


def test_a_run_that_is_process_1_obeys_a_signal(quick: Season, tmp_path: Path, figures: Figures) -> None:
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "runtime_tests.faults.faulty"]
    command += ["slow:0.1", "predict", str(quick.data), "--bundle", str(quick.bundle), "--out", str(tmp_path)]
    if subprocess.run(["unshare", "--pid", "--fork", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to make a process namespace (root)")
    process = subprocess.Popen([*command, "--batch-size", "2"], stderr=subprocess.PIPE, text=True)
    wait_for_records(tmp_path, process)
    [run] = children_of(process.pid)
    begun = time.monotonic()
    os.kill(run, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert time.monotonic() - begun < SECONDS_TO_STOP
    figures["SIGTERM as process 1"] = {"exit_code": 143, "seconds": round(time.monotonic() - begun, 2)}


def wait_until_signals_wait(pid: int, process: subprocess.Popen[str]) -> None:
    """Until the first lines of the program have blocked its signals; SIGTERM alone is also blocked in a new child of `unshare`."""
    mask = 0
    while not mask >> (WAKE_UP - 1) & 1:
        assert process.poll() is None, process.communicate()[1]
        mask = int(Path(f"/proc/{pid}/status").read_text().split("SigBlk:")[1].split()[0], 16)


def stopped_early(command: list[str], number: signal.Signals, seconds: float, *, as_process_1: bool) -> tuple[int, str]:
    """Exit code and last words of a command that gets a signal so many seconds after its first lines."""
    prefix = ["unshare", "--pid", "--fork", "--kill-child"] if as_process_1 else []
    process = subprocess.Popen(
        [*prefix, sys.executable, *command], stderr=subprocess.PIPE, text=True, env=environment()
    )
    pid = process.pid
    while as_process_1 and pid == process.pid:
        pid = next(iter(children_of(process.pid)), pid)
    wait_until_signals_wait(pid, process)
    time.sleep(seconds)
    with suppress(ProcessLookupError):  # it was complete before
        os.kill(pid, number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize("n_moments", [3, pytest.param(60, marks=pytest.mark.faults)])
def test_a_signal_while_a_command_begins_is_not_lost(
    n_moments: int, quick: Season, quick_seconds: float, seed: int, tmp_path: Path, figures: Figures
) -> None:
    can_be_process_1 = not subprocess.run(["unshare", "--pid", "true"], check=False, capture_output=True).returncode
    generator = random.Random(seed)  # noqa: S311
    predict_words = ["predict", str(quick.data), "--bundle", str(quick.bundle), "--out"]
    synth_words = ["synth", "--sequences", "5000", "--workers", "2"]
    launcher = str(HAKUNA.parent / "container" / "hakuna")
    commands = [[str(HAKUNA), *predict_words], [launcher, *predict_words], [str(HAKUNA), *synth_words]]
    endings: Counter[str] = Counter()
    for moment in range(n_moments):
        number = generator.choice((signal.SIGTERM, signal.SIGINT))
        seconds = generator.uniform(0, quick_seconds) if moment >= len(commands) else 0.0
        command = [*commands[moment % len(commands)], str(tmp_path / str(moment))]
        as_process_1 = can_be_process_1 and moment // len(commands) % 2 == 0
        code, said = stopped_early(command, number, seconds, as_process_1=as_process_1)
        assert code == 128 + number or (code == 0 and seconds), (command, seconds, as_process_1, code, said)
        assert "Traceback" not in said or "spawn_main" in said  # a process that was being started misses its parent
        endings[str(code)] += 1
    figures["signals while a command begins"] = {
        "seed": seed,
        "signals": n_moments,
        "as_process_1": can_be_process_1,
        "exit_codes": dict(sorted(endings.items())),
    }


def test_reads_that_never_come_back_do_not_hang_the_run(quick: Season, tmp_path: Path, figures: Figures) -> None:
    begun = time.monotonic()
    code, said = predict(quick, tmp_path, "--read-timeout", "0.5s", fault="hang:10")
    seconds = time.monotonic() - begun
    assert code == 0, said
    reasons = [row["reason"] for row in rows_of(tmp_path / "failures.csv")]
    n_timed_out = reasons.count("reading took too long")
    assert n_timed_out == 3  # of 31 photos, one of which is missing and never read
    assert len((tmp_path / "submission.csv").read_text().splitlines()) == 1 + 12
    figures["hanging reads"] = {"hanging": n_timed_out, "read_timeout_seconds": 0.5, "run_seconds": round(seconds, 1)}
