"""Workers as actors of a Ray cluster. The only module that imports Ray."""

import logging
import os
import time
from collections.abc import Callable, Container, Mapping
from typing import Any

import structlog

from inference.core.choices import Device, EngineName
from inference.core.errors import UsageError, WorkersLostError
from inference.execution.cluster.block_worker import BlockWorker, WorkerSpec
from inference.execution.cluster.cluster_executor import ClusterExecutor
from inference.execution.cluster.pool import Done
from inference.execution.job import Job, RunOptions
from inference.process.signals import signals_reach_children
from inference.process.stopwatch import Stopwatch

# Ray reports its use to a web service unless this is set before the import.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

log = structlog.get_logger()

CALLS_AT_ONCE = 2
"""Calls of a worker at once: one computes while the other decodes."""
LOOPBACK = ("127.", "localhost:", "[::1]")
MODE, TOKEN = "RAY_AUTH_MODE", "token"
NAMESPACE = "hakuna"


def ray_executor(
    address: str | None, job: Job, options: RunOptions, stopwatch: Stopwatch, check: Callable[[], None]
) -> ClusterExecutor:
    """The executor of a job on a Ray cluster; see `RayPool` and `ClusterExecutor`."""
    spec = WorkerSpec.of(job, options, check)
    with signals_reach_children():
        pool = RayPool(spec, address)
    return ClusterExecutor(job, options, stopwatch, check, pool)


_connected: list[str | None] = []


class RayPool:
    """One actor for each GPU of a node, or for all cores of a node without GPUs. They end with this process."""

    def __init__(self, spec: WorkerSpec, address: str | None) -> None:
        """Connect to the cluster at an address, HOST:PORT; None: start one on this machine, with all its GPUs.

        Raises UsageError for a cluster on other machines that admits everyone, and WorkersLostError without a cluster.
        """
        if address and os.environ.get(MODE) != TOKEN and not address.startswith(LOOPBACK):
            raise UsageError(
                f"--cluster ray:{address}: must be a cluster with token authentication ({MODE}={TOKEN}), because each "
                "member can run programs on all others"
            )
        self._spec = spec
        self._actors: dict[str, Any] = {}
        self._places: dict[str, tuple[str, int]] = {}
        self._addresses: dict[str, str] = {}
        self._may_use_gpus = spec.job.device is not Device.CPU and spec.job.engine is not EngineName.OPENVINO
        self._calls: dict[Any, tuple[str, str, object]] = {}
        self._n_started = 0
        # One process is a member of one cluster.
        if ray.is_initialized() and _connected != [address]:
            raise UsageError(f"--cluster ray:{address or ''}: must be the cluster of this process, got another one")
        if not ray.is_initialized():
            try:
                ray.init(
                    address or "local",
                    namespace=NAMESPACE,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,  # ours is JSON in a pipe
                )
            except (RayError, ConnectionError, OSError, RuntimeError, ValueError) as error:
                raise WorkersLostError(f"--cluster ray:{address or ''}: must be a Ray cluster, got: {error}") from error
            _connected[:] = [address]

    def refresh(self, left_out: Container[str]) -> Mapping[str, str]:
        """Start actors on nodes that lack them; a node is named by its address and its id."""
        for node in ray.nodes():  # type: ignore[no-untyped-call]
            address = f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
            if not node["Alive"] or address in left_out:
                continue
            n_cores, n_gpus = (int(node["Resources"].get(kind, 0)) for kind in ("CPU", "GPU"))
            n_gpus = n_gpus if self._may_use_gpus else 0
            n_places = n_gpus or min(1, n_cores)
            for place in ((node["NodeID"], number) for number in range(n_places)):
                if place not in self._places.values():
                    name = f"{address} {self._n_started}"
                    self._start(name, place, max(1, n_cores // n_places), n_gpus)
                    self._addresses[name] = address
        return {name: self._addresses[name] for name in self._actors}

    def _start(self, name: str, place: tuple[str, int], n_threads: int, n_gpus: int) -> None:
        self._n_started += 1
        # Actors of other runs may hold the cores: the node's system shares them out.
        options = {"num_cpus": 0, "num_gpus": min(1, n_gpus), "max_concurrency": CALLS_AT_ONCE, "max_restarts": 0}
        strategy = NodeAffinitySchedulingStrategy(place[0], soft=False)
        actor = ray.remote(BlockWorker).options(**options, scheduling_strategy=strategy)
        self._actors[name], self._places[name] = actor.remote(self._spec, n_threads), place

    def call(self, worker: str, method: str, tag: object, *arguments: object) -> None:
        """Begin a call of a method."""
        self._calls[getattr(self._actors[worker], method).remote(*arguments)] = (worker, method, tag)

    def finished(self, seconds: float) -> list[Done]:
        """Calls that have ended since the last time; waits up to `seconds` for one."""
        if not self._calls:
            time.sleep(seconds)
            return []
        ready, _ = ray.wait(list(self._calls), timeout=seconds)
        more, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        return [self._outcome(call) for call in dict.fromkeys([*ready, *more]) if call in self._calls]

    def _outcome(self, call: Any) -> Done:
        worker, method, tag = self._calls.pop(call)
        try:
            return Done(worker, method, tag, ray.get(call))
        except RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            return Done(worker, method, tag, error=cause)
        except RayError as error:  # the actor has ended, or its node with the answer
            self.stop(worker)
            return Done(worker, method, tag, error=RuntimeError(str(error).partition("\n")[0]), has_died=True)

    def stop(self, worker: str) -> None:
        """End an actor."""
        ray.kill(self._actors[worker])
        del self._actors[worker], self._places[worker]
        self._calls = {call: facts for call, facts in self._calls.items() if facts[0] != worker}

    def close(self) -> None:
        """End all actors."""
        for worker in list(self._actors):
            self.stop(worker)
