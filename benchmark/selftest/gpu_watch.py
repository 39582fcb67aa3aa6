"""Facts and load of an NVIDIA GPU, as `nvidia-smi` reports them; nothing where it is missing."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

FACTS = ("name", "driver_version", "compute_cap", "memory.total", "clocks.max.sm", "power.limit")
SECONDS = 0.25
"""Between two samples."""
LONGEST_SECONDS = 20.0
"""For one answer of `nvidia-smi`."""


@dataclass
class GpuLoad:
    """Samples of the first GPU, taken several times a second.

    Attributes
    ----------
    moments : when they were taken, in seconds of `time.perf_counter`
    busy : share of the time before each sample in which a kernel ran, 0-1
    used_mib : memory in use
    """

    moments: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    used_mib: list[float] = field(default_factory=list)

    def idle_share(self, begin: float, end: float) -> float | None:
        """Share of the time between two moments in which no kernel ran; None without a sample."""
        busy = [one for moment, one in zip(self.moments, self.busy, strict=True) if begin <= moment <= end]
        return 1 - sum(busy) / len(busy) if busy else None


def gpu_facts() -> dict[str, str] | None:
    """Name, driver, compute capability, memory, clock and power limit of the first GPU."""
    answer = _query(FACTS)
    return dict(zip(FACTS, answer, strict=True)) if answer else None


@contextmanager
def watched() -> Iterator[GpuLoad]:
    """Sample the first GPU during the block."""
    load, done = GpuLoad(), threading.Event()

    def sample() -> None:
        while (answer := _query(("utilization.gpu", "memory.used"))) and not done.wait(SECONDS):
            load.moments.append(time.perf_counter())
            load.busy.append(float(answer[0]) / 100)
            load.used_mib.append(float(answer[1]))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield load
    finally:
        done.set()
        thread.join()


def _query(fields: tuple[str, ...]) -> list[str] | None:
    """Values of the first GPU, in the units of `nvidia-smi`."""
    command = ("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LONGEST_SECONDS)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    values = [one.strip() for one in answer.stdout.partition("\n")[0].split(",")]
    return values if len(values) == len(fields) else None
