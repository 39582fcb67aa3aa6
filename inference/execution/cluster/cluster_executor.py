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
from inference.execution.cluster.members import POLL_SECONDS, Members
from inference.execution.cluster.pool import Done, Pool
from inference.execution.executor import LOAD, WAIT, Block, ExecutorFacts
from inference.execution.job import Job, RunOptions
from inference.execution.throughput import BatchTiming
from inference.process.stopwatch import Stopwatch
from inference.storage.interface import Entry

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
        self._effort, self._precision = Effort.FULL, Precision.FLOAT32
        self._generation = 0
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
        """Load the networks of all workers. Blocks that are begun in another precision are forgotten."""
        if precision is not self._precision:
            self._forget_blocks()
        self._precision = precision
        with self._stopwatch(LOAD):
            return self._members.load(precision)

    def next_records(self, first: int, n_sequences: int, effort: Effort, precision: Precision) -> Block:
        """Records of the next sequences. Blocks that are begun keep their effort."""
        self.load(precision)
        self._effort = effort
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
        self._forget_blocks()

    def _forget_blocks(self) -> None:
        """Answers to calls that are under way no longer count."""
        self._n_repeated += self._queue.n_repeated if self._queue else 0
        self._queue = self._taken = None
        self._generation += 1

    def _take(self, first: int) -> Taken:
        """Wait for the block of a sequence."""
        size = (1 if self._options.budget else BATCHES_PER_BLOCK) * self._options.batch_size
        if self._taken and first != self._taken.end:
            self._forget_blocks()
        if self._queue is None:
            self._queue = BlockQueue(first, len(self._job.sequences), size)
            self._doubted, self._errors = set(), Counter()
        queue = self._queue
        block = queue.block_of(first)
        with self._stopwatch(WAIT):
            seconds = 0.0  # workers get their next blocks although the answer may be there
            while True:
                self._hand_out(queue)
                for done in self._members.turn(seconds):
                    self._keep(queue, done)
                if (answer := queue.take(block)) is not None:
                    break
                seconds = POLL_SECONDS
        return Taken(queue.range_of(block)[0], answer)

    def _hand_out(self, queue: BlockQueue[list[Block]]) -> None:
        ready = self._members.ready()
        queue.keep_workers(self._members.by_name)
        for name in ready:
            while (block := queue.give(name, time.monotonic(), len(ready))) is not None:
                first, end = queue.range_of(block)
                sequences, tag = self._job.sequences[first:end], (self._generation, block)
                self._pool.call(name, COMPUTE, tag, sequences, self._effort, self._precision)

    def _keep(self, queue: BlockQueue[list[Block]], done: Done) -> None:
        """Keep the records of a block, or give it to another worker."""
        if done.has_died:
            queue.lose(done.worker)
            if (block := queue.deadly) is not None:
                first, end = queue.range_of(block)
                names = f"{self._job.sequences[first].seq_id} to {self._job.sequences[end - 1].seq_id}"
                raise WorkersLostError(
                    f"sequences {names}: must be computed by a worker, but several workers ended while computing them, the "
                    f"last one with: {done.error}; earlier records are kept"
                )
            return
        if done.method != COMPUTE or done.tag[0] != self._generation:
            return
        block, node = done.tag[1], self._members.nodes[done.worker]
        if done.error:
            self._errors[block] += 1
            if self._errors[block] >= MAX_ERRORS:
                raise done.error
            log.warning("a worker failed, another one computes its block", error=str(done.error))
            queue.give_back(block, self._workers_of(node))
            self._members.stop(done.worker)
            return
        self._members.has_computed(done.worker)
        if self._is_doubtful(block, node, done.result):
            queue.give_back(block, self._workers_of(node))
        elif queue.answer(done.worker, block, done.result, time.monotonic()):
            self._by_node[node] += sum(len(one.records) for one in done.result)

    def _workers_of(self, node: str) -> set[str]:
        """Those of a node that are ready."""
        return {name for name in self._members.ready() if self._members.nodes[name] == node}

    def _is_doubtful(self, block: int, node: str, blocks: list[Block]) -> bool:
        """Whether the worker could not read photos that the driver sees. Another worker then reads the block once more.

        A node from which photos are missing that the driver sees is left out: others would be missing, too.
        """
        failures = [one for part in blocks for record in part.records for one in record.failures]
        lost = [one for one in failures if one.reason in PLACE]
        if not lost:
            return False
        storage = self._job.storage(self._options.read_timeout)
        entries = storage.entries([one.file_name for one in lost])
        seen = [one for one, entry in zip(lost, entries, strict=True) if isinstance(entry, Entry)]
        if missing := next((one for one in seen if one.reason is FailureReason.MISSING), None):
            self._members.leave_out(node, f"does not see photo {missing.file_name}")
            return True
        is_first = block not in self._doubted
        self._doubted.add(block)
        return bool(seen) and is_first

    def _ask(self, method: str, *arguments: object) -> Any:
        """The result of a method of any worker; of another one if that ends."""
        while True:
            if not self._members.ready():
                self._members.turn()
                continue
            name = self._members.ready()[0]
            self._pool.call(name, method, None, *arguments)
            while name in self._members.by_name:
                for done in self._members.turn():
                    if (done.worker, done.method) == (name, method) and not done.has_died:
                        if done.error:
                            raise done.error
                        self._members.has_computed(name)
                        return done.result
