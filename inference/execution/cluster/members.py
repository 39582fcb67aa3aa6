"""The workers of a cluster: which of them compute the same records as the others, and why the rest is left out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields

import numpy as np
import structlog

from inference.core import version
from inference.core.choices import Precision
from inference.core.errors import HakunaError, WorkersLostError
from inference.core.sequences import Probabilities
from inference.execution.cluster.block_worker import WorkerFacts
from inference.execution.cluster.pool import Done, Pool
from inference.execution.executor import ExecutorFacts
from inference.networks.engine import CPU
from inference.networks.probe import LARGEST_GPU_DIFFERENCE

log = structlog.get_logger()

POLL_SECONDS = 0.2
"""Interval at which a waiting run checks whether it has to stop."""
REFRESH_SECONDS = 5.0
"""Interval at which workers are started on nodes that lack one."""
GATHER_SECONDS = 10.0
"""Time for other workers to answer after the first one has."""
START_SECONDS = 300.0
"""Longest time until the first worker answers: it hashes the bundle, or loads the networks."""
MAX_FRUITLESS = 3
"""Workers in a row that may end without a record."""
FACTS, LOAD = "facts", "load"
"""Methods of a worker."""


@dataclass
class Member:
    """A worker, and its answers so far."""

    node: str
    facts: WorkerFacts | None = None
    asked: Precision | None = None
    loaded: Precision | None = None
    probe: Probabilities | None = None


@dataclass
class Members:
    """The workers of a pool. Those that could compute other records are left out, by the address of their node.

    Attributes
    ----------
    check : called often; raises to stop the run
    by_name : workers that are not left out
    left_out : reason by node
    n_lost : workers that ended
    """

    pool: Pool
    bundle_id: str
    check: Callable[[], None]
    by_name: dict[str, Member] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    n_lost: int = 0
    _facts: ExecutorFacts | None = None
    _precision: Precision | None = None
    _probe: Probabilities | None = None
    _errors: list[Exception] = field(default_factory=list)
    _n_fruitless: int = 0
    _refreshed: float = -REFRESH_SECONDS

    def ready(self) -> list[str]:
        """Workers whose networks are loaded in the precision of the run and answer the probe like the others."""
        return [name for name, one in self.by_name.items() if self._precision and one.loaded is self._precision]

    def gather_facts(self) -> ExecutorFacts:
        """The facts of most workers; the others are left out. Raises WorkersLostError if none is usable."""
        known = self._gather(lambda one: one.facts is not None)
        [(facts, _)] = Counter(one.facts.executor for one in known if one.facts).most_common(1)
        self._facts = facts
        for name, one in list(self.by_name.items()):
            if one.facts:
                self._compare_facts(name, one.facts)
        return facts

    def load(self, precision: Precision) -> Probabilities:
        """Load the networks of all workers; returns the answers of most of them to the probe, the others are left out."""
        if self._probe is not None and precision is self._precision:
            return self._probe
        self._precision, self._probe = precision, None
        known = self._gather(lambda one: one.loaded is precision)
        probes = [one.probe for one in known if one.probe is not None]
        self._probe = probe = max(probes, key=lambda probe: sum(self._agree(probe, other) for other in probes))
        for name in self.ready():
            self._compare_probe(name)
        return probe

    def turn(self, seconds: float = POLL_SECONDS) -> list[Done]:
        """Look for new workers and keep their facts; returns the ends of all other calls."""
        self.check()
        if time.monotonic() - self._refreshed > REFRESH_SECONDS:
            self._refreshed = time.monotonic()
            for name, node in self.pool.refresh().items():
                if name not in self.by_name:
                    self.by_name[name] = Member(node)
                    self.pool.call(name, FACTS, 0)
        for name, one in self.by_name.items():
            if one.facts and self._facts and self._precision and one.asked is not self._precision:
                one.asked = self._precision
                self.pool.call(name, LOAD, 0, self._precision)
        return [done for done in self.pool.finished(seconds) if not self._is_handled(done)]

    def has_answered(self) -> None:
        """A worker has computed something: the next ones may fail again."""
        self._n_fruitless = 0

    def stop(self, name: str) -> None:
        """End a worker; its node gets another one."""
        del self.by_name[name]
        self.pool.stop(name, leave_out=False)
        self._refreshed = -REFRESH_SECONDS

    def forget(self) -> None:
        """The pool has ended all workers; the next turn starts others."""
        self.by_name.clear()
        self._refreshed = -REFRESH_SECONDS

    def leave_out(self, name: str, reason: str, error: Exception | None = None) -> None:
        """Continue without a worker and its node; `error` is the reason, if it has raised one."""
        member = self.by_name.pop(name)
        self.left_out[member.node] = reason
        self._errors += [error] if error else []
        log.warning("a worker is left out", node=member.node, reason=reason)
        self.pool.stop(name, leave_out=True)

    def _gather(self, is_done: Callable[[Member], bool]) -> list[Member]:
        """Members that are done, once all are, or some time after the first one."""
        begun = time.monotonic()
        first = None
        while True:
            self.turn()
            done = [one for one in self.by_name.values() if is_done(one)]
            now = time.monotonic()
            first = first or (now if done else None)
            if done and (len(done) == len(self.by_name) or (first and now - first > GATHER_SECONDS)):
                return done
            if (not self.by_name and self.left_out) or now - begun > START_SECONDS:
                raise self._none_left()

    def _none_left(self) -> HakunaError:
        kinds = {type(error) for error in self._errors}
        if len(self._errors) == len(self.left_out) and len(kinds) == 1 and isinstance(self._errors[0], HakunaError):
            return self._errors[0]
        reasons = (
            "; ".join(f"{node}: {reason}" for node, reason in sorted(self.left_out.items())) or "no worker answered"
        )
        return WorkersLostError(f"cluster: must have a worker that can compute this run, but {reasons}")

    def _is_handled(self, done: Done) -> bool:
        """Whether a call was about the worker itself. Raises WorkersLostError if too many have ended."""
        member = self.by_name.get(done.worker)
        if member is None:
            return True
        if done.has_died:
            del self.by_name[done.worker]
            self.n_lost, self._n_fruitless = self.n_lost + 1, self._n_fruitless + 1
            log.warning("a worker has ended", node=member.node, reason=str(done.error))
            if self._n_fruitless > MAX_FRUITLESS:
                raise WorkersLostError(
                    f"cluster: {self._n_fruitless} workers ended in a row without a record, the last one on "
                    f"{member.node}: {done.error}; records are kept, run again to resume"
                )
            self._refreshed = -REFRESH_SECONDS
            return False
        if done.method not in (FACTS, LOAD):
            return False
        if done.error:
            self.leave_out(done.worker, f"{done.method}: {done.error}", done.error)
        elif done.method == FACTS:
            member.facts = done.result
            self._compare_facts(done.worker, done.result)
        else:
            member.loaded, member.probe = member.asked, done.result
            self._compare_probe(done.worker)
        return True

    def _compare_facts(self, name: str, facts: WorkerFacts) -> None:
        wanted = {"version": version.hakuna_version(), "bundle": self.bundle_id}
        found = {"version": facts.version, "bundle": facts.bundle}
        if self._facts:
            names = [one.name for one in fields(ExecutorFacts)]
            wanted |= {one: getattr(self._facts, one) for one in names}
            found |= {one: getattr(facts.executor, one) for one in names}
        if facts.missing:
            self.leave_out(name, f"does not see photo {facts.missing[0]}")
        elif different := [one for one in wanted if wanted[one] != found[one]]:
            self.leave_out(name, "; ".join(f"{one}: must be {wanted[one]}, got {found[one]}" for one in different))

    def _compare_probe(self, name: str) -> None:
        member = self.by_name[name]
        if self._probe is not None and member.probe is not None and not self._agree(self._probe, member.probe):
            self.leave_out(name, "its networks answer the probe differently: another kind of processor")

    def _agree(self, one: Probabilities, other: Probabilities) -> bool:
        bound = 0.0 if self._facts and self._facts.device == CPU else LARGEST_GPU_DIFFERENCE
        return one.shape == other.shape and float(np.abs(one - other).max(initial=0.0)) <= bound
