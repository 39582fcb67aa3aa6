"""The executor of a cluster: hands blocks of sequences to workers, and their records to the driver in order."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from inference.bundle.passes import Effort
from inference.core.choices import Precision
from inference.core.errors import WorkersLostError
from inference.core.sequences import FailureReason, Probabilities, Sequence
from inference.execution.cluster.blocks import BlockQueue
from inference.execution.cluster.members import Members
from inference.execution.cluster.pool import Done, Pool
from inference.execution.executor import LOAD, WAIT, Block, ExecutorFacts
from inference.execution.job import Job, RunOptions
from inference.execution.throughput import BatchTiming
from inference.process.stopwatch import Stopwatch

log = structlog.get_logger()

BATCHES_PER_BLOCK = 8
MAX_ERRORS = 2
"""Workers that may fail with an error on one block; the last error ends the run."""
COMPUTE = "compute"
PLACE = frozenset({FailureReason.MISSING, FailureReason.UNREADABLE, FailureReason.TIMED_OUT})
"""Failures of photos that may be those of one node."""


@dataclass
class Taken:
    """The block that the driver is taking records from."""

    first: int
    blocks: list[Block]

    def __post_init__(self) -> None:
        self.records = [record for block in self.blocks for record in block.records]
        self.frames = [n for block in self.blocks for n in block.timing.frames]

    @property
    def end(self) -> int:
        """Index after its last sequence."""
        return self.first + len(self.records)

    def part(self, first: int, n_sequences: int, n_workers: int) -> Block:
        """Some of its records. Their share of the block's seconds, divided by the workers that compute side by side."""
        start = first - self.first
        end = min(start + n_sequences, len(self.records))
        share = (end - start) / len(self.records) / n_workers
        timings = [block.timing for block in self.blocks]
        timing = BatchTiming(
            tuple(self.frames[start:end]),
            timings[0].effort,
            share * sum(one.network_seconds for one in timings),
            share * sum(one.photo_seconds for one in timings),
            share * sum(one.wait_seconds for one in timings),
        )
        n_repeated = sum(block.n_repeated for block in self.blocks) if start == 0 else 0
        return Block(self.records[start:end], timing, is_warm=True, n_repeated=n_repeated)


class ClusterExecutor:
    """Runs workers in a pool; see `Executor`."""

    def __init__(
        self, job: Job, options: RunOptions, stopwatch: Stopwatch, check: Callable[[], None], pool: Pool
    ) -> None:
        """Wait for the first workers. Raises WorkersLostError if none can compute the job."""
        self._job, self._options, self._stopwatch, self._pool = job, options, stopwatch, pool
        self._members = Members(pool, job.bundle.id, check)
        self._queue: BlockQueue[list[Block]] | None = None
        self._wanted = (Effort.FULL, Precision.FLOAT32)
        self._taken: Taken | None = None
        self._errors: Counter[int] = Counter()
        self._doubted: set[int] = set()
        self._by_node: Counter[str] = Counter()
        self._n_workers = self._n_repeated = 0
        try:
            self.facts: ExecutorFacts = self._members.gather_facts()
        except BaseException:
            pool.close()
            raise

    def load(self, precision: Precision) -> Probabilities:
        """Load the networks of all workers."""
        with self._stopwatch(LOAD):
            return self._members.load(precision)

    def next_records(self, first: int, n_sequences: int, effort: Effort, precision: Precision) -> Block:
        """Records of the next sequences. Blocks that are begun keep their effort and precision."""
        self.load(precision)
        self._wanted = (effort, precision)
        taken = self._taken
        if taken is None or not taken.first <= first < taken.end:
            self._taken = taken = self._take(first)
        return taken.part(first, n_sequences, max(1, len(self._members.ready())))

    def sample(self, sequences: Iterable[Sequence], precision: Precision) -> Block:
        """Records of any sequences at full effort."""
        self.load(precision)
        block: Block = self._ask("sample", list(sequences), precision)
        return block

    def prove(self, precision: Precision) -> Block:
        """Records of the bundle's proof set."""
        self.load(precision)
        block: Block = self._ask("prove", precision)
        return block

    def figures(self) -> dict[str, Any]:
        """`cluster`: its workers."""
        cluster = {
            "workers": self._n_workers,
            "lost": self._members.n_lost,
            "asked_twice": self._n_repeated,
            "left_out": self._members.left_out,
            "sequences_by_node": dict(self._by_node),
        }
        return {"cluster": cluster}

    def close(self) -> None:
        """End the workers."""
        self._n_workers = len(self._members.by_name) or self._n_workers
        self._pool.close()
        self._members.forget()
        self._n_repeated += self._queue.n_repeated if self._queue else 0
        self._queue = self._taken = None

    def _take(self, first: int) -> Taken:
        """Wait for the block of a sequence."""
        size = BATCHES_PER_BLOCK * self._options.batch_size
        if self._queue is None or (self._taken and first != self._taken.end):
            self._queue = BlockQueue(first, len(self._job.sequences), size)
            self._doubted, self._errors = set(), Counter()
        queue = self._queue
        block = queue.block_of(first)
        with self._stopwatch(WAIT):
            while (answer := queue.take(block)) is None:
                self._hand_out(queue)
                for done in self._members.turn():
                    self._keep(queue, done)
        return Taken(queue.range_of(block)[0], answer)

    def _hand_out(self, queue: BlockQueue[list[Block]]) -> None:
        ready = self._members.ready()
        for name in ready:
            while (block := queue.give(name, time.monotonic(), len(ready))) is not None:
                first, end = queue.range_of(block)
                self._pool.call(name, COMPUTE, block, self._job.sequences[first:end], *self._wanted)

    def _keep(self, queue: BlockQueue[list[Block]], done: Done) -> None:
        """Keep the records of a block, or give it to another worker."""
        if done.has_died:
            queue.lose(done.worker)
            if (block := queue.deadly) is not None:
                first, end = queue.range_of(block)
                names = f"{self._job.sequences[first].seq_id} to {self._job.sequences[end - 1].seq_id}"
                raise WorkersLostError(
                    f"sequences {names}: must be computed by a worker, but several ended while they had them, the last "
                    f"with: {done.error}; earlier records are kept"
                )
        elif done.method == COMPUTE and done.error:
            self._errors[done.tag] += 1
            if self._errors[done.tag] >= MAX_ERRORS:
                raise done.error
            log.warning("a worker failed, another one computes its block", error=str(done.error))
            queue.lose(done.worker, has_died=False)
            self._members.stop(done.worker)
        elif done.method == COMPUTE:
            self._members.has_answered()
            node = self._members.by_name[done.worker].node
            if self._is_doubtful(done.tag, node, done.result):
                queue.give_back(done.tag, {name for name, one in self._members.by_name.items() if one.node == node})
                return
            queue.answer(done.worker, done.tag, done.result, time.monotonic())
            self._by_node[node] += sum(len(block.records) for block in done.result)

    def _is_doubtful(self, block: int, node: str, blocks: list[Block]) -> bool:
        """Whether all photos of a block are lost on the first node that reads them. Another node reads them again."""
        records = [record for one in blocks for record in one.records]
        reasons = {failure.reason for record in records for failure in record.failures}
        if any(record.n_frames for record in records) or not reasons & PLACE or block in self._doubted:
            return False
        self._doubted.add(block)
        return any(one.node != node for one in self._members.by_name.values())

    def _ask(self, method: str, *arguments: object) -> Any:
        """The result of a method of any worker; of another one if that ends."""
        while True:
            if not self._members.ready():
                self._members.turn()
                continue
            name = self._members.ready()[0]
            self._pool.call(name, method, 0, *arguments)
            while name in self._members.by_name:
                for done in self._members.turn():
                    if (done.worker, done.method) == (name, method) and not done.has_died:
                        if done.error:
                            raise done.error
                        self._members.has_answered()
                        return done.result
