"""A real Ray cluster of two nodes on this machine, with a token: the bytes of a local run, whatever is killed."""

from __future__ import annotations

import json
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
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from inference.bundle.reader import Bundle
from inference.settings.packages import is_installed
from runtime_tests.running import environment, hakuna, start

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not is_installed("ray"), reason="needs Ray (extra cluster)"),
]
OUTPUTS = ("records.jsonl", "submission.csv", "failures.csv")
START_SECONDS = 60.0
N_SEQUENCES = 600
BLOCKS = b"This command will now block"
"""Of `ray start`, when its node is ready."""
STORE_BYTES = 80_000_000
"""Ray asks for more of the shared memory, which containers do not have."""


@dataclass
class Cluster:
    """Raylets on this machine that ask for a token."""

    folder: Path
    port: int
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"ray:127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.folder / "token")}

    def add_node(self) -> None:
        kind = (
            (
                "--head",
                f"--port={self.port}",
                "--node-ip-address=127.0.0.1",
                "--include-dashboard=false",
                f"--temp-dir={self.folder}",
            )
            if not self.nodes
            else (f"--address=127.0.0.1:{self.port}",)
        )
        options = ("--num-cpus=1", "--num-gpus=0", "--disable-usage-stats", "--block")
        command = [Path(sys.executable).parent / "ray", "start", *kind, *options]
        with (self.folder / f"node{len(self.nodes)}.log").open("wb") as log:
            self.nodes.append(
                subprocess.Popen(
                    [*command, f"--object-store-memory={STORE_BYTES}"],
                    stdout=log,
                    stderr=log,
                    env=environment(**self.variables),
                    start_new_session=True,
                )
            )

    def end(self) -> None:
        for node in self.nodes:
            node.send_signal(signal.SIGTERM)
        for node in self.nodes:
            try:
                node.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(node.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="hr"))  # the paths of Ray's sockets have 107 bytes at most
    token = folder / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    one = Cluster(folder, free_port())
    try:
        for _ in range(2):
            one.add_node()
            until(lambda: BLOCKS in (folder / f"node{len(one.nodes) - 1}.log").read_bytes())
        yield one
    finally:
        one.end()
        shutil.rmtree(folder, ignore_errors=True)


def until(holds: Callable[[], object], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def actors() -> list[int]:
    """Processes of workers on this machine."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(b"ray::BlockWorker"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def long_season(season: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Arguments for the photos of a season many times over, under other names of sequences."""
    folder = tmp_path_factory.mktemp("long")
    for name in ("test_metadata.csv", "submission_format.csv"):
        header, *rows = (season / name).read_text().splitlines()
        n_times = N_SEQUENCES // 12
        column = header.split(",").index("seq_id")
        repeated = [header]
        for number in range(n_times):
            for row in rows:
                values = row.split(",")
                values[column] += f"x{number}"
                repeated.append(",".join(values))
        (folder / name).write_text("\n".join(repeated) + "\n")
    return season, "--metadata", folder / "test_metadata.csv", "--format", folder / "submission_format.csv"


@pytest.fixture(scope="module")
def expected(
    long_season: tuple[object, ...], quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("local")
    done = hakuna("predict", *long_season, "--bundle", quick_bundle.folder, "--out", out, "--batch-size", 3)
    assert done.returncode == 0, done.stderr
    return contents(out)


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in OUTPUTS}


def words(season: tuple[object, ...], bundle: Bundle, out: Path, cluster: Cluster) -> tuple[object, ...]:
    given = ("predict", *season, "--bundle", bundle.folder, "--out", out, "--batch-size", 3, "--cluster", cluster.name)
    return (*given, "--log-format", "json")


def n_records(out: Path) -> int:
    path = out / "records.jsonl"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


def test_two_nodes_give_the_bytes_of_a_local_run(
    cluster: Cluster, long_season: tuple[object, ...], quick_bundle: Bundle, expected: dict[str, bytes], tmp_path: Path
) -> None:
    done = hakuna(*words(long_season, quick_bundle, tmp_path, cluster), **cluster.variables)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == expected
    found = json.loads((tmp_path / "run.json").read_text())["cluster"]
    assert len(found["sequences_by_node"]) == 2, found
    assert (found["lost"], found["left_out"]) == (0, {})
    until(lambda: not actors(), 10)


@pytest.mark.parametrize("n_killed", [1, 2])
def test_killed_workers_are_replaced(
    n_killed: int,
    cluster: Cluster,
    long_season: tuple[object, ...],
    quick_bundle: Bundle,
    expected: dict[str, bytes],
    tmp_path: Path,
) -> None:
    run = start(*words(long_season, quick_bundle, tmp_path, cluster), **cluster.variables)
    until(lambda: n_records(tmp_path) > 0)
    for process in actors()[:n_killed]:
        os.kill(process, signal.SIGKILL)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert contents(tmp_path) == expected
    assert json.loads((tmp_path / "run.json").read_text())["cluster"]["lost"] == n_killed


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_ends_leaves_no_worker_and_goes_on_locally(
    signal_number: int,
    cluster: Cluster,
    long_season: tuple[object, ...],
    quick_bundle: Bundle,
    expected: dict[str, bytes],
    tmp_path: Path,
) -> None:
    run = start(*words(long_season, quick_bundle, tmp_path, cluster), **cluster.variables)
    until(lambda: n_records(tmp_path) > 0)
    run.send_signal(signal_number)
    begun = time.monotonic()
    run.communicate(timeout=30)
    assert time.monotonic() - begun < 8
    assert run.returncode == (-signal_number if signal_number == signal.SIGKILL else 143)
    until(lambda: not actors(), 10)
    n_kept = n_records(tmp_path)
    assert 0 < n_kept < N_SEQUENCES
    done = hakuna("predict", *long_season, "--bundle", quick_bundle.folder, "--out", tmp_path, "--batch-size", 3)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == expected


def test_another_token_is_refused(
    cluster: Cluster, long_season: tuple[object, ...], quick_bundle: Bundle, tmp_path: Path
) -> None:
    other = tmp_path / "token"
    other.write_text("0" * 64)
    variables = {**cluster.variables, "RAY_AUTH_TOKEN_PATH": str(other)}
    done = hakuna(*words(long_season, quick_bundle, tmp_path / "out", cluster), **variables)
    assert done.returncode == 15, done.stderr
    assert not (tmp_path / "out" / "records.jsonl").exists()


def test_a_cluster_elsewhere_without_a_token_is_refused(
    long_season: tuple[object, ...], quick_bundle: Bundle, tmp_path: Path
) -> None:
    given = ("predict", *long_season, "--bundle", quick_bundle.folder, "--out", tmp_path / "out")
    done = hakuna(*given, "--cluster", "ray:192.0.2.9:6379", RAY_AUTH_MODE="disabled")
    assert done.returncode == 2, done.stderr
    assert "must be a cluster with token authentication" in done.stderr
    assert not (tmp_path / "out" / "records.jsonl").exists()


def test_without_an_address_the_cluster_is_this_machine(
    long_season: tuple[object, ...], quick_bundle: Bundle, expected: dict[str, bytes], tmp_path: Path
) -> None:
    given = ("predict", *long_season, "--bundle", quick_bundle.folder, "--out", tmp_path, "--batch-size", 3)
    done = hakuna(*given, "--cluster", "ray", "--log-format", "json", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == expected
    assert [line for line in done.stderr.splitlines() if not line.startswith("{")] == []
    until(lambda: not actors(), 10)
