"""Workers as actors of a Ray cluster. The only module that imports Ray."""

import atexit
import ipaddress
import logging
import math
import os
import pickle
import socket
import textwrap
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from inference.core.choices import Device, EngineName
from inference.core.errors import HakunaError, UsageError, WorkersLostError
from inference.core.files import remove_tree
from inference.execution.cluster import this_machine, tokens
from inference.execution.cluster.block_worker import BlockWorker, WorkerSpec
from inference.execution.cluster.blocks import BLOCKS_PER_WORKER
from inference.execution.cluster.cluster_executor import ClusterExecutor
from inference.execution.cluster.members import START_SHARE
from inference.execution.cluster.pool import Done, Place
from inference.execution.job import Job, RunOptions
from inference.process.signals import signals_reach_children
from inference.process.stopwatch import Stopwatch
from inference.process.watchdog import POLL_SECONDS, ends_within

# Unless set before the import, Ray reports its use to a web service, sends the current folder of `uv run` to all workers,
# and ends this process a minute after the head node.
os.environ["RAY_USAGE_STATS_ENABLED"] = os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "1000000")
import ray
from ray._private import utils
from ray.exceptions import RayError, RayTaskError
from ray.job_config import JobConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

utils.set_sigterm_handler = lambda _: None  # its handler would end a run as if it had failed
CONNECT_SECONDS, ANSWER_SECONDS, SILENT_SECONDS, END_SECONDS = 60.0, 1.0, 60.0, 4.0
"""Time limits: to connect, for the head node's answer before the run continues without, without any answer, to disconnect."""
NO_TOKEN = f": must be a cluster with token authentication ({tokens.MODE}={tokens.TOKEN}), because each member can run programs on all others"
SILENT = f"its head node has not answered for {SILENT_SECONDS:g} s"
NAMESPACE = "hakuna"
Result = TypeVar("Result")
LONGEST_CAUSE = 300
"""Characters of a reason; general advice follows."""


def ray_executor(
    address: str | None,
    n_threads: int | None,
    job: Job,
    options: RunOptions,
    stopwatch: Stopwatch,
    check: Callable[[], None],
) -> ClusterExecutor:
    """The executor of a job on a Ray cluster; see `RayPool` and `ClusterExecutor`."""
    pool = RayPool(WorkerSpec.of(job, options, check), address, n_threads, check)
    return ClusterExecutor(job, options, stopwatch, check, pool)


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cause(error: Exception) -> str:
    """Why an actor has ended: the first line of Ray's message and the last one, which begins with the cause."""
    first, *others = str(error).splitlines() or [repr(error)]
    return textwrap.shorten(" ".join([first, *others[-1:]]), LONGEST_CAUSE, placeholder=" ...")


_in_use = set[object]()
"""Calls of Ray in threads, also those that nobody waits for. If Ray is shut down during one, it ends this process with 1."""


def _within(action: Callable[[], Result], seconds: float, check: Callable[[], None] = lambda: None) -> Result:
    """The result of an action in a thread; raises its error, and TimeoutError if it takes longer."""
    results, problems, call = list[Result](), list[Exception](), object()

    def act() -> None:
        try:
            results.append(action())
        except Exception as error:  # noqa: BLE001  # raised below
            problems.append(error)
        finally:
            _in_use.discard(call)

    _in_use.add(call)
    ends_within(act, seconds, check)
    if problems:
        raise problems[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return results[0]


_connection = threading.Lock()
"""Held while this process enters a cluster or leaves it: Ray allows one connection."""


def _wait_for_the_last() -> None:
    with _connection:
        pass


class RayPool:
    """One actor for each GPU of a node, or for all cores of a node without GPUs. They end with this process."""

    def __init__(self, spec: WorkerSpec, address: str | None, n_threads: int | None, check: Callable[[], None]) -> None:
        """Workers on the cluster at an address, HOST:PORT; None: on one of this machine, with all its GPUs.

        Raises UsageError for a cluster on other machines that admits everyone.

        Parameters
        ----------
        n_threads : threads of a worker that read and decode photos; None: its share of the node's cores
        check : called often while this waits; raises to stop the run
        """
        self._name = f"--cluster ray:{address}" if address else "--cluster ray"
        if address and not tokens.has_token() and not _is_loopback(address):
            raise UsageError(self._name + NO_TOKEN)
        if ray.is_initialized():
            raise UsageError("--cluster: must not be used in a process that is connected to Ray")
        self._spec, self._address, self._n_threads, self._check = spec, address, n_threads, check
        self._may_use_gpus = spec.job.device is not Device.CPU and spec.job.engine is not EngineName.OPENVINO
        self._actors: dict[str, Any] = {}
        self._places: dict[str, Place] = {}
        self._calls: dict[Any, tuple[str, str, object]] = {}
        self._n_started = 0
        self._nodes: list[dict[str, Any]] = []
        self._own_node, self._own_address = "", ("", 0)
        self._is_member = self._is_protected = False
        self._folder = ""
        self._silent_since: float | None = None

    def refresh(self, left_out: Container[str]) -> Mapping[str, Place]:
        """Start actors on nodes that lack them, first on that of this process; a node is named by its address and its id.

        Raises WorkersLostError without a cluster.
        """
        if not self._is_member:
            self._connect()
        self._look_for_nodes()
        self._check_tokens()
        for node in sorted(self._nodes, key=lambda node: node["NodeID"] != self._own_node):
            address = f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
            if not node["Alive"] or address in left_out:
                continue
            n_cores, n_gpus = (int(node["Resources"].get(kind, 0)) for kind in ("CPU", "GPU"))
            n_gpus = n_gpus if self._may_use_gpus else 0
            n_places = n_gpus or min(1, n_cores)
            for number in range(n_places):
                place = Place(address, address if n_places == 1 else f"{address} GPU {number}")
                if place.name not in left_out and place not in self._places.values():
                    name = f"{place.name} {self._n_started}"
                    self._start(name, node["NodeID"], self._n_threads or max(1, n_cores // n_places), n_gpus)
                    self._places[name] = place
        return dict(self._places)

    def _connect(self) -> None:
        """Become a member of the cluster, or start it."""
        self._is_member = True
        try:
            self._enter()
        except BaseException:
            self.close()
            raise

    def _enter(self) -> None:
        """Enter in a thread, because a cluster that hangs must not keep signals waiting.

        A cluster of this machine would end with the thread that has started it.
        """
        seconds = min(CONNECT_SECONDS, START_SHARE * (self._spec.options.budget or math.inf))
        with self._ray_errors("must be a Ray cluster, got: "), signals_reach_children():
            if self._address:
                _within(self._join, seconds, self._check)
            else:
                _within(_wait_for_the_last, seconds, self._check)
                self._join()

    def _join(self) -> None:
        with _connection:
            self._folder = "" if self._address else this_machine.private_folder()
            ray.init(
                self._address or "local",
                namespace=NAMESPACE,
                job_config=JobConfig(_client_job=True),  # else workers import from the current folder first
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,  # ours is JSON in a pipe
                **(this_machine.options(self._folder) if self._folder else {}),
            )
            self._own_node = ray.get_runtime_context().get_node_id()
            self._nodes = ray.nodes()  # type: ignore[no-untyped-call]
        [own] = (node for node in self._nodes if node["NodeID"] == self._own_node)
        self._own_address = own["NodeManagerAddress"], own["NodeManagerPort"]

    def _check_tokens(self) -> None:
        """Raise UsageError for a cluster on other machines that admits everyone."""
        others = {node["NodeManagerAddress"] for node in self._nodes if node["Alive"]} - {self._own_address[0]}
        if not self._address or self._is_protected or (not others and _is_loopback(self._address)):
            return
        ask = partial(tokens.admits_everyone, self._address, CONNECT_SECONDS)
        with self._ray_errors("must answer whether it admits everyone, got: "):
            self._is_protected = tokens.has_token() and not _within(ask, CONNECT_SECONDS, self._check)
        if not self._is_protected:
            raise UsageError(self._name + NO_TOKEN)

    def _look_for_nodes(self) -> None:
        """Ask the head node for all nodes. It may be silent for some time, the workers continue."""
        self._silent_since = self._silent_since or time.monotonic()
        with suppress(RayError, TimeoutError):
            self._nodes, self._silent_since = _within(ray.nodes, ANSWER_SECONDS), None
        if self._silent_since and time.monotonic() - self._silent_since > SILENT_SECONDS:
            raise self._lost(SILENT)

    def _check_own_node(self) -> None:
        """Raise WorkersLostError without Ray's process on this machine: the next answer would end this process without a message."""
        try:
            socket.create_connection(self._own_address, ANSWER_SECONDS).close()
        except TimeoutError:
            pass
        except OSError as error:
            raise self._lost(f"Ray's process on this machine has ended ({error.strerror or error})") from error

    @contextmanager
    def _ray_errors(self, wanted: str) -> Iterator[None]:
        """Turn an error of any layer of Ray into a WorkersLostError."""
        try:
            yield
        except HakunaError:
            raise
        except Exception as error:
            self._check()  # a signal to all processes of a job ends Ray's, too
            raise self._lost(f"{wanted}{error}") from error

    def _lost(self, reason: str) -> WorkersLostError:
        return WorkersLostError(
            f"{self._name}: {reason}; records are kept", hint="run again when the cluster is back, or without --cluster"
        )

    def _start(self, name: str, node_id: str, n_threads: int, n_gpus: int) -> None:
        self._n_started += 1
        # Actors of other runs may hold the cores: the node's system shares them out.
        options = {"num_cpus": 0, "num_gpus": min(1, n_gpus), "max_concurrency": BLOCKS_PER_WORKER, "max_restarts": 0}
        strategy = NodeAffinitySchedulingStrategy(node_id, soft=False)

        def start() -> Any:
            actor = ray.remote(BlockWorker).options(**options, scheduling_strategy=strategy)
            return actor.remote(self._spec, n_threads)

        with self._ray_errors("must start a worker, got: "):
            self._actors[name] = _within(start, SILENT_SECONDS, self._check)

    def call(self, worker: str, method: str, tag: object, *arguments: object) -> None:
        """Begin a call of a method."""
        with self._ray_errors("must accept a call, got: "):
            self._calls[getattr(self._actors[worker], method).remote(*arguments)] = (worker, method, tag)

    def finished(self, seconds: float) -> list[Done]:
        """Calls that have ended since the last time; waits up to `seconds` for one."""
        if not self._calls:
            time.sleep(seconds)
            return []
        with self._ray_errors("must answer which calls have ended, got: "):
            ready, _ = ray.wait(list(self._calls), timeout=seconds, fetch_local=False)
            more, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0, fetch_local=False)
        self._check_own_node()
        return [self._outcome(call) for call in dict.fromkeys([*ready, *more]) if call in self._calls]

    def _outcome(self, call: Any) -> Done:
        worker, method, tag = self._calls.pop(call)
        try:  # in a thread: a node that is cut off must not keep signals waiting
            result = _within(partial(ray.get, call, timeout=SILENT_SECONDS), 2 * SILENT_SECONDS, self._check)
            # A copy: the arrays would keep Ray's shared memory.
            return Done(worker, method, tag, pickle.loads(pickle.dumps(result)))  # noqa: S301  # own object
        except RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            return Done(worker, method, tag, error=cause)
        except (RayError, TimeoutError) as error:  # the actor has ended, or its node with the answer
            self.stop(worker)
            return Done(worker, method, tag, error=RuntimeError(_cause(error)), has_died=True)

    def stop(self, worker: str) -> None:
        """End an actor."""
        if (actor := self._actors.pop(worker, None)) is None:
            return
        with suppress(RayError, TimeoutError):
            _within(partial(ray.kill, actor), ANSWER_SECONDS)
        del self._places[worker]
        self._calls = {call: facts for call, facts in self._calls.items() if facts[0] != worker}

    def close(self) -> None:
        """End all actors, and leave the cluster; the next `refresh` enters it again."""
        if not self._is_member:
            return
        self._is_member = False
        actors, calls = list(self._actors.values()), set(_in_use)
        self._actors, self._places, self._calls = {}, {}, {}

        def leave() -> None:
            with _connection:
                for actor in actors:
                    ray.kill(actor)
                while calls & _in_use:
                    time.sleep(POLL_SECONDS)
                ray.shutdown()
                with suppress(OSError):
                    if self._folder:
                        remove_tree(Path(self._folder))

        if not ends_within(leave, END_SECONDS):
            atexit.unregister(ray.shutdown)  # it would hang at the end of this process, too
