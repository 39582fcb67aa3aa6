"""Progress of a run."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from inference.core.errors import InterruptedRunError

Progress = Callable[[int, int], None]
"""Called with the number of finished sequences and of all sequences."""
STATUS_NAME = "status.json"
FORMAT_VERSION = 1
HEARTBEAT_SECONDS = 10.0
"""Interval between two writes of `status.json`."""
COMPLETE, OUT_OF_TIME, INTERRUPTED, FAILED = "complete", "out of time", "interrupted", "failed"
"""The last stage of a run: the first two end with 0."""
LAST_STAGES = frozenset({COMPLETE, OUT_OF_TIME, INTERRUPTED, FAILED})
START_TIME_FIELD = 19
"""Index in /proc/PID/stat after the name of the program (proc(5): field 22 in total)."""


def process_start() -> float:
    """Start of this process on the monotonic clock: a time budget counts from there, including imports."""
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        ticks = int(file.read().rpartition(")")[2].split()[START_TIME_FIELD])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age


def stopped_by(number: int) -> str:
    """`stopped by SIGTERM`, or by Ctrl-C."""
    return f"stopped by {'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name}"


ANEW = (
    *("n_done", "n_kept", "n_failures", "first_failures", "n_degraded", "efforts", "n_lower_precision", "n_predicted"),
    *("n_repeated", "probe_differences"),
)
"""Fields of a run's state that count its records."""


@dataclass
class RunState:
    """Progress of a run. The run writes it, the heartbeat reads it.

    Attributes
    ----------
    n_done, n_all : sequences that have a record, and all sequences
    n_kept : finished sequences whose record is from an earlier run
    n_failures : photos that could not be used
    first_failures : the first few of those photos with their reasons, for messages
    n_degraded : sequences that got less than the bundle's full effort
    efforts : of these the sequences that got less than the full ensemble, by degree of degradation
    n_lower_precision : of these the sequences in a lower precision for lack of time
    n_predicted : sequences with a photo that networks processed; the others have the priors
    n_repeated : network calls that this process repeated in float32, because half precision could not hold the answers
    probe_differences : sequences by the difference of their networks' answers to the probe, if any
    started, phase_started : start of the run and of its first new record, on the monotonic clock
    executor_status : the executor's fields of `status.json`
    on_deadline : called with the content of `run.json` when the deadline ends the run
    submission_lock : its holder names the submission: the run at its end, or the watchdog; never released
    """

    stage: str = "starting"
    n_done: int = 0
    n_all: int = 0
    n_kept: int = 0
    n_failures: int = 0
    first_failures: list[str] = field(default_factory=list)
    n_degraded: int = 0
    efforts: Counter[str] = field(default_factory=Counter)
    n_lower_precision: int = 0
    n_predicted: int = 0
    n_repeated: int = 0
    probe_differences: Counter[float] = field(default_factory=Counter)
    stop_signal: int | None = None
    started: float = field(default_factory=time.monotonic)
    phase_started: float | None = None
    executor_status: Callable[[], dict[str, Any]] = dict
    on_deadline: Callable[[dict[str, Any]], object] = lambda _: None
    submission_lock: threading.Lock = field(default_factory=threading.Lock)

    def seconds(self) -> float:
        """Seconds since the start of the run."""
        return time.monotonic() - self.started

    def begin_again(self) -> None:
        """Forget the progress of a run whose records are computed anew."""
        fresh = RunState(n_all=self.n_all)
        for name in ANEW:
            setattr(self, name, getattr(fresh, name))

    def check(self) -> None:
        """Raise InterruptedRunError if a signal asked the run to stop."""
        if self.stop_signal is not None:
            stopped = f"{stopped_by(self.stop_signal)}: progress is saved; run again to continue"
            raise InterruptedRunError(stopped, self.stop_signal)

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
            **self.executor_status(),
        }

    @property
    def phase(self) -> str:
        """The stage, and the workers of a cluster, for a person."""
        status = self.executor_status()
        if not status:
            return self.stage
        waiting = f", {status['waiting_seconds']:.0f} s for {name}" if (name := status["waiting_for"]) else ""
        return f"{self.stage} (workers: {status['workers']}{waiting})"
