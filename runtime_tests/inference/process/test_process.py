"""One run in a folder, its heartbeat, and the signals that end it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.core.errors import InputError, InterruptedRunError, LockedError, OutputError
from inference.process.heartbeat import heartbeat
from inference.process.lock import check_unlocked, locked
from inference.process.progress import RunState
from runtime_tests.obstacles import OBSTACLES, pipe


def status(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "status.json").read_text())
    return content


def test_a_folder_has_one_run_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with locked(out) as folder:
        assert folder == out
        with pytest.raises(LockedError, match="another run") as error, locked(out):
            pass
        assert error.value.exit_code == 7
    assert list(out.iterdir()) == []
    check_unlocked(out)
    with locked(out), pytest.raises(LockedError, match="another run"):
        check_unlocked(out)


def test_a_lock_is_one_that_nfs_passes_to_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux locks folders on one machine only, and for an exclusive lock the file must be open for writing."""
    modes = []

    def look(descriptor: int, kind: int) -> None:
        access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        modes.append((kind & ~fcntl.LOCK_NB, access, stat.S_ISREG(os.fstat(descriptor).st_mode)))

    monkeypatch.setattr(fcntl, "flock", look)
    with locked(tmp_path):
        check_unlocked(tmp_path)
    assert modes == [(fcntl.LOCK_EX, os.O_RDWR, True), (fcntl.LOCK_SH, os.O_RDONLY, True)]


@pytest.mark.parametrize("make", [one for one in OBSTACLES if one is not pipe])  # a pipe can be locked
def test_something_else_in_place_of_the_lock_is_an_output_error(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / ".lock")
    with pytest.raises(OutputError), locked(tmp_path):
        pass
    check_unlocked(tmp_path)


def test_a_lock_that_another_run_removes_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That run ends between opening the file and locking it."""
    flock = fcntl.flock

    def late(descriptor: int, kind: int) -> None:
        (tmp_path / "out" / ".lock").unlink()
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(LockedError, match="another run is just leaving it"), locked(tmp_path / "out"):
        pass


def fail_in(folder: Path) -> None:
    (folder / "file").touch()
    raise InputError("refused")


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path: Path) -> None:
    for error in (InputError("refused"), OSError("no")):
        with pytest.raises(type(error)), locked(tmp_path / "new" / "out"):
            raise error
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError), locked(tmp_path / "there" / "new" / "out"):
        raise InputError("refused")
    with pytest.raises(InputError), locked(tmp_path / "there") as folder:
        raise InputError("a folder that was there stays")
    with pytest.raises(InputError), locked(tmp_path / "used") as folder:
        fail_in(folder)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "there", "used"]


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="must be writable"), locked(tmp_path / "file" / "out"):
        pass


def test_the_heartbeat_tells_how_far_the_run_is_and_how_it_ended(tmp_path: Path) -> None:
    state = RunState(n_all=10_000)
    with locked(tmp_path) as folder, heartbeat(state, folder, seconds=0.02):
        assert status(tmp_path)["stage"] == "starting"
        state.stage, state.n_done, state.n_failures, state.n_degraded = "photos to records", 4000, 2, 1
        state.phase_started = time.monotonic() - 2000.0
        for _ in range(200):
            if status(tmp_path)["done"] == 4000:
                break
            time.sleep(0.02)
        beat = status(tmp_path)
        assert (beat["total"], beat["failed_photos"], beat["degraded_sequences"]) == (10_000, 2, 1)
        assert beat["sequences_per_second"] == pytest.approx(2.0, rel=0.01)
        assert beat["eta_seconds"] == pytest.approx(3000, rel=0.01)
    assert status(tmp_path)["stage"] == "complete"
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_records_of_an_earlier_run_do_not_count_for_the_rate() -> None:
    state = RunState(n_all=100, n_kept=60, n_done=80)
    state.phase_started = time.monotonic() - 10.0
    status = state.as_status()
    assert status["kept_from_earlier_run"] == 60
    assert status["sequences_per_second"] == pytest.approx(2.0, rel=0.02)
    assert status["eta_seconds"] == pytest.approx(10, abs=1)


def test_a_thread_that_ends_the_process_writes_the_last_heartbeat(tmp_path: Path) -> None:
    state = RunState(n_all=10)
    with locked(tmp_path) as folder, heartbeat(state, folder, seconds=0.01) as last_beat:
        state.n_done = 4
        last_beat("out of time")
        written = (tmp_path / "status.json").read_bytes()
        assert (status(tmp_path)["stage"], status(tmp_path)["done"]) == ("out of time", 4)
        state.stage = "records to submission"
        time.sleep(0.05)
        assert (tmp_path / "status.json").read_bytes() == written


@pytest.mark.parametrize(
    ("error", "stage"), [(InterruptedRunError("x", 15), "interrupted"), (ValueError("a bug"), "failed")]
)
def test_the_last_heartbeat_tells_what_went_wrong(error: Exception, stage: str, tmp_path: Path) -> None:
    with pytest.raises(type(error)), locked(tmp_path) as folder, heartbeat(RunState(), folder):
        raise error
    assert status(tmp_path)["stage"] == stage


def test_a_heartbeat_that_cannot_be_written_does_not_hide_what_ended_the_run(tmp_path: Path) -> None:
    def lose_the_folder() -> None:
        with locked(tmp_path / "out") as folder, heartbeat(RunState(), folder):
            (tmp_path / "out").rename(tmp_path / "gone")
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        lose_the_folder()


def test_a_budget_counts_from_the_start_of_the_process() -> None:
    code = "import time; time.sleep(0.5); from inference.process.progress import process_start; print(time.monotonic() - process_start())"
    before = time.monotonic()
    age = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 0.5 <= age <= time.monotonic() - before + 0.05


SIGNALLED = """
import os, signal, sys, threading, time
from inference.process.progress import RunState
from inference.process.signals import graceful_shutdown

state = RunState()
try:
    with graceful_shutdown(state):
        if sys.argv[2] == "small stack":
            # What a library did to the main thread: an alternate stack that no handler fits on.
            import ctypes
            class Stack(ctypes.Structure):
                _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
            memory = ctypes.create_string_buffer(1 << 16)
            stack = Stack(ctypes.addressof(memory), 0, 2048)
            print("sigaltstack", ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None), flush=True)
        state.check()
        os.kill(os.getpid(), int(sys.argv[1]))
        for _ in range(100):
            time.sleep(0.05)
            state.check()
finally:
    print("threads", [one.name for one in threading.enumerate()], "mask", signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


@pytest.mark.parametrize("stack", ["own stack", "small stack"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_run_at_its_next_check(number: signal.Signals, stack: str) -> None:
    command = [sys.executable, "-c", SIGNALLED, str(int(number)), stack]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1, done
    by = "Ctrl-C" if number is signal.SIGINT else "SIGTERM"
    assert f"InterruptedRunError: stopped by {by}: progress is saved" in done.stderr
    assert "threads ['MainThread'] mask set()" in done.stdout


def test_an_interrupted_run_exits_as_a_program_that_the_signal_ended() -> None:
    assert InterruptedRunError("stopped", signal.SIGTERM).exit_code == 143


LAST_RESORT = """
import sys, time
from inference.core.errors import OutputError
from inference.process.progress import RunState
from inference.process.watchdog import log_with_timeout, watchdog

def act():
    if sys.argv[1] == "mute":
        log_with_timeout(lambda: time.sleep(30))
    if sys.argv[1] in ("0", "7"):
        return int(sys.argv[1]), {}
    if sys.argv[1] == "mute":
        return 7, {}
    raise OutputError("no room") if sys.argv[1] == "output" else ValueError("a bug")

state = RunState()
if sys.argv[1] == "finishing":
    state.submission_lock.acquire()
with watchdog(state, float(sys.argv[2]), act, lambda stage: print("last stage:", stage, flush=True)):
    time.sleep(float(sys.argv[3]))
print("came to its end")
"""


@pytest.mark.parametrize(
    ("action", "at", "works", "code", "said"),
    [
        ("7", 0.2, 30, 7, "last stage: failed"),
        ("0", 0.2, 30, 0, "last stage: out of time"),
        ("7", -1, 30, 7, ""),  # the moment has passed already
        ("7", 30, 0.1, 0, "came to its end"),
        ("output", 0.2, 30, 5, "no room"),
        ("output", 0.2, 30, 5, "last stage: failed"),
        ("bug", 0.2, 30, 1, "ValueError: a bug"),
        ("mute", 0.2, 30, 7, ""),  # nobody takes what it says
        ("finishing", 0.1, 0.5, 0, "came to its end"),  # the run is giving its submission the name
    ],
)
def test_the_last_resort_ends_the_process_unless_the_run_was_faster(
    action: str, at: float, works: float, code: int, said: str
) -> None:
    command = [sys.executable, "-c", LAST_RESORT, action, str(at), str(works)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(OutputError, match="must be on a file system with locks, got: No locks"), locked(tmp_path):
        pass


def test_a_limit_may_be_raised_again_for_the_next_file() -> None:
    code = (
        "import resource; from inference.process.children import limit\n"
        "for seconds in (5, 900): limit(resource.RLIMIT_CPU, seconds)\n"
        "print(resource.getrlimit(resource.RLIMIT_CPU)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "900\n"
