"""The executor for a single machine, with threads that decode ahead of the networks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from collections.abc import Sequence as Sequences
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, cast

from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.iteration import batched
from inference.core.sequences import Probabilities, Sequence, ViewedSequence
from inference.execution.executor import LOAD, NETWORKS, PHASE, WAIT, Block, ExecutorFacts
from inference.execution.job import Job, RunOptions
from inference.execution.proof import EFFORT, proof_sequences
from inference.execution.throughput import BatchTiming
from inference.execution.worker import Worker
from inference.images.decoder import find_decoder
from inference.networks.engine import Engine, find_engine, load_networks, lower_precisions
from inference.networks.forward import LoadedNetworks
from inference.process.stopwatch import Stopwatch


@dataclass(frozen=True)
class Turns:
    """Locks of the threads that share an executor: one of them decodes, and one computes."""

    decode: threading.Lock = field(default_factory=threading.Lock)
    compute: threading.Lock = field(default_factory=threading.Lock)


Load = Callable[[Bundle, Engine, Precision, Callable[[], None]], LoadedNetworks]
"""Like `networks.engine.load_networks`."""


def local_executor(job: Job, options: RunOptions, stopwatch: Stopwatch, check: Callable[[], None]) -> LocalExecutor:
    """The executor of this machine, with the engine and decoder of the job.

    `check` is called often and raises to stop the run.
    Raises UsageError or UnusableGpuError if the engine or decoder is not available.
    """
    engine, decoder = find_engine(job.engine, job.device), find_decoder(job.decoder, options.n_workers, job.device)
    return LocalExecutor(Worker(job, options, decoder, stopwatch), engine, check)


class LocalExecutor:
    """Runs a worker in this process; see `Executor`."""

    def __init__(self, worker: Worker, engine: Engine, check: Callable[[], None], load: Load = load_networks) -> None:
        """Create the executor; loading and decoding start later."""
        decoder = worker.decoder
        self.facts = ExecutorFacts(
            str(engine), engine.device, decoder.name.value, decoder.pixels, lower_precisions(worker.job.bundle, engine)
        )
        self._worker = worker
        self._engine = engine
        self._check = check
        self._load = load
        self._networks = LoadedNetworks({})
        self._precision: Precision | None = None
        self.n_batches_at_once = 1
        self._is_warm = False
        self._prepared: Generator[ViewedSequence] | None = None
        self._position = 0

    def load(self, precision: Precision) -> Probabilities:
        """Load the networks in a precision unless they are loaded. Others are released first, to save memory."""
        if precision is not self._precision:
            self._release_networks()
            with self._worker.stopwatch(LOAD):
                self._networks = self._load(self._worker.job.bundle, self._engine, precision, self._check)
            self._precision, self._is_warm = precision, False
        return self._networks.probe

    def next_records(self, first: int, n_sequences: int, effort: Effort, precision: Precision) -> Block:
        """Records of the next sequences."""
        self.load(precision)
        if self._prepared is None or first != self._position:
            self._stop_decoding()
            sequences = islice(self._worker.job.sequences, first, None)
            self._prepared = cast("Generator[ViewedSequence]", self._worker.prepared(sequences))
        start = time.perf_counter()
        with self._worker.stopwatch(WAIT):
            batch = list(islice(self._prepared, n_sequences))
        wait_seconds = time.perf_counter() - start
        self._position = first + len(batch)
        with self._worker.stopwatch(NETWORKS):
            return self._block(batch, effort, len(batch) * self._worker.photo_seconds_per_sequence(), wait_seconds)

    def sample(self, sequences: Iterable[Sequence], precision: Precision) -> Block:
        """Records of any sequences at full effort."""
        self.load(precision)
        self._stop_decoding()  # only one set of threads may use the decoder at a time
        apart = replace(self._worker, stopwatch=Stopwatch())  # its decoding does not count for phase 1
        batch = list(apart.prepared(sequences))
        return self._block(batch, Effort.FULL, apart.photo_seconds(), apart.photo_seconds())

    def compute(
        self, sequences: Sequences[Sequence], effort: Effort, precision: Precision, turns: Turns
    ) -> list[Block]:
        """Records of any sequences, a block for each batch. Threads may call it, and take turns."""
        apart, blocks = replace(self._worker, stopwatch=Stopwatch()), []
        starts = range(0, len(sequences), self._worker.options.batch_size)
        with ExitStack() as decoding, closing(cast("Generator[ViewedSequence]", apart.prepared(sequences))) as prepared:
            decoding.enter_context(turns.decode)
            batches = batched(prepared, starts.step)
            batch, wait_seconds = next(batches, []), 0.0
            with turns.compute:
                self.load(precision)
                for start in starts:
                    if start == starts[-1]:
                        decoding.close()  # the next caller decodes while this one computes its last batch
                    photo_seconds = len(batch) * apart.photo_seconds_per_sequence()
                    blocks.append(self._block(batch, effort, photo_seconds, wait_seconds))
                    begun = time.perf_counter()
                    batch = next(batches, [])
                    wait_seconds = time.perf_counter() - begun
        return blocks

    def prove(self, precision: Precision) -> Block:
        """Records of the bundle's proof set."""
        self.load(precision)
        block = self._block(proof_sequences(self._worker.job.bundle), EFFORT, 0.0, 0.0)
        self._is_warm = False  # the other sizes have not run
        return block

    def figures(self) -> dict[str, Any]:
        """`overlap`: seconds that networks and decoding waited for each other, and which of them was the bottleneck."""
        seconds = self._worker.stopwatch.seconds()
        networks_waited = seconds.get(WAIT, 0.0)
        workers_waited = seconds.get(PHASE, 0.0) - self._worker.photo_seconds()
        overlap = {
            "workers": self._worker.n_workers,
            "networks_waited_seconds": networks_waited,
            "each_worker_waited_seconds": round(max(0.0, workers_waited), 3),
            "bottleneck": "networks" if networks_waited < workers_waited else "photos",
        }
        return {"overlap": overlap}

    def status(self) -> dict[str, Any]:
        """No fields."""
        return {}

    def close(self) -> None:
        """Stop decoding ahead and release the networks: their memory, and their threads before the process ends."""
        self._stop_decoding()
        self._release_networks()

    def _release_networks(self) -> None:
        self._networks, self._precision = LoadedNetworks({}), None

    def _stop_decoding(self) -> None:
        if self._prepared is not None:
            self._prepared.close()
            self._prepared = None

    def _block(self, batch: list[ViewedSequence], effort: Effort, photo_seconds: float, wait_seconds: float) -> Block:
        start, n_before = time.perf_counter(), self._networks.n_repeated
        records = self._worker.predict(self._networks, batch, effort)
        frames = tuple(viewed.n_frames for viewed in batch)
        timing = BatchTiming(frames, effort, time.perf_counter() - start, photo_seconds, wait_seconds)
        was_warm, self._is_warm = self._is_warm, self._is_warm or any(frames)
        return Block(records, timing, was_warm, self._networks.n_repeated - n_before)
