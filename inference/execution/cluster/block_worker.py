"""A worker of a cluster: sequences -> records."""

import os
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Sequences
from contextlib import suppress
from dataclasses import dataclass, replace

from inference.bundle.passes import Effort
from inference.bundle.reader import open_bundle
from inference.core import version
from inference.core.choices import Precision
from inference.core.errors import InputError
from inference.core.sequences import FailureReason, FrameFailure, Probabilities, Sequence
from inference.dataset.input_check import check_any_photo
from inference.execution.executor import Block, ExecutorFacts
from inference.execution.job import Job, RunOptions
from inference.execution.local_executor import LocalExecutor, Turns, local_executor
from inference.process.stopwatch import Stopwatch
from inference.settings.environment import set_library_defaults
from inference.storage.interface import Entry, PhotoStorage


@dataclass(frozen=True)
class WorkerSpec:
    """Everything that a worker needs to know about a run; it can be sent to another process.

    Attributes
    ----------
    job : without its sequences; photos and bundle are at the same absolute paths on all nodes
    witnesses : names of some photos that the driver sees, and their bytes
    """

    job: Job
    options: RunOptions
    witnesses: dict[str, int]

    @classmethod
    def of(cls, job: Job, options: RunOptions, check: Callable[[], None]) -> "WorkerSpec":
        """The specification of the workers for a job. `check` is called often and raises to stop."""
        storage, names = job.storage(options.read_timeout), tuple[str, ...]()
        with suppress(InputError):  # a finished run needs no photos; another one is refused by the driver
            names = check_any_photo(job.plan.sequences, storage, job.bundle.manifest.n_frames, check)
        entries = zip(names, storage.entries(names), strict=True)
        witnesses = {name: one.n_bytes for name, one in entries if isinstance(one, Entry)}
        bundle = replace(job.bundle, folder=job.bundle.folder.absolute())
        plan = replace(job.plan, sequences=())
        return cls(replace(job, photos=os.path.abspath(job.photos), bundle=bundle, plan=plan), options, witnesses)


@dataclass(frozen=True)
class WorkerFacts:
    """The facts on which the records of a worker depend.

    Attributes
    ----------
    bundle : hash of the bundle's content, found by this worker
    odd_photo : a witness that it cannot read, or that has another number of bytes; "" without one
    """

    version: str
    bundle: str
    executor: ExecutorFacts
    odd_photo: str


def _odd_photo(storage: PhotoStorage, witnesses: Mapping[str, int]) -> str:
    for name, n_bytes in witnesses.items():
        data = storage.read(name)
        if isinstance(data, FrameFailure) and data.reason is FailureReason.TIMED_OUT:
            break  # slow, perhaps only at first
        if isinstance(data, FrameFailure) or len(data) != n_bytes:
            return name
    return ""


class BlockWorker:
    """Computes records of the sequences that it is given. Two threads may use it: one decodes while the other computes."""

    _executor: LocalExecutor

    def __init__(self, spec: WorkerSpec, n_threads: int) -> None:
        """Nothing fails yet: `facts` comes first."""
        self._spec, self._n_threads, self._turns = spec, n_threads, Turns()

    def facts(self) -> WorkerFacts:
        """Open the bundle, find engine and decoder, look for the photos.

        Raises BundleError, UsageError or UnusableGpuError.
        """
        set_library_defaults()  # for TensorFlow; NumPy is imported
        spec = self._spec
        job = replace(spec.job, bundle=open_bundle(spec.job.bundle.folder))
        options = replace(spec.options, n_workers=self._n_threads)
        self._executor = local_executor(job, options, Stopwatch(), lambda: None)
        odd_photo = _odd_photo(job.storage(options.read_timeout), spec.witnesses)
        return WorkerFacts(version.hakuna_version(), job.bundle.id, self._executor.facts, odd_photo)

    def load(self, precision: Precision) -> Probabilities:
        """Load the networks; returns their answers to the probe."""
        with self._turns.compute:
            return self._executor.load(precision)

    def prove(self, precision: Precision) -> list[Block]:
        """Records of the bundle's proof set."""
        with self._turns.compute:
            return [self._executor.prove(precision)]

    def compute(self, sequences: Sequences[Sequence], effort: Effort, precision: Precision) -> list[Block]:
        """Records of some sequences, batch by batch."""
        return self._executor.compute(sequences, effort, precision, self._turns)
