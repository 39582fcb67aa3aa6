"""Ray clusters on this machine, whose nodes ask for a token: in this network, or each in a network namespace of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from runtime_tests.running import environment

START_SECONDS = 60.0
BLOCKS = b"This command will now block"
"""Of `ray start`, when its node is ready."""
STORE_BYTES = 80_000_000
"""Ray asks for more of the shared memory, which containers do not have."""
HERE, OTHER = "10.213.77.1", "10.213.77.2"
"""Addresses of this network namespace and of another one."""
RAYLET = "raylet"


def until(holds: Callable[[], object], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def actors(variable: str) -> list[int]:
    """Processes of workers with this in a variable of their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_actor = (process / "cmdline").read_bytes().startswith(b"ray::BlockWorker")
            if is_actor and variable.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


@dataclass
class Cluster:
    """Nodes that ask for a token.

    Attributes
    ----------
    address : of the head node
    n_gpus : of each node
    """

    folder: Path
    port: int
    address: str = "127.0.0.1"
    n_gpus: int = 0
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """For `--cluster`."""
        return f"ray:{self.address}:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """Environment of its members."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.folder / "token")}

    def actors(self) -> list[int]:
        """Processes of its workers."""
        return actors(str(self.folder / "token"))

    def processes(self, node: subprocess.Popen[bytes], name: str | None = None) -> list[int]:
        """Processes of a node, those of a name or all."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                session = int((process / "stat").read_text().rpartition(")")[2].split()[3])
                if session == node.pid and name in (None, (process / "comm").read_text().strip()):
                    found.append(int(process.name))
            except OSError:
                continue
        return found

    def add_node(self, *prefix: object, address: str = "", **variables: str) -> subprocess.Popen[bytes]:
        """Start a node with one core and wait for it; `prefix`: the start of its command."""
        address = address or self.address
        kind: tuple[object, ...] = (f"--address={self.address}:{self.port}",)
        if not self.nodes:
            kind = ("--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.folder}")
        numbers = ("--num-cpus=1", f"--num-gpus={self.n_gpus}")
        options = (*numbers, "--disable-usage-stats", "--block", f"--node-ip-address={address}")
        log = self.folder / f"node{len(self.nodes)}.log"
        with log.open("wb") as file:
            node = subprocess.Popen(
                [
                    *map(str, prefix),
                    *map(str, (Path(sys.executable).parent / "ray", "start", *kind, *options)),
                    f"--object-store-memory={STORE_BYTES}",
                ],
                stdout=file,
                stderr=file,
                env=environment(**{**self.variables, "RAY_worker_niceness": "0", **variables}),
                start_new_session=True,
            )
        self.nodes.append(node)
        until(lambda: BLOCKS in log.read_bytes() or node.poll() is not None)
        assert node.poll() is None, log.read_text()
        return node

    def end(self, nodes: list[subprocess.Popen[bytes]] | None = None) -> None:
        """End some nodes, or all."""
        for node in list(self.nodes if nodes is None else nodes):
            for process in self.processes(node):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            node.wait()
            self.nodes.remove(node)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def started(*prefix: object, address: str = "127.0.0.1", n_gpus: int = 0, **variables: str) -> Iterator[Cluster]:
    """A cluster of one node, the head; see `add_node`."""
    folder = Path(tempfile.mkdtemp(prefix="hr"))  # the paths of Ray's sockets have 107 bytes at most
    token = folder / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    one = Cluster(folder, free_port(), address, n_gpus)
    try:
        one.add_node(*prefix, **variables)
        yield one
    finally:
        one.end()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def other_network() -> Iterator[str]:
    """A network namespace with the address `OTHER` that is connected with this one, `HERE` (needs root); yields its name."""
    name = f"hr{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("address", "add", f"{HERE}/24", "dev", name)
        _ip("link", "set", name, "up")
        _ip("-netns", name, "address", "add", f"{OTHER}/24", "dev", "eth0")
        _ip("-netns", name, "link", "set", "eth0", "up")
        _ip("-netns", name, "link", "set", "lo", "up")
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)
        subprocess.run(["ip", "link", "delete", name], check=False, stderr=subprocess.DEVNULL)


def cut_off(name: str) -> None:
    """Cut the cable to a namespace: no packet arrives any more, and none is refused."""
    _ip("link", "set", name, "down")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
