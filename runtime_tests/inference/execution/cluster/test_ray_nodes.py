"""Nodes of a real cluster that would compute other records, and nodes that disappear. They need namespaces (root)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.settings.packages import is_installed
from runtime_tests.inference.execution.cluster.conftest import LongSeason
from runtime_tests.long_season import contents, n_records
from runtime_tests.ray_cluster import HERE, OTHER, RAYLET, Cluster, cut_off, other_network, started, until
from runtime_tests.running import SECONDS, hakuna, start

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not is_installed("ray"), reason="needs Ray (extra cluster)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces"),
]
BLIND = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"')
"""Start of a command that sees an empty folder; the folder follows."""
EXCHANGED = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"')
"""The same for a command that sees one folder in place of another one."""


def on_cluster(season: LongSeason, out: Path, cluster: Cluster) -> tuple[object, ...]:
    return (*season.words, "--out", out, "--cluster", cluster.name, "--log-format", "json")


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "run.json").read_text())["cluster"]
    return found


def other_bundle(season: LongSeason, folder: Path) -> tuple[object, ...]:
    """Start of a command that sees a bundle with one more byte in place of that of the season."""
    bundle = Path(str(season.words[season.words.index("--bundle") + 1]))
    shutil.copytree(bundle, folder)
    card = next(path for path in sorted(folder.iterdir()) if path.suffix == ".json")
    card.write_bytes(card.read_bytes() + b"\n")
    return (*EXCHANGED, folder, bundle)


def other_version(folder: Path) -> dict[str, str]:
    """Environment of a node with another version of this program."""
    metadata = folder / "hakuna_runtime-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: hakuna-runtime\nVersion: 9.9\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).resolve().parents[4])])}


def test_nodes_that_differ_are_left_out_by_name(long_season: LongSeason, tmp_path: Path) -> None:
    season = long_season.words[1]
    with started() as cluster:
        cluster.add_node(*BLIND, season)
        cluster.add_node(*other_bundle(long_season, tmp_path / "bundle"))
        cluster.add_node(**other_version(tmp_path / "version"))
        cluster.add_node(ONEDNN_MAX_CPU_ISA="SSE41")
        done = hakuna(*on_cluster(long_season, tmp_path / "out", cluster), **cluster.variables)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == long_season.expected
    found = report(tmp_path / "out")
    reasons = sorted(found["left_out"].values())
    assert [re.split(r":| \S+ as the driver does$", reason)[0] for reason in reasons[:3]] == [
        "bundle",
        "does not see photo",
        "its networks answer the probe differently",
    ], reasons
    assert reasons[3].startswith("version: must be ")
    assert set(found["sequences_by_node"]).isdisjoint(found["left_out"])
    logged = [json.loads(line) for line in done.stderr.splitlines() if "a node is left out" in line]
    assert {one["node"]: one["reason"] for one in logged} == found["left_out"]


def test_nothing_is_written_if_all_nodes_differ(long_season: LongSeason, tmp_path: Path) -> None:
    with started(*BLIND, long_season.words[1]) as cluster:
        cluster.add_node(*other_bundle(long_season, tmp_path / "bundle"))
        done = hakuna(*on_cluster(long_season, tmp_path / "out", cluster), **cluster.variables)
    assert done.returncode == 15, done.stderr
    assert "does not see photo" in done.stderr
    assert "bundle: must be" in done.stderr
    assert not (tmp_path / "out").exists()


def test_records_are_continued_by_their_kind_of_processor_only(long_season: LongSeason, tmp_path: Path) -> None:
    """Two nodes of another kind would be the majority."""
    run = start(*long_season.words, "--out", tmp_path)
    until(lambda: n_records(tmp_path) > 0)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=30)
    with started(ONEDNN_MAX_CPU_ISA="SSE41") as cluster:
        other = cluster.add_node(ONEDNN_MAX_CPU_ISA="SSE41")
        done = hakuna(*on_cluster(long_season, tmp_path, cluster), **cluster.variables)
        assert done.returncode == 8, done.stderr
        assert "another kind of processor" in done.stderr
        cluster.add_node()
        done = hakuna(*on_cluster(long_season, tmp_path, cluster), **cluster.variables)
        assert done.returncode == 0, done.stderr
        cluster.end([other])
    assert contents(tmp_path) == long_season.expected
    assert len(report(tmp_path)["left_out"]) == 2


def test_every_gpu_of_a_node_has_a_worker_unless_networks_cannot_use_it(
    long_season: LongSeason, tmp_path: Path
) -> None:
    """Ray takes the number of GPUs on trust; here, all of their workers compute on the CPU, and one of them remains."""
    with started(n_gpus=3) as cluster:
        done = hakuna(*on_cluster(long_season, tmp_path, cluster), **cluster.variables)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == long_season.expected
    left_out = report(tmp_path)["left_out"]
    assert set(left_out.values()) == {"its networks run on the CPU, which another worker of its node uses"}
    [node] = report(tmp_path)["sequences_by_node"]
    [used] = {f"{node} GPU {number}" for number in range(3)} - set(left_out)
    assert len(left_out) == 2, used


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    with other_network() as name:
        yield name


def test_nodes_that_admit_everyone_are_refused_also_with_a_token(
    network: str, long_season: LongSeason, tmp_path: Path
) -> None:
    with started(address=HERE, RAY_AUTH_MODE="disabled") as cluster:
        for n_nodes in (1, 2):
            if n_nodes == 2:
                cluster.add_node("ip", "netns", "exec", network, address=OTHER, RAY_AUTH_MODE="disabled")
            done = hakuna(*on_cluster(long_season, tmp_path / "out", cluster), **cluster.variables)
            assert done.returncode == 2, done.stderr
            assert "must be a cluster with token authentication" in done.stderr
            assert not (tmp_path / "out").exists()


def test_nodes_that_disappear_are_done_without(network: str, long_season: LongSeason, tmp_path: Path) -> None:
    def run_with(fault: str) -> Path:
        out = tmp_path / fault
        run = start(*on_cluster(long_season, out, cluster), **cluster.variables)
        until(lambda: n_records(out) > 0)
        if fault == "killed":
            os.kill(cluster.processes(other, RAYLET)[0], signal.SIGKILL)
        elif fault == "silent head":
            os.kill(head, signal.SIGSTOP)
        else:
            cut_off(network)
        _, err = run.communicate(timeout=SECONDS)
        assert run.returncode == 0, err
        assert contents(out) == long_season.expected
        return out

    with started(address=HERE) as cluster:
        [head] = cluster.processes(cluster.nodes[0], "gcs_server")
        inside = ("ip", "netns", "exec", network)
        other = cluster.add_node(*inside, address=OTHER)
        assert report(run_with("killed"))["lost"]
        cluster.add_node(*inside, address=OTHER)
        run_with("silent head")
        os.kill(head, signal.SIGCONT)
        assert report(run_with("cut off"))["asked_twice"]


def test_a_head_node_that_hangs_or_ends(long_season: LongSeason, tmp_path: Path) -> None:
    """While it hangs, signals act; if it ends, so does the run, before Ray ends it without a message."""
    with started() as cluster:
        [head] = cluster.processes(cluster.nodes[0], "gcs_server")
        run = start(*on_cluster(long_season, tmp_path, cluster), **cluster.variables)
        until(lambda: n_records(tmp_path) > 0)
        os.kill(head, signal.SIGSTOP)
        begun = time.monotonic()
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=30)
        assert (run.returncode, time.monotonic() - begun < 8) == (143, True), err
        run = start(*on_cluster(long_season, tmp_path, cluster), **cluster.variables)
        time.sleep(6)  # it connects
        begun = time.monotonic()
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=30)
        assert (run.returncode, time.monotonic() - begun < 8) == (143, True), err
        os.kill(head, signal.SIGCONT)
        n_kept = n_records(tmp_path)
        run = start(*on_cluster(long_season, tmp_path, cluster), **cluster.variables)
        until(lambda: n_records(tmp_path) > n_kept)
        os.kill(cluster.processes(cluster.nodes[0], RAYLET)[0], signal.SIGKILL)
        _, err = run.communicate(timeout=SECONDS)
        assert run.returncode == 15, err
        assert "run again when the cluster is back" in err
    assert n_kept < n_records(tmp_path) < long_season.n_sequences
    done = hakuna(*long_season.words, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == long_season.expected
