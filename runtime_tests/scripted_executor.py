"""An executor for tests of the driver: no photo is opened and no network loaded; every request is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from inference.bundle.passes import Effort
from inference.core.choices import REFERENCE_PIXELS, Precision
from inference.core.labels import N_CLASSES
from inference.core.sequences import Probabilities, Sequence
from inference.execution.executor import Block, ExecutorFacts
from inference.execution.job import Job, RunOptions
from inference.execution.throughput import BatchTiming
from inference.execution.worker import priors_record
from inference.process.stopwatch import Stopwatch
from inference.records.schema import Record, outputs_of

FACTS = ExecutorFacts("openvino 0", "CPU", "pillow", REFERENCE_PIXELS, lower_precisions=())


@dataclass
class ScriptedExecutor:
    """Makes itself the executor of a job; each sequence gets one frame with the same probability everywhere.

    Attributes
    ----------
    seconds : what each block pretends to take
    requests : first sequence, number of sequences, effort and precision of each block
    is_closed : whether the driver has ended it
    probe : what its networks answer to the probe
    """

    seconds: float = 0.001
    requests: list[tuple[int, int, Effort, Precision]] = field(default_factory=list)
    is_closed: bool = False
    facts: ExecutorFacts = FACTS
    probe: float = 0.5
    n_batches_at_once: int = 1

    def __call__(
        self, job: Job, _options: RunOptions, _stopwatch: Stopwatch, _check: Callable[[], None]
    ) -> ScriptedExecutor:
        self._job = job
        return self

    def load(self, precision: Precision) -> Probabilities:
        assert precision is Precision.FLOAT32
        return np.full((1, N_CLASSES), self.probe, np.float32)

    def next_records(self, first: int, n_sequences: int, effort: Effort, precision: Precision) -> Block:
        self.requests.append((first, n_sequences, effort, precision))
        records = [self._record(one, effort) for one in self._job.sequences[first : first + n_sequences]]
        return Block(records, BatchTiming((1,) * len(records), effort, self.seconds, 0.0, 0.0), is_warm=True)

    def sample(self, sequences: Iterable[Sequence], precision: Precision) -> Block:
        raise AssertionError(f"nothing to compare with {precision}: {sequences}")

    def prove(self, precision: Precision) -> Block:
        raise AssertionError(f"nothing to prove for {precision}")

    def figures(self) -> dict[str, Any]:
        return {}

    def status(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self.is_closed = True

    def _record(self, sequence: Sequence, effort: Effort) -> Record:
        outputs = outputs_of(self._job.bundle.manifest)
        shape = (1, sum(one.per_frame for one in outputs), len(self._job.plan.labels))
        empty = priors_record(sequence, self._job.bundle.manifest)
        return replace(empty, frame_outputs=np.full(shape, 0.25, np.float32), effort=effort)
