"""Decides which worker computes which block of sequences, and which answers count: no threads, no clock of its own.

A block is a range of the job's sequences, cut at multiples of one size, so that every batch in it is the one of a single
machine. Answers to the same block are the same bytes, so the first one counts.
"""

import statistics
from collections import Counter, deque
from collections.abc import Container, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

MAX_DEATHS = 3
"""Workers that may die over one block."""
WINDOW_PER_WORKER, MIN_WINDOW = 4, 64
"""Blocks between the first one that is missing and the last one that is handed out. Limits the driver's memory."""
OVERDUE = 3.0
"""Multiple of the median time after which another worker gets a block too."""
MIN_TIMES, UNMEASURED_SECONDS = 3, 60.0
"""Blocks behind the median; while fewer are finished, a block is overdue after these seconds."""
N_TIMES = 64
"""Latest times behind the median."""
BLOCKS_PER_WORKER = 2
"""Blocks of one worker at a time: one in the networks, one being decoded."""


@dataclass
class BlockQueue(Generic[Answer]):
    """The blocks of the sequences `first` to `end`, not included.

    Attributes
    ----------
    size : sequences in a block
    n_asked_twice : blocks that a second worker was given, because the first one died or was slow
    """

    first: int
    end: int
    size: int
    n_asked_twice: int = 0
    _answers: dict[int, Answer] = field(default_factory=dict)
    _given: dict[int, dict[str, float]] = field(default_factory=dict)
    _calls: dict[str, dict[int, float]] = field(default_factory=dict)
    _lost: set[int] = field(default_factory=set)
    _deaths: Counter[int] = field(default_factory=Counter)
    _avoided: dict[int, set[str]] = field(default_factory=dict)
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=N_TIMES))

    def __post_init__(self) -> None:
        """Begin at the block of the first sequence."""
        self._head = self._next = self.first // self.size
        self._last = (self.end - 1) // self.size if self.end > self.first else self._head - 1

    def range_of(self, block: int) -> tuple[int, int]:
        """First sequence and end of a block."""
        return max(self.first, block * self.size), min(self.end, (block + 1) * self.size)

    def block_of(self, sequence: int) -> int:
        """The block of a sequence."""
        return sequence // self.size

    def give(
        self, worker: str, now: float, n_workers: int = 1, node: str = "", on_time: AbstractSet[str] = frozenset()
    ) -> int | None:
        """The block that a worker computes next; None if there is nothing for it now.

        `node` is that of the worker, `on_time` are the nodes whose workers are on time.
        """
        own = self._calls.get(worker, {})  # also those that another worker has answered: it may hang
        if len(own) >= BLOCKS_PER_WORKER or any(self._deaths[block] for block in own):
            return None
        avoided = {block for block, nodes in self._avoided.items() if node in nodes and on_time - nodes}
        block = self._choose(worker, now, n_workers, avoided, is_idle=not own)
        if block is not None:
            self._lost.discard(block)
            self._next = max(self._next, block + 1)
            self.n_asked_twice += bool(self._given.get(block)) or bool(self._deaths[block])
            self._given.setdefault(block, {})[worker] = self._calls.setdefault(worker, {})[block] = now
        return block

    def _choose(self, worker: str, now: float, n_workers: int, avoided: set[int], *, is_idle: bool) -> int | None:
        # A block that a worker died over may kill the next one, so it is the only one of its worker.
        for block in sorted(self._lost - avoided):
            if is_idle or not self._deaths[block]:
                return block
            if block == self._head:
                return None  # nothing can be written before it: the worker has to become idle
        if self._is_overdue(self._head, worker, now):
            return self._head
        window = max(MIN_WINDOW, WINDOW_PER_WORKER * n_workers)
        if self._next <= self._last and self._next < self._head + window:
            return self._next
        overdue = (block for block in sorted(self._given) if is_idle and self._is_overdue(block, worker, now))
        return next(overdue, None)

    def _is_overdue(self, block: int, worker: str, now: float) -> bool:
        given = self._given.get(block, {})
        return bool(given) and worker not in given and now - max(given.values()) > self._longest()

    def _longest(self) -> float:
        is_measured = len(self._times) >= MIN_TIMES
        return OVERDUE * statistics.median(self._times) if is_measured else UNMEASURED_SECONDS

    def n_on_time(self, workers: Iterable[str], now: float) -> int:
        """Number of these workers without an overdue block."""
        limit = now - self._longest()
        return sum(all(given >= limit for given in self._calls.get(worker, {}).values()) for worker in workers)

    def answer(self, worker: str, block: int, answer: Answer, now: float) -> None:
        """Keep the first answer to a block."""
        if (given := self._calls.get(worker, {}).pop(block, None)) is not None:
            self._times.append(now - given)
        self._given.pop(block, None)
        self._lost.discard(block)
        if block >= self._head:
            self._answers.setdefault(block, answer)

    def lose(self, worker: str, *, has_died: bool = True) -> None:
        """Take back the blocks of a worker, which it may not have begun."""
        for block in [block for block, workers in self._given.items() if worker in workers]:
            del self._given[block][worker]
            if not self._given[block]:
                del self._given[block]
                self._lost.add(block)
            self._deaths[block] += has_died
        self._calls.pop(worker, None)

    def keep_workers(self, alive: Container[str]) -> None:
        """Take back the blocks of all workers that are not alive."""
        for worker in [worker for worker in self._calls if worker not in alive]:
            self.lose(worker, has_died=False)

    def give_back(self, worker: str, block: int, node: str) -> None:
        """Compute a block of a worker anew, by nodes that have not given it back if there are any."""
        self._calls.get(worker, {}).pop(block, None)
        if block < self._head or block in self._answers:
            return
        self._given.pop(block, None)
        self._lost.add(block)
        self._avoided.setdefault(block, set()).add(node)
        self.n_asked_twice += 1

    @property
    def deadly(self) -> int | None:
        """A block over which too many workers have died."""
        return next((block for block, n in self._deaths.items() if n >= MAX_DEATHS), None)

    def take(self, block: int) -> Answer | None:
        """The answer to a block, which is forgotten with all earlier ones; None while it is missing."""
        if block not in self._answers:
            return None
        for earlier in [one for one in self._answers if one < block]:
            del self._answers[earlier]
        self._head = block + 1
        return self._answers.pop(block)
