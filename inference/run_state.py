"""What a run is to its surroundings: one at a time in its folder, a heartbeat, and an end when a signal asks for it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from inference.domain import SIGNAL_EXIT_BASE, HakunaError, InterruptedRunError, LockedError, OutputError
from inference.files import atomic_writer, output_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = structlog.get_logger()

STATUS_NAME = "status.json"
FORMAT_VERSION = 1
HEARTBEAT_SECONDS = 10.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)
WAKE_UP = signal.SIGUSR2
"""Tells the thread that waits for signals that the run is over."""
FLUSH_SECONDS = 0.1
START_TIME_FIELD = 19
"""Of /proc/PID/stat, behind the name of the program (proc(5): field 22 of all)."""
GRACE_SECONDS = 6.0
"""After a signal the run stops before the next call of a network; a call that takes longer than this is cut off. Records
are with the operating system already. Together less than the 8 s promised, and the 10 s that Docker waits."""


def process_start() -> float:
    """When this process began, on the monotonic clock: a time budget counts from there, imports included."""
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        ticks = int(file.read().rpartition(")")[2].split()[START_TIME_FIELD])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age


@dataclass
class RunState:
    """How far a run is. The run writes it, the heartbeat reads it."""

    stage: str = "starting"
    n_done: int = 0
    n_all: int = 0
    n_kept: int = 0
    n_failures: int = 0
    n_degraded: int = 0
    stop_signal: int | None = None
    started: float = field(default_factory=time.monotonic)
    phase_started: float | None = None
    end: threading.Lock = field(default_factory=threading.Lock)
    """Whoever has it gives the submission its final name: the run when it is done, or the last resort. It is kept."""

    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self.started

    def check(self) -> None:
        """Raise InterruptedRunError if a signal asked the run to stop."""
        if self.stop_signal is not None:
            name = signal.Signals(self.stop_signal).name
            raise InterruptedRunError(f"{name}: stopped, progress is saved; run again to go on", self.stop_signal)

    def as_status(self) -> dict[str, Any]:
        """The content of `status.json`: rates in sequences per second, times in seconds."""
        n_new = self.n_done - self.n_kept
        elapsed = time.monotonic() - self.phase_started if self.phase_started is not None else 0.0
        rate = n_new / elapsed if elapsed > 0 else 0.0
        return {
            "format_version": FORMAT_VERSION,
            "stage": self.stage,
            "done": self.n_done,
            "total": self.n_all,
            "kept_from_earlier_run": self.n_kept,
            "sequences_per_second": round(rate, 3),
            "eta_seconds": round((self.n_all - self.n_done) / rate) if rate else None,
            "elapsed_seconds": round(self.seconds(), 1),
            "failed_photos": self.n_failures,
            "degraded_sequences": self.n_degraded,
        }


@dataclass(frozen=True)
class OutputFolder:
    """A folder that this run, and no other, writes to. Made by `locked`."""

    path: Path


@contextmanager
def locked(path: Path) -> Iterator[OutputFolder]:
    """Make the folder if need be and keep every other run out of it.

    The lock is on the folder itself: it leaves no file behind and ends with the process, however that ends.

    Raises
    ------
    LockedError
        Another run has it.
    OutputError
        It cannot be made.
    """
    with output_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"{path}: must not be in use, but another run writes to it") from error
        except OSError as error:
            raise OutputError(f"{path}: must be on a file system with locks, got: {error.strerror or error}") from error
        yield OutputFolder(path)
    finally:
        os.close(descriptor)


@contextmanager
def heartbeat(state: RunState, folder: OutputFolder, seconds: float = HEARTBEAT_SECONDS) -> Iterator[None]:
    """Keep `status.json` no older than a few seconds, whatever the run is doing; the last one tells how it ended."""
    stopped = threading.Event()
    path = folder.path / STATUS_NAME

    def beat() -> None:
        while not stopped.wait(seconds):
            try:
                write_status(state, path)
            except OutputError as error:  # the run itself will meet it where it matters
                log.warning("heartbeat", error=str(error))

    write_status(state, path)
    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
        state.stage = "complete"
    except InterruptedRunError:
        state.stage = "interrupted"
        raise
    except BaseException:
        state.stage = "failed"
        raise
    finally:
        stopped.set()
        thread.join()
        _write_last(state, path)


def _write_last(state: RunState, path: Path) -> None:
    try:
        write_status(state, path)
    except OutputError as error:  # must not hide what ended the run
        log.warning("heartbeat", error=str(error))


def write_status(state: RunState, path: Path) -> None:
    """Write `status.json` now."""
    with atomic_writer(path) as file:
        json.dump(state.as_status(), file)
        file.write("\n")


@contextmanager
def stopping_on_signals(state: RunState) -> Iterator[None]:
    """SIGTERM and SIGINT ask the run to stop: at the next call of a network, or for good after 6 s or a second signal.

    The signals are blocked, here and in all threads to come, and a thread waits for them: Python's own handlers only run
    between two steps of the main thread, which may sit in a network for seconds, and on the alternate stack that
    TensorFlow or DALI gives that thread they do not even fit (a signal then ends the process with SIGSEGV). So this must
    be entered in the main thread, before libraries make threads of their own.
    """
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {*SIGNALS, WAKE_UP})
    thread = threading.Thread(target=_wait_for_signals, args=(state,), name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        if thread.ident is not None and thread.is_alive():
            signal.pthread_kill(thread.ident, WAKE_UP)
        thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _wait_for_signals(state: RunState) -> None:
    """Until the run has ended by itself, or does not after a signal."""
    waited_for = {*SIGNALS, WAKE_UP}
    first = signal.sigwait(waited_for)
    if first == WAKE_UP:
        return
    state.stop_signal = int(first)
    second = signal.sigtimedwait(waited_for, GRACE_SECONDS)
    if second is None or second.si_signo != WAKE_UP:
        os._exit(SIGNAL_EXIT_BASE + (second.si_signo if second else int(first)))


def say_and_go_on(say: Callable[[], None]) -> None:
    """Say something, but not for longer than a moment: nobody may read it, and a full pipe never takes it."""
    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    thread.join(FLUSH_SECONDS)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


@contextmanager
def last_resort(state: RunState, at_seconds: float, action: Callable[[], int]) -> Iterator[None]:
    """Unless the block ends before, act at `at_seconds` after the run began and end the process.

    It does not matter what the run is doing then, nor whether it will ever come back from it. `action` returns the exit
    code.
    """
    is_over = threading.Event()

    def wait() -> None:
        if is_over.wait(max(0.0, at_seconds - state.seconds())) or not state.end.acquire(blocking=False):
            return
        code = HakunaError.exit_code
        try:
            code = action()
        except HakunaError as error:
            said = str(error)
            say_and_go_on(lambda: log.error("the last moment", error=said))  # noqa: TRY400  # said elsewhere
            code = error.exit_code
        except BaseException:  # noqa: BLE001  # told, and the process ends all the same
            said = traceback.format_exc()
            say_and_go_on(lambda: log.error("the last moment", traceback=said))  # noqa: TRY400
        finally:
            # Nobody may read what the run says any more: that must not keep it from ending.
            say_and_go_on(_flush)
            os._exit(code)

    thread = threading.Thread(target=wait, name="last resort", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
