"""One program under supervision: all its output is kept, its time ends, and nothing that it started outlives it."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmark.sandbox.processes import become_child_subreaper, children_of, list_processes
from benchmark.sandbox.run_log import RunLog
from inference.core.errors import SIGNAL_EXIT_BASE, InterruptedRunError
from inference.process.children import launched
from inference.process.progress import stopped_by
from inference.process.signals import STOP_SIGNALS, taking_signals

SAMPLE_SECONDS = 0.25
"""Longest interval between sums of the memory of all processes."""
FIRST_SAMPLE_SECONDS, SAMPLE_SHARE = 0.01, 0.25
"""Of a young program the memory is summed up more often: after this share of its age."""
LAST_SECONDS = 5.0
"""Time to wait for killed processes, and for the end of their output."""
READ_BYTES = 1 << 16
WAITED_FOR = (*STOP_SIGNALS, signal.SIGCHLD)


class Signals:
    """SIGTERM and SIGINT while a program is prepared, run and checked. Made by `catching_signals`."""

    def __init__(self) -> None:
        self.caught: list[int] = []

    def wait(self, seconds: float) -> None:
        """Wait until a signal comes, a child ends, or the time is over; then note all signals."""
        one = signal.sigtimedwait(WAITED_FOR, max(0.0, seconds))
        while one is not None:
            if one.si_signo in STOP_SIGNALS:
                self.caught.append(one.si_signo)
            one = signal.sigtimedwait(WAITED_FOR, 0)

    def check(self) -> None:
        """Raise InterruptedRunError if one came."""
        self.wait(0)
        if self.caught:
            number = self.caught[0]
            raise InterruptedRunError(stopped_by(number), number)


@contextmanager
def catching_signals() -> Iterator[Signals]:
    """Take SIGTERM and SIGINT, as process 1 must, from now on.

    They are blocked and polled, not handled: a handler may not even fit on the stack that a library left for it (see
    `inference.process.signals`), and nothing is torn apart in the middle.
    """
    with taking_signals():
        signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)
        signals = Signals()
        try:
            yield signals
        finally:
            signals.wait(0)  # late signals must not end the process either


@dataclass(frozen=True)
class ProcessResult:
    """How a program ended.

    Attributes
    ----------
    code : its own exit code; 128 + N if signal N ended it
    seconds : from its start to its end
    timed_out : it had not ended when its time was over
    peak_bytes : largest sum of the resident memory of all its processes, added up every 0.25 s, more often at its beginning
    n_left_behind : processes that were still there when the program had ended, and were ended too
    """

    code: int
    seconds: float
    timed_out: bool
    peak_bytes: int
    n_left_behind: int


def supervise(
    command: list[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: RunLog,
    signals: Signals,
    limit: float | None,
    grace: float,
) -> ProcessResult:
    """Run a program to its end, or to the end of its time.

    After `limit` seconds (None: never) it gets SIGTERM, and SIGKILL `grace` seconds later. A signal that comes meanwhile
    is passed on, with the same grace; a second one kills at once. The caller sees it in `signals`.
    """
    not_ours = set(children_of(list_processes(), os.getpid()))
    read_end, write_end = os.pipe()
    pump = threading.Thread(target=_pump, args=(read_end, log), name="output", daemon=True)
    pump.start()
    started = time.monotonic()
    with become_child_subreaper():
        try:
            process = subprocess.Popen(  # noqa: S603  # running a participant's program is the purpose
                launched(command),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        watch = _Supervisor(process, not_ours)
        try:
            timed_out = watch.wait(signals, None if limit is None else started + limit, grace)
            seconds = time.monotonic() - started
        finally:
            n_left_behind = watch.kill_tree()
    pump.join(LAST_SECONDS)
    code = process.returncode if process.returncode >= 0 else SIGNAL_EXIT_BASE - process.returncode
    return ProcessResult(code, seconds, timed_out, watch.peak_bytes, n_left_behind)


class _Supervisor:
    """A program and all that it starts."""

    def __init__(self, process: subprocess.Popen[bytes], not_ours: set[int]) -> None:
        self._process = process
        self._not_ours = not_ours
        self.peak_bytes = 0

    def wait(self, signals: Signals, deadline: float | None, grace: float) -> bool:
        """Whether its time was over before."""
        timed_out, begun = False, time.monotonic()
        n_passed_on = len(signals.caught)
        kill_at = float("inf")
        if n_passed_on:  # it came before the program was started
            self._send(signal.SIGTERM)
            kill_at = time.monotonic() + grace
        while not self._has_ended():
            now = time.monotonic()
            processes = list_processes()
            resident = [processes[pid].resident_bytes for pid in self._descendants() if pid in processes]
            self.peak_bytes = max(self.peak_bytes, sum(resident))
            if deadline is not None and now >= deadline and not timed_out and not n_passed_on:
                timed_out = True
                self._send(signal.SIGTERM)
                kill_at = now + grace
            for number in signals.caught[n_passed_on:]:
                kill_at = min(kill_at, now + grace) if not n_passed_on and not timed_out else now
                self._send(number)
                n_passed_on += 1
            if now >= kill_at:
                self._send(signal.SIGKILL)
            sample = now + min(SAMPLE_SECONDS, max(FIRST_SAMPLE_SECONDS, SAMPLE_SHARE * (now - begun)))
            next_look = min(sample, kill_at if kill_at > now else sample)
            signals.wait(min(next_look, deadline if deadline and deadline > now else next_look) - now)
        return timed_out

    def kill_tree(self) -> int:
        """Kill the remaining processes; returns their number."""
        left = self._descendants()
        n_left = len(left)
        until = time.monotonic() + LAST_SECONDS
        while left and time.monotonic() < until:
            self._send(signal.SIGKILL)
            self._has_ended()
            time.sleep(0.01)
            left = self._descendants()
        self._has_ended()
        return n_left

    def _has_ended(self) -> bool:
        """Note every process that ended, orphans too."""
        for pid in set(children_of(list_processes(), os.getpid())) - self._not_ours:
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
            if ended == self._process.pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
        return self._process.returncode is not None

    def _send(self, number: int) -> None:
        """To every process, as some have sessions of their own."""
        for pid in self._descendants():
            with suppress(ProcessLookupError):  # it ended just now
                os.kill(pid, number)

    def _descendants(self) -> set[int]:
        """Processes that are alive."""
        processes = list_processes()
        found = set(children_of(processes, os.getpid())) - self._not_ours
        new = found
        while new:
            new = {pid for pid, one in processes.items() if one.parent in new} - found
            found |= new
        return {pid for pid in found if processes[pid].is_alive}


def _pump(read_end: int, log: RunLog) -> None:
    with open(read_end, "rb", buffering=0) as pipe:
        while data := pipe.read(READ_BYTES):
            log.write(data)
