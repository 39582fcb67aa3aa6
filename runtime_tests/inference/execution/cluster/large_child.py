"""A driver of a million sequences whose first block never comes; prints the most memory that it took, in MB."""

from __future__ import annotations

import re
import sys
from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from inference.bundle.passes import Effort
from inference.bundle.reader import open_bundle
from inference.core import version
from inference.core.choices import REFERENCE_PIXELS, Precision, Preset
from inference.core.errors import InterruptedRunError
from inference.core.labels import N_CLASSES
from inference.core.sequences import Image, Sequence
from inference.dataset.metadata import OddDatetimes, Plan
from inference.execution.cluster.block_worker import WorkerFacts
from inference.execution.cluster.cluster_executor import ClusterExecutor
from inference.execution.cluster.pool import Done, Place
from inference.execution.executor import Block, ExecutorFacts
from inference.execution.job import Job, RunOptions
from inference.execution.throughput import BatchTiming
from inference.execution.worker import priors_record
from inference.process.stopwatch import Stopwatch

N_SEQUENCES, N_IMAGES, N_WORKERS, MAX_IDLE_TURNS = 1_000_000, 3, 8, 50
FRAME_OUTPUTS, SEQUENCE_OUTPUTS = (3, 4, N_CLASSES), (3, N_CLASSES)
"""Of the published ensemble."""


class SimulatedPool:
    """Every call but the one for the first block is answered at once."""

    def __init__(self, job: Job) -> None:
        self._job, self._done, self.n_answered, self.n_idle = job, list[Done](), 0, 0

    def refresh(self, _left_out: Container[str], /) -> Mapping[str, Place]:
        return {f"w{number}": Place(f"node {number}", f"node {number}") for number in range(N_WORKERS)}

    def call(self, worker: str, method: str, tag: object, *arguments: object) -> None:
        if method == "facts":
            facts = ExecutorFacts("openvino 0", "CPU", "fast", REFERENCE_PIXELS, ())
            result: object = WorkerFacts(version.hakuna_version(), self._job.bundle.id, facts, "")
        elif method == "load":
            result = np.zeros((1, N_CLASSES), np.float32)
        elif isinstance(tag, tuple) and tag[1] == 0:
            return
        else:
            result = [self._block(arguments[0])]  # type: ignore[arg-type]
            self.n_answered += 1
        self._done.append(Done(worker, method, tag, result))

    def _block(self, sequences: tuple[Sequence, ...]) -> Block:
        records = [
            replace(
                priors_record(one, self._job.bundle.manifest),
                frame_outputs=np.zeros(FRAME_OUTPUTS, np.float32),
                sequence_outputs=np.zeros(SEQUENCE_OUTPUTS, np.float32),
            )
            for one in sequences
        ]
        return Block(records, BatchTiming((3,) * len(records), Effort.FULL, 0.1, 0.1, 0.0), is_warm=True)

    def finished(self, _seconds: float, /) -> list[Done]:
        done, self._done = self._done, []
        self.n_idle = 0 if done else self.n_idle + 1
        return done

    def stop(self, worker: str) -> None:
        raise AssertionError(worker)

    def close(self) -> None:
        pass


def main() -> None:
    sequences = tuple(
        Sequence(
            f"SER_S1#B04#1#{number}",
            tuple(Image(f"S1/B04/B04_R1/S1_B04_R1_PICT{number}_{k}.JPG", "") for k in range(N_IMAGES)),
        )
        for number in range(N_SEQUENCES)
    )
    plan = Plan(sequences, (), 0, 0, 0, OddDatetimes(), OddDatetimes())
    job = Job("photos", plan, open_bundle(Path(sys.argv[1])), Preset.QUARTER)
    pool = SimulatedPool(job)

    def check() -> None:
        if pool.n_idle > MAX_IDLE_TURNS:
            raise InterruptedRunError("nothing comes", 15)

    executor = ClusterExecutor(job, RunOptions(), Stopwatch(), check, pool)
    try:
        executor.next_records(0, 8, Effort.FULL, Precision.FLOAT32)
    except InterruptedRunError:
        # VmHWM, because ru_maxrss starts at the size of the parent.
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        sys.stdout.write(f"{pool.n_answered} {int(peak[1]) // 1024 if peak else 'unknown'}\n")


if __name__ == "__main__":
    main()
