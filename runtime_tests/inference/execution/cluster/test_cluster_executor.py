"""Runs on a cluster end in the bytes of a local run, whatever happens to its workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.selftest.demo import BUNDLE_FOLDER
from inference import api
from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.errors import BundleError, CheckpointError, InterruptedRunError, UsageError, WorkersLostError
from inference.ensemble import audit
from inference.execution.cluster import blocks, members
from inference.execution.cluster.block_worker import WorkerFacts
from inference.execution.cluster.blocks import MIN_WINDOW
from inference.execution.cluster.this_machine import options, private_folder
from inference.execution.cluster.tokens import use_own_token
from inference.execution.local_executor import local_executor
from inference.networks.engine_openvino import has_bfloat16
from inference.process.stopwatch import Stopwatch
from inference.records.schema import AUDIT_NAME, Record
from runtime_tests.in_process_pool import OPTIONS, InProcessPool, run_on, with_other
from runtime_tests.long_season import OUTPUTS, contents
from runtime_tests.processors import with_fast_bfloat16
from runtime_tests.running import HAKUNA, environment, hakuna, job_for, run_job

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixed precision is offered, fast or not."""
    if not has_bfloat16():
        pytest.skip("needs a processor that multiplies in bfloat16")
    with_fast_bfloat16(monkeypatch)


def test_a_cluster_without_mirror_images_gives_the_bytes_of_a_local_run(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    job = replace(job_for(season, quick_bundle), flip_tta=False)
    for name, executor_for in (("local", local_executor), ("cluster", InProcessPool())):
        run_job(job, tmp_path / name, OPTIONS, executor_for=executor_for)
    assert contents(tmp_path / "cluster") == contents(tmp_path / "local") != contents(quick_prediction)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_cluster_gives_the_bytes_of_a_local_run(
    batch_size: int, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    pool = InProcessPool()
    report = run_on(pool, season, quick_bundle, tmp_path, replace(OPTIONS, batch_size=batch_size))
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
    report = run_on(InProcessPool(ends=ends), season, quick_bundle, tmp_path)
    assert contents(tmp_path) == contents(quick_prediction)
    assert report["cluster"]["lost"] >= 1


@pytest.mark.parametrize(
    ("differs", "reason"),
    [
        (with_other(version="9.9"), "version: must be .*, got 9.9"),
        (with_other(bundle="0" * 64), "bundle: must be .*, got 0000"),
        (with_other(odd_photo="photo.jpg"), "does not see photo photo.jpg"),
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
    report = run_on(pool, season, quick_bundle, tmp_path)
    assert contents(tmp_path) == contents(quick_prediction)
    [(node, why)] = report["cluster"]["left_out"].items()
    assert node == "odd"
    pytest.importorskip("re").search(reason, why) or pytest.fail(why)
    assert ("odd", "compute") not in pool.calls


def on_cpu(facts: WorkerFacts) -> WorkerFacts:
    return replace(facts, executor=replace(facts.executor, device="CPU"))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "odd",
    [lambda facts: replace(facts, executor=replace(facts.executor, device="another GPU")), on_cpu],
    ids=["another model", "on the CPU"],
)
def test_a_gpu_that_differs_is_left_out_without_the_others_of_its_node(
    odd: Callable[[WorkerFacts], WorkerFacts], seed: int, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    gpu: Callable[[WorkerFacts], WorkerFacts] = lambda facts: replace(  # noqa: E731
        facts, executor=replace(facts.executor, device="GPU")
    )
    pool = InProcessPool(nodes={"a GPU 0": gpu, "a GPU 1": odd, "a GPU 2": gpu}, seed=seed)
    report = run_on(pool, season, quick_bundle, tmp_path)
    [(place, why)] = report["cluster"]["left_out"].items()
    assert place == "a GPU 1"
    assert why.startswith("device: must be GPU")
    assert pool.calls.count(("a GPU 1", "facts")) == 1
    assert report["cluster"]["sequences_by_node"] == {"a": report["counts"]["sequences"]}
    assert {place for place, method in pool.calls if method == "compute"} == {"a GPU 0", "a GPU 2"}


def test_gpus_that_cannot_be_used_leave_one_worker_for_the_cores(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    pool = InProcessPool(nodes={f"a GPU {number}": on_cpu for number in range(3)})
    report = run_on(pool, season, quick_bundle, tmp_path)
    assert contents(tmp_path) == contents(quick_prediction)
    left_out = report["cluster"]["left_out"]
    assert len(left_out) == 2
    assert set(left_out.values()) == {"its networks run on the CPU, which another worker of its node uses"}


def test_a_node_is_left_out_with_all_its_gpus(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    pool = InProcessPool(
        nodes={
            "a GPU 0": with_other(version="9.9"),
            "a GPU 1": with_other(version="9.9"),
            "b": lambda facts: facts,
        }
    )
    report = run_on(pool, season, quick_bundle, tmp_path)
    assert list(report["cluster"]["left_out"]) == ["a"]


def test_nothing_is_written_where_all_nodes_differ(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    pool = InProcessPool(nodes={name: with_other(odd_photo="photo.jpg") for name in "ab"})
    with pytest.raises(WorkersLostError, match=r"a: does not see photo photo.jpg as .*; b: does not see") as error:
        run_on(pool, season, quick_bundle, tmp_path / "out")
    assert error.value.exit_code == 15
    assert not (tmp_path / "out" / "records.jsonl").exists()
    assert pool.is_closed


@pytest.mark.parametrize("has_records", [False, True])
def test_existing_records_decide_which_kind_of_processor_computes(
    has_records: bool, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    if has_records:
        records = (quick_prediction / "records.jsonl").read_bytes().splitlines(keepends=True)
        (tmp_path / "records.jsonl").write_bytes(b"".join(records[:3]))
    pool = InProcessPool(
        nodes={name: lambda facts: facts for name in "abc"}, probes={"a": 2**-20, "c": 2**-20}, seed=int(has_records)
    )
    report = run_on(pool, season, quick_bundle, tmp_path)
    left_out = report["cluster"]["left_out"]
    assert set(left_out) == ({"a", "c"} if has_records else {"b"})
    assert all("answer the probe differently" in reason for reason in left_out.values())
    if has_records:
        assert contents(tmp_path) == contents(quick_prediction)


def test_records_of_another_kind_of_processor_are_refused(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    records = (quick_prediction / "records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_bytes(b"".join(records[:3]))
    pool = InProcessPool(probes={"a": 2**-20, "b": 2**-20})
    with pytest.raises(CheckpointError, match="another kind of processor"):
        run_on(pool, season, quick_bundle, tmp_path)
    assert pool.is_closed


def test_a_budget_limits_the_wait_for_a_first_worker(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(WorkersLostError, match="no worker answered"):
        run_on(InProcessPool(nodes={}), season, quick_bundle, tmp_path, replace(OPTIONS, budget=4.0))
    assert 2.0 <= time.monotonic() - begun < 4.0


def test_workers_end_with_a_run_that_has_nothing_to_do(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    run_on(InProcessPool(), season, quick_bundle, tmp_path)
    again = InProcessPool()
    run_on(again, season, quick_bundle, tmp_path)
    assert again.is_closed
    other = InProcessPool(nodes={"a": lambda facts: replace(facts, executor=replace(facts.executor, pixels="others"))})
    with pytest.raises(CheckpointError, match="pixels"):
        run_on(other, season, quick_bundle, tmp_path)
    assert other.is_closed


def test_a_sample_is_computed_by_all_workers(season: Path, quick_bundle: Bundle) -> None:
    """The audit of a precision must not take longer than the run."""
    job, pool = job_for(season, quick_bundle), InProcessPool()
    local, cluster = (make(job, OPTIONS, Stopwatch(), lambda: None) for make in (local_executor, pool))
    cluster.load(Precision.FLOAT32)
    assert (local.n_batches_at_once, cluster.n_batches_at_once) == (1, 4)
    sample = [job.sequences[number] for number in (7, 2, 9, 1, 0, 5)]
    found = [
        [(one.seq_id, one.frame_outputs.tobytes()) for one in executor.sample(sample, Precision.FLOAT32).records]
        for executor in (local, cluster)
    ]
    assert found[0] == found[1]
    assert {node for node, method in pool.calls if method == "compute"} == {"a", "b"}
    local.close()
    cluster.close()


@pytest.mark.usefixtures("bfloat16")
def test_a_lower_precision_is_proven_and_audited_as_locally(
    season: Path, quick_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(audit, "SHARE", 1.0)
    job = replace(job_for(season, quick_bundle), precision=Precision.MIXED, max_loss_increase=1.0)
    for name, executor_for in (("local", local_executor), ("cluster", InProcessPool())):
        report = run_job(job, tmp_path / name, OPTIONS, executor_for=executor_for)
        assert report["precision"]["used"] == "mixed"
    names = (*OUTPUTS, AUDIT_NAME)
    assert all((tmp_path / "local" / name).read_bytes() == (tmp_path / "cluster" / name).read_bytes() for name in names)


def test_a_node_that_joins_in_mid_run_gets_work(
    season: Path, quick_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "UNMEASURED_SECONDS", 0.0)
    nodes: dict[str, Callable[[WorkerFacts], WorkerFacts]] = {"a": lambda facts: facts}
    pool = InProcessPool(nodes=nodes)
    executor = pool(job_for(season, quick_bundle), OPTIONS, Stopwatch(), lambda: None)
    executor.next_records(0, 1, Effort.FULL, Precision.FLOAT32)
    assert executor.status()["workers"] == 1
    nodes["b"], pool.hangs = nodes["a"], frozenset("a")
    for first in range(1, 12):
        executor.next_records(first, 1, Effort.FULL, Precision.FLOAT32)
    assert set(executor.figures()["cluster"]["sequences_by_node"]) == {"a", "b"}
    assert executor.status()["workers"] == 2
    executor.close()


@pytest.mark.usefixtures("bfloat16")
def test_nodes_of_another_kind_that_join_in_mid_run_decide_nothing(season: Path, quick_bundle: Bundle) -> None:
    """Not in the precision of the first records, nor in one that is tried later."""
    nodes: dict[str, Callable[[WorkerFacts], WorkerFacts]] = {"a": lambda facts: facts}
    pool = InProcessPool(nodes=nodes, probes={"b": 2**-10, "c": 2**-10})
    executor = pool(job_for(season, quick_bundle), OPTIONS, Stopwatch(), lambda: None)
    first = executor.load(Precision.FLOAT32)
    executor.next_records(0, 1, Effort.FULL, Precision.FLOAT32)
    nodes |= {"b": nodes["a"], "c": nodes["a"]}
    executor.load(Precision.MIXED)
    np.testing.assert_array_equal(executor.load(Precision.FLOAT32), first)
    executor.next_records(1, 5, Effort.FULL, Precision.FLOAT32)
    assert set(executor.figures()["cluster"]["sequences_by_node"]) == {"a"}
    executor.close()


def test_a_worker_that_ends_beside_a_node_that_is_left_out_is_replaced(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    pool = InProcessPool(
        nodes={"odd": with_other(version="9.9"), "a": lambda facts: facts},
        ends=lambda node, method, number: node == "a" and method in ("load", "compute") and number == 1,
    )
    report = run_on(pool, season, quick_bundle, tmp_path)
    assert contents(tmp_path) == contents(quick_prediction)
    assert (report["cluster"]["lost"], list(report["cluster"]["left_out"])) == (2, ["odd"])


def test_a_precision_that_no_worker_can_load_is_an_error_of_that_precision(season: Path, quick_bundle: Bundle) -> None:
    """The run continues in float32, with the same nodes."""
    pool = InProcessPool(
        nodes={"odd": with_other(version="9.9"), "a": lambda facts: facts},
        fails=lambda _node, method, number: RuntimeError("not enough") if (method, number) == ("load", 2) else None,
    )
    executor = pool(job_for(season, quick_bundle), OPTIONS, Stopwatch(), lambda: None)
    executor.load(Precision.FLOAT32)
    with pytest.raises(RuntimeError, match="not enough"):
        executor.load(Precision.MIXED)
    assert len(executor.next_records(0, 2, Effort.FULL, Precision.FLOAT32).records) == 2
    assert set(executor.figures()["cluster"]["left_out"]) == {"odd"}
    executor.close()


def test_an_error_of_all_workers_is_that_of_the_run(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    pool = InProcessPool(fails=lambda _node, method, _number: BundleError("damaged") if method == "load" else None)
    with pytest.raises(BundleError, match="damaged"):
        run_on(pool, season, quick_bundle, tmp_path / "out")


def test_a_block_that_fails_twice_ends_the_run_with_its_error(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    once = InProcessPool(
        fails=lambda node, method, number: (
            RuntimeError("out of memory") if (node, method, number) == ("a", "compute", 1) else None
        )
    )
    run_on(once, season, quick_bundle, tmp_path / "once")
    assert contents(tmp_path / "once") == contents(quick_prediction)
    always = InProcessPool(fails=lambda _node, method, _number: BundleError("NaN") if method == "compute" else None)
    with pytest.raises(BundleError, match="NaN"):
        run_on(always, season, quick_bundle, tmp_path / "always")


def test_a_node_that_always_fails_is_done_without(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Even while the other one seems to hang, and the same worker gets its block again."""
    monkeypatch.setattr(blocks, "UNMEASURED_SECONDS", -1.0)
    monkeypatch.setattr(blocks, "MIN_TIMES", 100)

    def fails(node: str, method: str, number: int) -> Exception | None:
        if (node, method) != ("a", "compute"):
            return None
        pool.hangs = frozenset("b") if number < members.MAX_FRUITLESS else frozenset()
        return RuntimeError("GPU is lost")

    pool = InProcessPool(fails=fails, hangs=frozenset("b"))
    report = run_on(pool, season, quick_bundle, tmp_path)
    assert contents(tmp_path) == contents(quick_prediction)
    reason = "its workers end without a record, the last one with: GPU is lost"
    assert report["cluster"]["left_out"] == {"a": reason}


def test_a_node_whose_workers_never_get_ready_is_left_out(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    pool = InProcessPool(ends=lambda node, method, _number: (node, method) == ("a", "load"))
    report = run_on(pool, season, quick_bundle, tmp_path, replace(OPTIONS, batch_size=1, budget=1000.0))
    assert contents(tmp_path) == contents(quick_prediction)
    assert report["cluster"]["left_out"] == {"a": "its workers end without a record, the last one with: killed"}
    assert report["cluster"]["lost"] == members.MAX_FRUITLESS


def test_a_block_over_which_workers_end_is_named_and_earlier_records_are_kept(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    job = job_for(season, quick_bundle)
    deadly = job.sequences[6].seq_id
    pool = InProcessPool(kills=frozenset([deadly]))
    with pytest.raises(WorkersLostError, match="must be computed by a worker, but several workers ended") as error:
        run_on(pool, season, quick_bundle, tmp_path)
    assert error.value.exit_code == 15
    assert str(error.value).startswith(f"sequences {deadly} to {job.sequences[7].seq_id}: ")
    kept = (tmp_path / "records.jsonl").read_bytes().splitlines()
    assert kept == (quick_prediction / "records.jsonl").read_bytes().splitlines()[: len(kept)]
    assert len(kept) == 1 + 6


@pytest.mark.parametrize("seed", range(3))
def test_a_node_that_hangs_delays_nothing(
    seed: int, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    pool = InProcessPool(hangs=frozenset("a"), seed=seed)
    report = run_on(pool, season, quick_bundle, tmp_path)
    assert contents(tmp_path) == contents(quick_prediction)
    assert report["cluster"]["sequences_by_node"] == {"b": report["counts"]["sequences"]}
    assert report["cluster"]["asked_twice"] >= 1


@pytest.mark.parametrize(
    ("cluster", "shard", "message"),
    [
        ("dask", None, "--cluster: must be ray or ray:HOST:PORT, got 'dask'"),
        ("ray", "1/2", "--shard: must not be given with --cluster"),
        ("ray:auto", None, "must be ray:HOST:PORT"),
        ("ray:ray://head:10001", None, "must be ray:HOST:PORT"),
        ("ray:head", None, "must be ray:HOST:PORT"),
    ],
)
def test_clusters_that_cannot_be_are_refused(
    cluster: str, shard: str | None, message: str, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        api.predict(season, quick_bundle.folder, tmp_path / "out", cluster=cluster, shard=shard)
    assert not (tmp_path / "out").exists()


def test_a_cluster_of_this_machine_needs_its_token_before_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"RAY_AUTH_MODE": "token"})
    use_own_token()
    assert os.environ == {"RAY_AUTH_MODE": "token"}
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setitem(sys.modules, "ray", sys)
    with pytest.raises(UsageError, match="Ray must be imported with RAY_AUTH_MODE=token"):
        use_own_token()
    monkeypatch.delitem(sys.modules, "ray")
    use_own_token()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


@pytest.mark.parametrize(("free", "is_shared"), [(10**6, False), (10**9, True)])
def test_little_shared_memory_is_not_used(free: int, is_shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    found = options("folder")
    assert (found["_plasma_directory"] == "/dev/shm") is is_shared  # noqa: S108  # it is shared memory
    assert found["object_store_memory"] < 10**9


def test_the_folder_of_a_cluster_is_for_this_user_only_and_has_a_short_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    short, long = tempfile.mkdtemp(prefix="hr"), tmp_path / ("x" * 100)
    long.mkdir()
    for parent, expected in ((short, short), (str(long), "/tmp")):  # noqa: S108  # expected, not used
        monkeypatch.setattr(tempfile, "tempdir", parent)
        folder = Path(private_folder())
        assert (str(folder.parent), folder.stat().st_mode & 0o777) == (expected, 0o700)
        folder.rmdir()
    Path(short).rmdir()
    monkeypatch.setattr(tempfile, "tempdir", short)
    with pytest.raises(UsageError, match="TMPDIR must be a folder that can be written"):
        private_folder()


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
        run_on(pool, season, quick_bundle, tmp_path)
    run_job(job_for(season, quick_bundle), tmp_path, OPTIONS)
    assert contents(tmp_path) == contents(quick_prediction)
    records = (tmp_path / "records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_bytes(b"".join(records[: 2 + stops_at]))
    run_on(InProcessPool(), season, quick_bundle, tmp_path)
    assert contents(tmp_path) == contents(quick_prediction)
    assert json.loads((tmp_path / "run.json").read_text())["sequences_kept_from_earlier_run"] == 1 + stops_at


@pytest.mark.usefixtures("bfloat16")
def test_effort_and_precision_change_in_mid_run(season: Path, quick_bundle: Bundle) -> None:
    """Under a budget. Records in a precision are never those of another."""
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
