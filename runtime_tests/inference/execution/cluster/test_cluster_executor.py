"""Runs on a cluster end in the bytes of a local run, whatever happens to its workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.selftest.demo import BUNDLE_FOLDER
from inference import api
from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.errors import BundleError, InterruptedRunError, UsageError, WorkersLostError
from inference.execution.cluster import cluster_executor, members
from inference.execution.cluster.block_worker import WorkerFacts
from inference.execution.cluster.blocks import MIN_WINDOW
from inference.execution.job import RunOptions
from inference.execution.local_executor import local_executor
from inference.networks.engine_openvino import has_bfloat16
from inference.process.stopwatch import Stopwatch
from inference.records.schema import Record
from runtime_tests.in_process_pool import InProcessPool, with_other
from runtime_tests.processors import with_fast_bfloat16
from runtime_tests.running import HAKUNA, environment, hakuna, job_for, run_job

OUTPUTS = ("records.jsonl", "submission.csv", "failures.csv")
OPTIONS = RunOptions(n_workers=1, batch_size=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for workers all the time, and do not wait for the last one."""
    monkeypatch.setattr(members, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(members, "START_SECONDS", 60.0)
    monkeypatch.setattr(cluster_executor, "BATCHES_PER_BLOCK", 2)


def run(season: Path, bundle: Bundle, out: Path, pool: InProcessPool, options: RunOptions = OPTIONS) -> dict[str, Any]:
    return run_job(job_for(season, bundle), out, options, executor_for=pool)


def contents(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in OUTPUTS]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_cluster_gives_the_bytes_of_a_local_run(
    batch_size: int, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    pool = InProcessPool()
    report = run(season, quick_bundle, tmp_path, pool, replace(OPTIONS, batch_size=batch_size))
    assert contents(tmp_path) == contents(quick_prediction)
    assert report["cluster"]["left_out"] == {}
    assert sum(report["cluster"]["sequences_by_node"].values()) == report["counts"]["sequences"]
    assert pool.is_closed


@pytest.mark.parametrize(
    "ends",
    [
        lambda node, method, number: (node, method, number) == ("a", "compute", 1),
        lambda _, method, number: method == "compute" and number == 1,
        lambda node, method, number: node == "b" and method == "load" and number == 1,
        lambda node, method, number: node == "b" and method == "facts" and number == 1,
    ],
    ids=["one in its first block", "all in their first block", "one in its load", "one at its start"],
)
def test_workers_that_end_are_replaced(
    ends: Callable[[str, str, int], bool],
    season: Path,
    quick_bundle: Bundle,
    quick_prediction: Path,
    tmp_path: Path,
) -> None:
    report = run(season, quick_bundle, tmp_path, InProcessPool(ends=ends))
    assert contents(tmp_path) == contents(quick_prediction)
    assert report["cluster"]["lost"] >= 1


@pytest.mark.parametrize(
    ("differs", "reason"),
    [
        (with_other(version="9.9"), "version: must be .*, got 9.9"),
        (with_other(bundle="0" * 64), "bundle: must be .*, got 0000"),
        (with_other(missing=("photo.jpg",)), "does not see photo photo.jpg"),
        (lambda facts: replace(facts, executor=replace(facts.executor, pixels="others")), "pixels: must be"),
    ],
    ids=["version", "bundle", "mount", "pixels"],
)
def test_a_node_that_differs_is_left_out_by_name(
    differs: Callable[[WorkerFacts], WorkerFacts],
    reason: str,
    season: Path,
    quick_bundle: Bundle,
    quick_prediction: Path,
    tmp_path: Path,
) -> None:
    same: Callable[[WorkerFacts], WorkerFacts] = lambda facts: facts  # noqa: E731
    pool = InProcessPool(nodes={"odd": differs, "a": same, "b": same})
    report = run(season, quick_bundle, tmp_path, pool)
    assert contents(tmp_path) == contents(quick_prediction)
    [(node, why)] = report["cluster"]["left_out"].items()
    assert node == "odd"
    pytest.importorskip("re").search(reason, why) or pytest.fail(why)
    assert ("odd", "compute") not in pool.calls


def test_nothing_is_written_where_all_nodes_differ(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    pool = InProcessPool(nodes={name: with_other(missing=("photo.jpg",)) for name in "ab"})
    with pytest.raises(WorkersLostError, match=r"a: does not see photo photo.jpg; b: does not see") as error:
        run(season, quick_bundle, tmp_path / "out", pool)
    assert error.value.exit_code == 15
    assert not (tmp_path / "out" / "records.jsonl").exists()
    assert pool.is_closed


def test_an_error_of_all_workers_is_that_of_the_run(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    pool = InProcessPool(fails=lambda _node, method, _number: BundleError("damaged") if method == "load" else None)
    with pytest.raises(BundleError, match="damaged"):
        run(season, quick_bundle, tmp_path / "out", pool)


def test_a_block_that_fails_twice_ends_the_run_with_its_error(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    once = InProcessPool(
        fails=lambda node, method, number: (
            RuntimeError("out of memory") if (node, method, number) == ("a", "compute", 1) else None
        )
    )
    run(season, quick_bundle, tmp_path / "once", once)
    assert contents(tmp_path / "once") == contents(quick_prediction)
    always = InProcessPool(fails=lambda _node, method, _number: BundleError("NaN") if method == "compute" else None)
    with pytest.raises(BundleError, match="NaN"):
        run(season, quick_bundle, tmp_path / "always", always)


def test_a_block_over_which_workers_end_is_named(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    pool = InProcessPool(ends=lambda _node, method, _number: method == "compute")
    with pytest.raises(WorkersLostError) as error:
        run(season, quick_bundle, tmp_path / "out", pool)
    assert error.value.exit_code == 15


@pytest.mark.parametrize("seed", range(3))
def test_a_node_that_hangs_delays_nothing(
    seed: int, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    pool = InProcessPool(hangs=frozenset("a"), seed=seed)
    report = run(season, quick_bundle, tmp_path, pool)
    assert contents(tmp_path) == contents(quick_prediction)
    assert report["cluster"]["sequences_by_node"] == {"b": report["counts"]["sequences"]}
    assert report["cluster"]["asked_twice"] >= 1


def test_photos_that_only_one_node_cannot_read_are_read_by_another(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    pool = InProcessPool(blind={"a": tmp_path / "empty"})
    report = run(season, quick_bundle, tmp_path / "out", pool)
    assert contents(tmp_path / "out") == contents(quick_prediction)
    assert report["cluster"]["sequences_by_node"] == {"b": report["counts"]["sequences"]}


@pytest.mark.parametrize(
    ("cluster", "shard", "message"),
    [
        ("dask", None, "--cluster: must be ray or ray:HOST:PORT, got 'dask'"),
        ("ray", "1/2", "--shard: must not be given with --cluster"),
    ],
)
def test_clusters_that_cannot_be_are_refused(
    cluster: str, shard: str | None, message: str, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        api.predict(season, quick_bundle.folder, tmp_path / "out", cluster=cluster, shard=shard)
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_named(
    season: Path, quick_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("inference.settings.packages.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="ray: must be installed, got none") as error:
        api.predict(season, quick_bundle.folder, tmp_path / "out", cluster="ray")
    assert "'cluster'" in str(error.value.hint)


@pytest.mark.parametrize("stops_at", [0, 1, 3])
def test_a_run_goes_on_locally_and_the_other_way_round(
    stops_at: int, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    def stops(_node: str, method: str, _number: int) -> Exception | None:
        return (
            InterruptedRunError("SIGTERM", 15)
            if method == "compute" and pool.n_run["a", "compute"] > stops_at
            else None
        )

    pool = InProcessPool(nodes={"a": lambda facts: facts}, fails=stops)
    with pytest.raises(InterruptedRunError):
        run(season, quick_bundle, tmp_path, pool)
    run_job(job_for(season, quick_bundle), tmp_path, OPTIONS)
    assert contents(tmp_path) == contents(quick_prediction)
    records = (tmp_path / "records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_bytes(b"".join(records[: 2 + stops_at]))
    run(season, quick_bundle, tmp_path, InProcessPool())
    assert contents(tmp_path) == contents(quick_prediction)
    assert json.loads((tmp_path / "run.json").read_text())["sequences_kept_from_earlier_run"] == 1 + stops_at


def test_effort_and_precision_change_in_mid_run(
    season: Path, quick_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a budget. Records in a precision are never those of another."""
    if not has_bfloat16():
        pytest.skip("needs a processor that multiplies in bfloat16")
    with_fast_bfloat16(monkeypatch)
    job = job_for(season, quick_bundle)
    requests = [
        (0, 1, Effort.FULL, Precision.FLOAT32),
        (1, 2, Effort.FULL, Precision.FLOAT32),
        (3, 1, Effort.FULL, Precision.MIXED),
        (4, 3, Effort.FULL, Precision.MIXED),
        (7, 5, Effort.FULL, Precision.FLOAT32),
    ]
    options = replace(OPTIONS, batch_size=3, budget=1000.0)
    executors = [make(job, options, Stopwatch(), lambda: None) for make in (local_executor, InProcessPool())]
    found = []
    for executor in executors:
        records: list[Record] = []
        for first, n_sequences, effort, precision in requests:
            end = first + n_sequences
            while (done := len(records)) < end:
                records += executor.next_records(done, end - done, effort, precision).records
        executor.close()
        found.append([(one.seq_id, one.frame_outputs.tobytes(), one.sequence_outputs.tobytes()) for one in records])
    assert found[0] == found[1]


@pytest.mark.e2e
def test_a_driver_of_a_million_sequences_stays_small_when_the_first_block_never_comes() -> None:
    command = [sys.executable, "-m", "runtime_tests.inference.execution.cluster.large_child", str(BUNDLE_FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment(), cwd=HAKUNA.parent)
    n_answered, megabytes = map(int, done.stdout.split())
    assert n_answered == MIN_WINDOW - 1
    assert megabytes < 1500


def test_a_run_without_a_cluster_does_not_import_ray(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise SystemExit('imported')")
    words = ("predict", season, "--bundle", quick_bundle.folder, "--out", tmp_path / "out")
    search_path = os.pathsep.join(map(str, (tmp_path, HAKUNA.parent)))
    assert hakuna(*words, PYTHONPATH=search_path).returncode == 0
    done = hakuna(*words, "--restart", "--cluster", "ray", PYTHONPATH=search_path)
    assert "imported" in done.stderr
