"""The workers of a cluster: which of them compute the same records as the others, and why the rest is left out."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import structlog

from inference.core import version
from inference.core.choices import Precision
from inference.core.errors import HakunaError, WorkersLostError
from inference.core.sequences import Probabilities
from inference.execution.cluster.block_worker import WorkerFacts
from inference.execution.cluster.pool import Done, Place, Pool
from inference.execution.executor import ExecutorFacts
from inference.execution.job import Job
from inference.networks.engine import CPU
from inference.networks.probe import LARGEST_GPU_DIFFERENCE
from inference.process.watchdog import POLL_SECONDS

log = structlog.get_logger()

REFRESH_SECONDS = 5.0
"""Interval at which workers are started on nodes that lack one."""
GATHER_SECONDS = 10.0
"""Time for other workers to answer after the first one has."""
START_SECONDS = 300.0
"""Longest time until the first worker answers: it hashes the bundle, or loads the networks."""
START_SHARE = 0.5
"""Share of a budget that this may take."""
MAX_FRUITLESS = 3
"""Workers of a place in a row that may end without a record."""
FACTS, LOAD = "facts", "load"
"""Methods of a worker."""


@dataclass
class Member:
    """A worker, and its answers so far."""

    place: Place
    has_computed: bool = False
    facts: WorkerFacts | None = None
    asked: Precision | None = None
    loaded: Precision | None = None
    probe: Probabilities | None = None


@dataclass
class Members:
    """The workers of a pool. Those that could compute other records are left out, by the name of their node or place.

    Attributes
    ----------
    check : called often; raises to stop the run
    budget : seconds that the run may take
    by_name : workers that are not left out
    nodes : the node of every worker so far
    left_out : reason by node, or by place if others of the node may be usable
    n_lost : workers that ended
    """

    pool: Pool
    job: Job
    check: Callable[[], None]
    budget: float = math.inf
    by_name: dict[str, Member] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    n_lost: int = 0
    _facts: ExecutorFacts | None = None
    _precision: Precision | None = None
    _probes: dict[Precision, Probabilities] = field(default_factory=dict)
    _alike: set[str] = field(default_factory=set)
    _errors: dict[str, Exception] = field(default_factory=dict)
    _n_fruitless: Counter[str] = field(default_factory=Counter)
    _refreshed: float = -REFRESH_SECONDS
    _lacking_since: float | None = None

    def ready(self) -> list[str]:
        """Workers whose networks are loaded in the precision of the run and answer the probe like the others."""
        members = list(self.by_name.items())  # the heartbeat's thread asks, too
        return [name for name, one in members if self._precision and one.loaded is self._precision]

    def gather_facts(self) -> ExecutorFacts:
        """The facts of existing records if a worker has them, else those of most workers; the others are left out.

        Raises WorkersLostError if none is usable.
        """
        known = self._gather(lambda one: one.facts is not None, self._has_begun)
        found = [one.facts.executor for one in known if one.facts]
        begun = [one.facts.executor for one in known if one.facts and self._has_begun(one)]
        count = Counter(map(_decisive, found))
        facts = max(begun or found, key=lambda one: count[_decisive(one)])
        offered = [set(one.lower_precisions) for one in begun or found if _decisive(one) == _decisive(facts)]
        lower = tuple(one for one in facts.lower_precisions if all(one in offers for offers in offered))
        self._facts = facts = replace(facts, lower_precisions=lower)
        for name, one in list(self.by_name.items()):
            if one.facts and name in self.by_name:
                self._compare_facts(name, one.facts)
        return facts

    def load(self, precision: Precision) -> Probabilities:
        """Load the networks of all workers; returns the answers to the probe, those that differ are left out.

        The answers are those of existing records if a worker gives them, else those of most workers; of as many, the first.
        """
        self._precision = precision
        if precision not in self._probes:
            self._probes[precision] = self._first_probe(precision)
            for name in self.ready():
                if name in self.by_name:
                    self._compare_probe(name)
        return self._probes[precision]

    def _first_probe(self, precision: Precision) -> Probabilities:
        left_out, errors = dict(self.left_out), dict(self._errors)
        try:
            known = self._gather(lambda one: one.loaded is precision, self._answers_as_begun)
        except HakunaError as error:  # the run may continue in the other precision
            own = [one for name, one in self._errors.items() if name not in errors]
            self._precision, self.left_out, self._errors = None, left_out, errors
            if own and isinstance(error, WorkersLostError):
                raise own[-1] from error
            raise
        if self._alike:  # in mid-run: nodes of another kind may have joined since
            known = [one for one in known if one.place.name in self._alike]
        as_begun = [one for one in known if self._answers_as_begun(one)]
        probes = [one.probe for one in as_begun or known if one.probe is not None]
        if not probes:
            raise RuntimeError(f"no worker of this run has loaded its networks in {precision}")
        return max(probes, key=lambda probe: sum(self._agree(probe, other) for other in probes))

    def turn(self, seconds: float = POLL_SECONDS) -> list[Done]:
        """Look for new workers and keep their facts; returns the ends of all other calls."""
        self.check()
        if time.monotonic() - self._refreshed > REFRESH_SECONDS:
            self._refreshed = time.monotonic()
            for name, place in self.pool.refresh(self.left_out).items():
                if name not in self.by_name and place.name not in self.left_out:
                    self.by_name[name], self.nodes[name] = Member(place), place.node
                    self.pool.call(name, FACTS, None)
            if self.left_out and not self.by_name and self._precision not in self._probes:
                raise self._none_left()
        for name, one in self.by_name.items():
            if one.facts and self._facts and self._precision and one.asked is not self._precision:
                one.asked = self._precision
                self.pool.call(name, LOAD, self._precision, self._precision)
        done = [done for done in self.pool.finished(seconds) if not self._is_handled(done)]
        has_facts = self._facts is None and any(one.facts for one in self.by_name.values())
        if self._lacking(is_usable=has_facts or bool(self.ready())) > self._patience:
            raise self._none_left()
        return done

    @property
    def _patience(self) -> float:
        """Seconds to wait for a first worker that can be used."""
        return min(START_SECONDS, START_SHARE * self.budget)

    def _lacking(self, *, is_usable: bool) -> float:
        """Seconds since the last moment with a usable worker, or since the first turn."""
        now = time.monotonic()
        if is_usable or self._lacking_since is None:
            self._lacking_since = now
        return now - self._lacking_since

    def has_computed(self, name: str) -> None:
        """A worker has answered: its node may try again after further failures."""
        if name in self.by_name:
            self.by_name[name].has_computed = True
            self._n_fruitless[self.by_name[name].place.name] = 0

    def stop(self, name: str, error: Exception | None = None) -> None:
        """End a worker, because of an error if there is one; its node gets another one."""
        if member := self.by_name.pop(name, None):
            self.pool.stop(name)
            self._refreshed = -REFRESH_SECONDS
            if error:
                self._count_fruitless(member, error)

    def forget(self) -> None:
        """The pool has ended all workers; the next turn starts others."""
        self.by_name.clear()
        self._alike.clear()
        self._refreshed, self._lacking_since = -REFRESH_SECONDS, None

    def leave_out(self, node: str, reason: str, error: Exception | None = None) -> None:
        """Continue without the workers of a node, or of a place; `error` is the reason, if one of them has raised it.

        The worker of a place of a larger node does not end: its GPU would be given to the next one.
        """
        self.left_out[node] = reason
        if error:
            self._errors[node] = error
        log.warning("a node is left out", node=node, reason=reason)
        for name, place in [(name, one.place) for name, one in self.by_name.items() if node in one.place]:
            if node == place.node:
                self.stop(name)
            else:
                del self.by_name[name]

    def _has_begun(self, member: Member) -> bool:
        """Whether a worker has the facts of the existing records, if there are any."""
        if self.job.begun is None or member.facts is None:
            return self.job.begun is None
        begun, facts = self.job.begun, member.facts.executor
        offered = (Precision.FLOAT32, *facts.lower_precisions)
        has_precision = begun.precision.get("used", Precision.FLOAT32) in offered
        alike = (begun.fingerprint.get(name) == getattr(facts, name) for name in ("engine", "device", "pixels"))
        return has_precision and all(alike)

    def _answers_as_begun(self, member: Member) -> bool:
        """Whether a worker's networks answer the probe like those of the existing records in this precision, if any."""
        begun = self.job.begun
        if begun is None or begun.precision.get("used") != self._precision or member.probe is None:
            return member.probe is not None
        return self._agree(np.asarray(begun.probe, np.float32), member.probe.ravel())

    def _gather(self, is_done: Callable[[Member], bool], is_wanted: Callable[[Member], bool]) -> list[Member]:
        """Members that are done: once all are, or some time after the first one, longer if none is wanted."""
        first = self._lacking_since = None
        while True:
            self.turn()
            done = [one for one in self.by_name.values() if is_done(one)]
            now = time.monotonic()
            first = first or (now if done else None)
            limit = GATHER_SECONDS if any(is_wanted(one) for one in done) else self._patience
            if first and done and (now - first > limit or len(done) == len(self.by_name)):
                return done

    def _none_left(self) -> HakunaError:
        errors = list(self._errors.values())
        if self._errors.keys() >= self.left_out.keys() and len({type(one) for one in errors}) == 1:
            [error, *_] = errors
            if isinstance(error, HakunaError):
                return error
        reasons = (
            "; ".join(f"{node}: {reason}" for node, reason in sorted(self.left_out.items())) or "no worker answered"
        )
        return WorkersLostError(f"cluster: must have a worker that can compute this run, but {reasons}")

    def _is_handled(self, done: Done) -> bool:
        """Whether a call was about the worker itself."""
        member = self.by_name.get(done.worker)
        if member is None:
            return True
        if done.has_died:
            self._count_lost(self.by_name.pop(done.worker), done.error)
            return False
        if done.method not in (FACTS, LOAD):
            return False
        if done.method == LOAD and done.tag is not member.asked:
            return True
        if done.error:
            self.leave_out(member.place.name, f"{done.method}: {done.error}", done.error)
        elif done.method == FACTS:
            member.facts = done.result
            self._compare_facts(done.worker, done.result)
        else:
            member.loaded, member.probe = member.asked, done.result
            self._compare_probe(done.worker)
        return True

    def _count_lost(self, member: Member, error: Exception | None) -> None:
        self.n_lost += 1
        log.warning("a worker has ended", node=member.place.name, reason=str(error))
        if member.has_computed:
            self._refreshed = -REFRESH_SECONDS  # otherwise the next one waits for its turn
        self._count_fruitless(member, error)

    def _count_fruitless(self, member: Member, error: Exception | None) -> None:
        place = member.place.name
        self._n_fruitless[place] += not member.has_computed
        if self._n_fruitless[place] >= MAX_FRUITLESS:
            self.leave_out(place, f"its workers end without a record, the last one with: {error}")

    def _compare_facts(self, name: str, facts: WorkerFacts) -> None:
        place, common = self.by_name[name].place, self._facts or facts.executor
        own = {"version": version.hakuna_version(), "bundle": self.job.bundle.id}
        kinds = [asdict(_decisive(one)) for one in (common, facts.executor)]
        same_node = [one for other, one in self.by_name.items() if one.place.node == place.node and other != name]
        if facts.odd_photo:
            self.leave_out(place.node, f"does not see photo {facts.odd_photo} as the driver does")
        elif reason := _differences(own, {"version": facts.version, "bundle": facts.bundle}):
            self.leave_out(place.node, reason)
        elif reason := _differences(*kinds):
            self.leave_out(place.name, reason)
        elif facts.executor.device == CPU and any(one.facts and one.facts.executor.device == CPU for one in same_node):
            self.leave_out(place.name, "its networks run on the CPU, which another worker of its node uses")

    def _compare_probe(self, name: str) -> None:
        member, probe = self.by_name[name], self._probes.get(self._precision) if self._precision else None
        if probe is None or member.probe is None:
            return
        if self._agree(probe, member.probe):
            self._alike.add(member.place.name)
        else:
            self.leave_out(member.place.name, "its networks answer the probe differently: another kind of processor")

    def _agree(self, one: Probabilities, other: Probabilities) -> bool:
        bound = 0.0 if self._facts and self._facts.device == CPU else LARGEST_GPU_DIFFERENCE
        return one.shape == other.shape and float(np.abs(one - other).max(initial=0.0)) <= bound


def _differences(wanted: dict[str, str], found: dict[str, str]) -> str:
    """The differences, for a message; "" without any."""
    return "; ".join(f"{one}: must be {wanted[one]}, got {found[one]}" for one in wanted if wanted[one] != found[one])


def _decisive(facts: ExecutorFacts) -> ExecutorFacts:
    """The facts that must be the same on all nodes. The probe decides about the kind of processor."""
    return replace(facts, lower_precisions=())
