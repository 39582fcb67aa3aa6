"""A pool whose workers are objects of this process, which end, fail and differ as a test wants."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference.bundle.reader import Bundle
from inference.execution.cluster.block_worker import BlockWorker, WorkerFacts, WorkerSpec
from inference.execution.cluster.cluster_executor import ClusterExecutor
from inference.execution.cluster.pool import Done, Place
from inference.execution.job import Job, RunOptions
from inference.process.stopwatch import Stopwatch
from runtime_tests.running import job_for, run_job

OPTIONS = RunOptions(n_workers=1, batch_size=1)


@dataclass
class InProcessPool:
    """One worker for each node, or for each place such as `a GPU 0`; calls run in a random order, when their outcome is asked for.

    Attributes
    ----------
    nodes : how the facts of a node's workers differ from the truth, by its address
    probes : how the answers of a node's networks to the probe differ from those of this machine, by its address
    ends : whether a worker ends instead of a call: from its node, the method and the number of the call on that node
    fails : the error that a call raises instead of its work, or None
    kills : sequences over which a worker ends
    hangs : nodes whose blocks do not end
    blind : another folder in place of the photos, by node; it appears after the first look
    calls : node and method of every call
    """

    nodes: Mapping[str, Callable[[WorkerFacts], WorkerFacts]] = field(
        default_factory=lambda: {"a": lambda facts: facts, "b": lambda facts: facts}
    )
    probes: Mapping[str, float] = field(default_factory=dict)
    ends: Callable[[str, str, int], bool] = lambda *_: False
    fails: Callable[[str, str, int], Exception | None] = lambda *_: None
    kills: frozenset[str] = frozenset()
    hangs: frozenset[str] = frozenset()
    blind: Mapping[str, Path] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    n_run: Counter[tuple[str, str]] = field(default_factory=Counter)
    is_closed: bool = False
    seed: int = 0

    def __call__(
        self, job: Job, options: RunOptions, stopwatch: Stopwatch, check: Callable[[], None]
    ) -> ClusterExecutor:
        """The executor of a job."""
        self._spec = WorkerSpec.of(job, options, check)
        self._workers: dict[str, tuple[str, BlockWorker]] = {}
        self._waiting: list[tuple[str, str, object, tuple[Any, ...]]] = []
        self._chance = random.Random(self.seed)  # noqa: S311  # a schedule
        self._n_started = 0
        return ClusterExecutor(job, options, stopwatch, check, self)

    def refresh(self, left_out: Container[str]) -> Mapping[str, Place]:
        for node in self.nodes:
            is_left_out = node in left_out or _machine(node) in left_out
            if not is_left_out and node not in {one for one, _ in self._workers.values()}:
                self._workers[f"{node}{self._n_started}"] = node, BlockWorker(self._spec, 1)
                self._n_started += 1
        return {name: Place(_machine(node), node) for name, (node, _) in self._workers.items()}

    def call(self, worker: str, method: str, tag: object, *arguments: object) -> None:
        self.calls.append((self._node(worker), method))
        self._waiting.append((worker, method, tag, arguments))

    def finished(self, seconds: float) -> list[Done]:
        """Up to three calls at once."""
        if not self._can_end():
            time.sleep(min(seconds, 0.001))
        return [self._next() for _ in range(min(len(self._can_end()), self._chance.randint(1, 3))) if self._can_end()]

    def _can_end(self) -> list[int]:
        """Numbers of calls that wait for their outcome and do not hang."""
        numbered = enumerate(self._waiting)
        return [k for k, (name, method, *_) in numbered if method != "compute" or self._node(name) not in self.hangs]

    def _node(self, worker: str) -> str:
        return self._workers[worker][0]

    def _next(self) -> Done:
        worker, method, tag, arguments = self._waiting.pop(self._chance.choice(self._can_end()))
        node, one = self._workers[worker]
        self.n_run[node, method] += 1
        number = self.n_run[node, method]
        computed = {one.seq_id for one in arguments[0]} if method == "compute" else set()
        if self.ends(node, method, number) or not self.kills.isdisjoint(computed):
            self._forget(worker)
            return Done(worker, method, tag, error=RuntimeError("killed"), has_died=True)
        if error := self.fails(node, method, number):
            return Done(worker, method, tag, error=error)
        if method == "compute" and node in self.blind:
            one = BlockWorker(self._blinded(node), 1)
            one.facts()
        try:
            result = getattr(one, method)(*arguments)
        except Exception as error:  # noqa: BLE001  # as another process reports it
            return Done(worker, method, tag, error=error)
        if method == "load":
            result = result + np.float32(self.probes.get(node, 0.0))
        return Done(worker, method, tag, self.nodes[node](result) if method == "facts" else result)

    def _blinded(self, node: str) -> WorkerSpec:
        return replace(self._spec, job=replace(self._spec.job, photos=str(self.blind[node])), witnesses={})

    def stop(self, worker: str) -> None:
        self._forget(worker)

    def close(self) -> None:
        self.is_closed = True
        for worker in list(self._workers):
            self._forget(worker)

    def _forget(self, worker: str) -> None:
        self._workers.pop(worker, None)
        self._waiting = [call for call in self._waiting if call[0] != worker]


def run_on(
    pool: InProcessPool, season: Path, bundle: Bundle, out: Path, options: RunOptions = OPTIONS
) -> dict[str, Any]:
    """Predict a season by the workers of a pool; returns the report."""
    return run_job(job_for(season, bundle), out, options, executor_for=pool)


def _machine(place: str) -> str:
    return place.partition(" GPU")[0]


def with_other(**values: object) -> Callable[[WorkerFacts], WorkerFacts]:
    """Facts of a worker with other values."""
    return lambda facts: replace(facts, **values)  # type: ignore[arg-type]
