"""Facts and load of an NVIDIA GPU, as `nvidia-smi` reports them; nothing where it is missing."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

FACTS = ("name", "driver_version", "compute_cap", "memory.total", "clocks.max.sm", "power.limit")
VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
SECONDS = 0.25
"""Between two samples."""
LONGEST_SECONDS = 20.0
"""For one answer of `nvidia-smi`."""


@dataclass
class GpuLoad:
    """Samples of a GPU, taken several times a second; a GPU need not report both numbers.

    Attributes
    ----------
    busy : share of the time before each sample in which a kernel ran, 0-1, by its moment in seconds of
        `time.perf_counter`
    used_mib : memory in use
    """

    busy: dict[float, float] = field(default_factory=dict)
    used_mib: list[float] = field(default_factory=list)

    def idle_share(self, begin: float, end: float) -> float | None:
        """Share of the time between two moments in which no kernel ran; None without a sample."""
        busy = [one for moment, one in self.busy.items() if begin <= moment <= end]
        return 1 - sum(busy) / len(busy) if busy else None


def use_order_of_nvidia_smi() -> None:
    """Let CUDA number the GPUs of this process and its children as `nvidia-smi` does; call before CUDA is loaded."""
    os.environ[ORDER] = "PCI_BUS_ID"


def gpu_facts() -> dict[str, str] | None:
    """Name, driver, compute capability, memory, clock and power limit of the GPU that programs use."""
    answer = _query(FACTS)
    return dict(zip(FACTS, answer, strict=True)) if answer else None


@contextmanager
def watched() -> Iterator[GpuLoad]:
    """Sample the GPU that programs use during the block."""
    load, done = GpuLoad(), threading.Event()

    def sample() -> None:
        while (answer := _query(("utilization.gpu", "memory.used"))) and not done.wait(SECONDS):
            with suppress(ValueError):  # "[N/A]"
                load.busy[time.perf_counter()] = float(answer[0]) / 100
            with suppress(ValueError):
                load.used_mib.append(float(answer[1]))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield load
    finally:
        done.set()
        thread.join()


def _query(fields: tuple[str, ...]) -> list[str] | None:
    """Values of the first visible GPU, in the units of `nvidia-smi`."""
    first = os.environ.get(VISIBLE, "").partition(",")[0] or "0"
    command = ("nvidia-smi", f"--id={first}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LONGEST_SECONDS)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    values = [one.strip() for one in answer.stdout.partition("\n")[0].split(",")]
    return values if len(values) == len(fields) else None
