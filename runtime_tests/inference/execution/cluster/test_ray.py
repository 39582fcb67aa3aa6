"""A real Ray cluster of two nodes on this machine, with a token: the bytes of a local run, whatever is killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.execution.cluster.this_machine import LONGEST_FOLDER
from inference.settings.packages import is_installed
from runtime_tests.inference.execution.cluster.conftest import LongSeason
from runtime_tests.long_season import contents, n_records
from runtime_tests.ray_cluster import Cluster, actors, started, until
from runtime_tests.running import SECONDS, hakuna, start

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not is_installed("ray"), reason="needs Ray (extra cluster)"),
]
BUDGET = 40.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with started() as one:
        one.add_node()
        yield one


def on_cluster(season: LongSeason, out: Path, cluster: Cluster) -> tuple[object, ...]:
    return (*season.words, "--out", out, "--cluster", cluster.name, "--log-format", "json")


def test_two_nodes_give_the_bytes_of_a_local_run(cluster: Cluster, long_season: LongSeason, tmp_path: Path) -> None:
    done = hakuna(*on_cluster(long_season, tmp_path, cluster), **cluster.variables)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == long_season.expected
    found = json.loads((tmp_path / "run.json").read_text())["cluster"]
    assert len(found["sequences_by_node"]) == 2, found
    assert (found["lost"], found["left_out"]) == (0, {})
    until(lambda: not cluster.actors(), 10)


@pytest.mark.faults
def test_two_nodes_without_mirror_images(cluster: Cluster, long_season: LongSeason, tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    done = hakuna(*long_season.words, "--no-tta", "--out", local)
    assert done.returncode == 0, done.stderr
    done = hakuna(*on_cluster(long_season, remote, cluster), "--no-tta", **cluster.variables)
    assert done.returncode == 0, done.stderr
    assert contents(remote) == contents(local)
    assert contents(local) != long_season.expected


@pytest.mark.parametrize("n_killed", [pytest.param(1, marks=pytest.mark.faults), 2])
def test_killed_workers_are_replaced(n_killed: int, cluster: Cluster, long_season: LongSeason, tmp_path: Path) -> None:
    run = start(*on_cluster(long_season, tmp_path, cluster), **cluster.variables)
    until(lambda: n_records(tmp_path) > 0)
    for process in cluster.actors()[:n_killed]:
        os.kill(process, signal.SIGKILL)
    _, err = run.communicate(timeout=SECONDS)
    assert run.returncode == 0, err
    assert contents(tmp_path) == long_season.expected
    assert json.loads((tmp_path / "run.json").read_text())["cluster"]["lost"] == n_killed
    assert "its worker process has died" in next(line for line in err.splitlines() if "a worker has ended" in line)


@pytest.mark.parametrize("n_moments", [2, pytest.param(5, marks=pytest.mark.faults)])
def test_a_run_is_killed_at_random_moments_here_and_there(
    n_moments: int, cluster: Cluster, long_season: LongSeason, tmp_path: Path
) -> None:
    chance = random.Random(24)  # noqa: S311  # moments
    for number in range(n_moments):
        words = (
            on_cluster(long_season, tmp_path, cluster) if number % 2 == 0 else (*long_season.words, "--out", tmp_path)
        )
        run = start(*words, **cluster.variables)
        wanted = n_records(tmp_path) + chance.randint(0, long_season.n_sequences // (n_moments + 2))
        until(lambda: n_records(tmp_path) >= wanted)  # noqa: B023  # of this moment
        time.sleep(chance.random())
        run.kill()
        run.communicate(timeout=30)
        until(lambda: not cluster.actors(), 10)
    assert 0 < n_records(tmp_path) < long_season.n_sequences
    done = hakuna(*on_cluster(long_season, tmp_path, cluster), **cluster.variables)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == long_season.expected


def test_sigterm_ends_a_run_in_time_and_leaves_no_worker(
    cluster: Cluster, long_season: LongSeason, tmp_path: Path
) -> None:
    run = start(*on_cluster(long_season, tmp_path, cluster), **cluster.variables)
    until(lambda: n_records(tmp_path) > 0)
    run.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    run.communicate(timeout=30)
    assert (run.returncode, time.monotonic() - begun < 8) == (143, True)
    until(lambda: not cluster.actors(), 10)
    assert 0 < n_records(tmp_path) < long_season.n_sequences
    done = hakuna(*long_season.words, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == long_season.expected


def test_a_stopped_worker_delays_a_run_with_a_budget_only_a_little(
    cluster: Cluster, long_season: LongSeason, tmp_path: Path
) -> None:
    run = start(*on_cluster(long_season, tmp_path, cluster), "--budget", 240, **cluster.variables)
    until(lambda: n_records(tmp_path) > 0)
    stopped = cluster.actors()[0]
    os.kill(stopped, signal.SIGSTOP)
    _, err = run.communicate(timeout=SECONDS)
    assert run.returncode == 0, err
    assert contents(tmp_path) == long_season.expected
    until(lambda: not cluster.actors(), 10)


def test_workers_that_all_stop_leave_a_submission_in_time(
    cluster: Cluster, long_season: LongSeason, tmp_path: Path
) -> None:
    begun = time.monotonic()
    run = start(*on_cluster(long_season, tmp_path, cluster), "--budget", BUDGET, **cluster.variables)
    until(lambda: n_records(tmp_path) > 0)
    for process in cluster.actors():
        os.kill(process, signal.SIGSTOP)
    until(
        lambda: (
            "waiting_for" in (status := json.loads((tmp_path / "status.json").read_text())) and status["waiting_for"]
        )
    )
    _, err = run.communicate(timeout=2 * BUDGET)
    assert run.returncode == 0, err
    assert time.monotonic() - begun < BUDGET
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["status"] == "out of time"
    assert 0 < report["counts"]["sequences_finished"] < long_season.n_sequences
    rows = (tmp_path / "submission.csv").read_bytes().splitlines()
    assert len(rows) == len(long_season.expected["submission.csv"].splitlines())
    until(lambda: not cluster.actors(), 10)


def test_another_token_is_refused(cluster: Cluster, long_season: LongSeason, tmp_path: Path) -> None:
    other = tmp_path / "token"
    other.write_text("0" * 64)
    variables = {**cluster.variables, "RAY_AUTH_TOKEN_PATH": str(other)}
    done = hakuna(*on_cluster(long_season, tmp_path / "out", cluster), **variables)
    assert done.returncode == 15, done.stderr
    assert not (tmp_path / "out" / "records.jsonl").exists()


@pytest.mark.parametrize("host", ["192.0.2.9", "127.example", "localhost.example"])
def test_a_cluster_elsewhere_without_a_token_is_refused(host: str, long_season: LongSeason, tmp_path: Path) -> None:
    words = (*long_season.words, "--out", tmp_path / "out", "--cluster", f"ray:{host}:6379")
    done = hakuna(*words, RAY_AUTH_MODE="disabled")
    assert done.returncode == 2, done.stderr
    assert "must be a cluster with token authentication" in done.stderr
    assert not (tmp_path / "out" / "records.jsonl").exists()


def test_without_an_address_the_cluster_is_this_machine(
    long_season: LongSeason, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in the current folder is run there, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    Path("pydantic.py").write_text("raise SystemExit('of the current folder')")
    temporary = Path(tempfile.mkdtemp(prefix="hr"))
    temporary = temporary.rename(str(temporary).ljust(LONGEST_FOLDER, "x"))
    words = (*long_season.words, "--out", tmp_path / "out", "--cluster", "ray", "--workers", 1, "--log-format", "json")
    run = start(*words, HOME=str(tmp_path), MARK=str(tmp_path), TMPDIR=str(temporary))
    until(lambda: actors(f"MARK={tmp_path}"))
    [worker] = actors(f"MARK={tmp_path}")
    [folder] = temporary.glob("hr*")
    assert folder.stat().st_mode & 0o777 == 0o700
    variables = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
    niceness = os.getpriority(os.PRIO_PROCESS, worker)
    _, err = run.communicate(timeout=SECONDS)
    assert run.returncode == 0, err
    assert contents(tmp_path / "out") == long_season.expected
    assert b"RAY_AUTH_MODE=token" in variables, "it listens on all addresses of this machine"
    assert b"RAY_USAGE_STATS_ENABLED=0" in variables
    assert niceness == os.getpriority(os.PRIO_PROCESS, 0)
    assert [line for line in err.splitlines() if not line.startswith("{")] == []
    until(lambda: not actors(f"MARK={tmp_path}"), 10)
    temporary.rmdir()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_the_cluster_of_this_machine_starts(
    number: signal.Signals, code: int, long_season: LongSeason, tmp_path: Path
) -> None:
    """Ray would end this process with a code of its own. It may be cut off before it has started."""
    temporary = Path(tempfile.mkdtemp(prefix="hr"))
    words = (*long_season.words, "--out", tmp_path / "out", "--cluster", "ray")
    run = start(*words, TMPDIR=str(temporary))
    until(lambda: "gcs_server" in names_of_children(run.pid))
    begun = time.monotonic()
    run.send_signal(number)
    _, err = run.communicate(timeout=30)
    assert (run.returncode, time.monotonic() - begun < 8) == (code, True), err
    shutil.rmtree(temporary)


def names_of_children(process: int) -> list[str]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [Path(f"/proc/{child}/comm").read_text().strip() for child in children]
