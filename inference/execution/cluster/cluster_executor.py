"""The executor of a cluster: hands blocks of sequences to workers, and their records to the driver in order."""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Sequences
from dataclasses import dataclass, field
from typing import Any

import structlog

from inference.bundle.passes import Effort
from inference.core.choices import Precision
from inference.core.errors import WorkersLostError
from inference.core.sequences import IO_FAILURES, FailureReason, Probabilities, Sequence
from inference.execution.cluster.blocks import BLOCKS_PER_WORKER, BlockQueue
from inference.execution.cluster.members import Members
from inference.execution.cluster.pool import Done, Pool
from inference.execution.executor import LOAD, WAIT, Block, ExecutorFacts
from inference.execution.job import Job, RunOptions
from inference.execution.throughput import BatchTiming
from inference.images.reading import is_cut_short, read_image_file
from inference.process.stopwatch import Stopwatch
from inference.process.watchdog import POLL_SECONDS

log = structlog.get_logger()

BATCHES_PER_BLOCK = 8
MAX_ERRORS = 2
"""Errors on one block, of different workers if there are others; the last one ends the run."""
COMPUTE, PROVE = "compute", "prove"
"""Methods of a worker."""
LONG_WAIT = 60.0
"""Seconds between two lines of the log while a run waits for the same sequences."""
MAX_ODD = 3
"""Blocks of a node in a row with photos that differ from those of the driver, until it is left out. Some may just have arrived."""
CUT_SHORT = "cut short"
"""Stands beside the reasons of failures for a photo without its end, which is used."""


@dataclass
class Taken:
    """The block that the driver is taking records from."""

    first: int
    blocks: list[Block]
    node: str

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
        is_warm = all(block.is_warm for block in self.blocks)
        return Block(self.records[start:end], timing, is_warm, n_repeated)


@dataclass
class Work:
    """Blocks that are being computed. Answers to calls of earlier work no longer count.

    Attributes
    ----------
    sequences : all of them; the queue counts in them. Empty for the proof set, which is one block
    queue : its answers are a node and its records
    odd : blocks and nodes whose photos differed from those of the driver
    failed : places whose workers failed with an error, by block
    """

    sequences: Sequences[Sequence]
    queue: BlockQueue[tuple[str, list[Block]]]
    odd: set[tuple[int, str]] = field(default_factory=set)
    failed: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def names(self, block: int) -> str:
        """The sequences of a block, for messages."""
        first, end = self.queue.range_of(block)
        if not self.sequences:
            return "the proof set"
        return f"sequences {self.sequences[first].seq_id} to {self.sequences[end - 1].seq_id}"


class ClusterExecutor:
    """Runs workers in a pool; see `Executor`."""

    def __init__(
        self, job: Job, options: RunOptions, stopwatch: Stopwatch, check: Callable[[], None], pool: Pool
    ) -> None:
        """Wait for the first workers. Raises WorkersLostError if none can compute the job."""
        self._job, self._options, self._stopwatch, self._pool = job, options, stopwatch, pool
        self._members = Members(pool, job, check, options.budget or math.inf)
        self._effort, self._precision = Effort.FULL, Precision.FLOAT32
        self._work: Work | None = None
        self._taken: Taken | None = None
        self._waiting: tuple[str, float] | None = None
        self._by_node: Counter[str] = Counter()
        self._n_odd: Counter[str] = Counter()
        self._n_workers = self._n_asked_twice = 0
        try:
            self.facts: ExecutorFacts = self._members.gather_facts()
        except BaseException:
            pool.close()
            raise

    @property
    def n_batches_at_once(self) -> int:
        """Two for each worker: it decodes one while it computes the other."""
        return BLOCKS_PER_WORKER * max(1, len(self._members.ready()) or self._n_workers)

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
        part = taken.part(first, n_sequences, self._n_on_time())
        self._by_node[taken.node] += len(part.records)
        return part

    def sample(self, sequences: Iterable[Sequence], precision: Precision) -> Block:
        """Records of any sequences at full effort."""
        self.load(precision)
        self._effort, whole = Effort.FULL, list(sequences)
        work = self._begin(whole, 0, len(whole), self._options.batch_size)
        blocks: list[Block] = []
        for first in range(0, len(whole), self._options.batch_size):
            blocks += self._wait_for(work, first)[1]
        self._forget_blocks()
        return Taken(0, blocks, "").part(0, len(whole), self._n_on_time())

    def prove(self, precision: Precision) -> Block:
        """Records of the bundle's proof set."""
        self.load(precision)
        _, [block] = self._wait_for(self._begin((), 0, 1, 1), 0)
        self._forget_blocks()
        return block

    def figures(self) -> dict[str, Any]:
        """`cluster`: its workers."""
        cluster = {
            "workers": self._n_workers,
            "lost": self._members.n_lost,
            "asked_twice": self._n_asked_twice,
            "left_out": self._members.left_out,
            "sequences_by_node": dict(self._by_node),
        }
        return {"cluster": cluster}

    def status(self) -> dict[str, Any]:
        """Its workers, and for which sequences the run waits."""
        name, since = self._waiting or (None, time.monotonic())
        seconds = round(time.monotonic() - since, 1)
        return {"workers": len(self._members.ready()), "waiting_for": name, "waiting_seconds": seconds}

    def close(self) -> None:
        """End the workers."""
        self._n_workers = len(self._members.by_name) or self._n_workers
        self._pool.close()
        self._members.forget()
        self._forget_blocks()

    def _forget_blocks(self) -> None:
        self._n_asked_twice += self._work.queue.n_asked_twice if self._work else 0
        self._work = self._taken = None

    def _begin(self, sequences: Sequences[Sequence], first: int, end: int, size: int) -> Work:
        self._forget_blocks()
        self._work = work = Work(sequences, BlockQueue(first, end, size))
        return work

    def _n_on_time(self) -> int:
        """Workers without an overdue call, at least one."""
        ready = self._members.ready()
        return max(1, self._work.queue.n_on_time(ready, time.monotonic()) if self._work else len(ready))

    def _take(self, first: int) -> Taken:
        """Wait for the block of a sequence."""
        size = (1 if self._options.budget else BATCHES_PER_BLOCK) * self._options.batch_size
        work = self._work
        if work is None or self._taken is None or first != self._taken.end:
            work = self._begin(self._job.sequences, first, len(self._job.sequences), size)
        node, blocks = self._wait_for(work, first)
        return Taken(first, blocks, node)

    def _wait_for(self, work: Work, first: int) -> tuple[str, list[Block]]:
        """The block that begins with a sequence, and the node that computed it."""
        block, begun = work.queue.block_of(first), time.monotonic()
        self._waiting, logged = (work.names(block), begun), begun
        seconds = 0.0  # workers get their next blocks although the answer may be there
        with self._stopwatch(WAIT):
            while True:
                self._hand_out(work)
                for done in self._members.turn(seconds):
                    self._keep(work, done)
                if (answer := work.queue.take(block)) is not None:
                    self._waiting = None
                    return answer
                seconds = POLL_SECONDS
                if time.monotonic() - logged > LONG_WAIT:
                    logged = time.monotonic()
                    log.warning("waiting for a worker", work=work.names(block), seconds=round(logged - begun))

    def _hand_out(self, work: Work) -> None:
        queue, ready = work.queue, self._members.ready()
        queue.keep_workers(self._members.by_name)
        now, nodes = time.monotonic(), self._members.nodes
        on_time = {nodes[name] for name in ready if queue.n_on_time([name], now)}
        for name in ready:
            while (block := queue.give(name, now, len(ready), nodes[name], on_time)) is not None:
                first, end = queue.range_of(block)
                if work.sequences:
                    self._pool.call(
                        name, COMPUTE, (work, block), work.sequences[first:end], self._effort, self._precision
                    )
                else:
                    self._pool.call(name, PROVE, (work, block), self._precision)

    def _keep(self, work: Work, done: Done) -> None:
        """Keep the records of a block, or give it to another worker."""
        if done.has_died:
            work.queue.lose(done.worker)
            if (block := work.queue.deadly) is not None:
                raise WorkersLostError(
                    f"{work.names(block)}: must be computed by a worker, but several workers ended while computing them, "
                    f"the last one with: {done.error}; earlier records are kept"
                )
            return
        if done.tag[0] is not work:
            return
        block, node = done.tag[1], self._members.nodes[done.worker]
        if done.error and done.worker not in self._members.by_name:
            return  # stopped after an earlier error: its blocks are taken back
        if done.error:
            self._check_errors(work, block, done.worker, done.error)
            log.warning("a worker failed, another one computes its block", error=str(done.error))
            work.queue.give_back(done.worker, block, node)
            self._members.stop(done.worker, done.error)
            return
        self._members.has_computed(done.worker)
        if odd := self._odd_photo(done.result):
            photo, reason = odd
            work.queue.give_back(done.worker, block, node)
            self._n_odd[node] += reason != FailureReason.TIMED_OUT  # other blocks may have met the same delay
            if (block, node) in work.odd or self._n_odd[node] >= MAX_ODD:
                self._members.leave_out(node, f"does not see photo {photo} ({reason}) as the driver does")
            work.odd.add((block, node))
        else:
            self._n_odd[node] = 0
            work.queue.answer(done.worker, block, (node, done.result), time.monotonic())

    def _check_errors(self, work: Work, block: int, worker: str, error: Exception) -> None:
        """Raise the error of a worker if it is that of the block: others have failed, too, or there are none."""
        failed, members = work.failed[block], self._members.by_name
        failed.append(members[worker].place.name)
        others = {members[name].place.name for name in self._members.ready()} - {*failed}
        if len(failed) >= MAX_ERRORS and (len({*failed}) >= MAX_ERRORS or not others):
            raise error

    def _odd_photo(self, blocks: list[Block]) -> tuple[str, str] | None:
        """A photo that a worker could not use, or only in part, for a reason that the driver does not find, and the reason.

        The driver reads it, but does not decode it: the decoders are the same.
        """
        storage = self._job.storage(self._options.read_timeout)
        records = [record for block in blocks for record in block.records]
        problems = [(one.file_name, str(one.reason)) for record in records for one in record.failures]
        problems += [(name, CUT_SHORT) for record in records for name in record.cut_short]
        for name, found in sorted(problems, key=lambda one: one[1] in IO_FAILURES):  # these last
            data = read_image_file(storage, name)
            if isinstance(data, bytes):
                expected = {str(FailureReason.CANNOT_DECODE), *([CUT_SHORT] if is_cut_short(data) else [])}
            else:
                expected = set(map(str, IO_FAILURES if data.reason in IO_FAILURES else [data.reason]))
            if found not in expected:
                return name, found
            if found in IO_FAILURES:
                return None  # the next ones would take as long
        return None
