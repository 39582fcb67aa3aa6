"""Full disks and failing calls: the documented exit code, an old or a new submission, and a resume in the same bytes."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from inference.bundle.reader import Bundle
from inference.core.errors import OutputError
from models.spec.recipe import load_recipe
from models.training.history import write_tensorboard
from runtime_tests.conftest import SECOND_RECIPE
from runtime_tests.faults.commands import OLD, Season, leave_older_submission, predict, results
from runtime_tests.faults.conftest import Figures
from runtime_tests.models.stacking.test_stacking import write_season
from runtime_tests.running import hakuna_here

CALLS = {"fsync": 8, "replace": 3}
"""Failing calls, and how often a run makes them at least."""
NO_THREAD_LOCAL_DATA = "cannot allocate memory for thread-local data: ABORT"
"""The C library of GNU prints this when it ends a process."""


def assert_survived(season: Season, out: Path, code: int, said: str, undisturbed: dict[str, bytes]) -> None:
    """The run reported the failed write, left an old or new submission, and resumes when there is room again."""
    assert code == 5, said
    assert "must be writable" in said
    assert "Traceback" not in said
    assert (out / "submission.csv").read_bytes() in (OLD, undisturbed["submission.csv"])
    code, said = predict(season, out)
    assert code == 0, said
    assert results(out) == undisturbed
    assert not list(out.glob(".*")), "temporary files must not stay"


@pytest.mark.parametrize("call", CALLS)
def test_a_failing_call_ends_the_run_with_5_and_loses_nothing(
    call: str, quick: Season, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    leave_older_submission(tmp_path)
    count = 2 + random.Random(call).randrange(CALLS[call] - 1)  # noqa: S311  # the first is the heartbeat's
    code, said = predict(quick, tmp_path, fault=f"fail-{call}:{count}")
    assert_survived(quick, tmp_path, code, said, undisturbed)


@pytest.mark.faults
def test_every_failing_call(quick: Season, undisturbed: dict[str, bytes], tmp_path: Path, figures: Figures) -> None:
    n_failed = 0
    for call, most in CALLS.items():
        for count in range(1, most + 1):
            out = tmp_path / f"{call}{count}"
            out.mkdir()
            leave_older_submission(out)
            code, said = predict(quick, out, fault=f"fail-{call}:{count}")
            assert_survived(quick, out, code, said, undisturbed)
            n_failed += 1
    figures["failing syscalls"] = {"calls_failed": n_failed, "exit_5": n_failed, "resume_identical": n_failed}


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_file_that_cannot_grow_ends_the_run_with_5(
    share: float, quick: Season, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    leave_older_submission(tmp_path)
    limit = int(share * len(undisturbed["records.jsonl"]))
    command = [sys.executable, "-m", "runtime_tests.faults.faulty", "none", "predict", quick.data]
    command += ["--bundle", quick.bundle, "--out", tmp_path, "--batch-size", 2]
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert_survived(quick, tmp_path, done.returncode, done.stderr, undisturbed)


@pytest.mark.parametrize("limits", [(1200,), pytest.param(range(300, 2100, 150), marks=pytest.mark.faults)])
def test_too_little_memory_ends_the_run_with_1_and_loses_nothing(
    limits: Sequence[int], quick: Season, undisturbed: dict[str, bytes], tmp_path: Path, figures: Figures
) -> None:
    """Address space in megabytes: where it ends, allocations fail and no thread can be started."""
    codes: dict[str, int] = {}
    for limit in limits:
        out = tmp_path / str(limit)
        out.mkdir()
        leave_older_submission(out)
        command = [sys.executable, "-m", "runtime_tests.faults.faulty", "none", "predict", quick.data]
        done = subprocess.run(
            list(map(str, [*command, "--bundle", quick.bundle, "--out", out, "--workers", 2, "--batch-size", 2])),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_AS, (limit << 20, limit << 20)),
        )
        codes[str(limit)] = done.returncode
        by_c_library = done.returncode == 127 and NO_THREAD_LOCAL_DATA in done.stderr
        assert done.returncode in (0, 1) or by_c_library, done.stderr
        assert (out / "submission.csv").read_bytes() in (OLD, undisturbed["submission.csv"])
        code, said = predict(quick, out)
        assert code == 0, said
        assert results(out) == undisturbed
    figures["too little memory"] = {"exit_code_by_megabytes": codes, "resume_identical": len(codes)}
    assert {1, 127} & set(codes.values())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_small_disk_ends_the_run_with_5(
    quick: Season, undisturbed: dict[str, bytes], tmp_path: Path, figures: Figures
) -> None:
    out = tmp_path / "disk"
    out.mkdir()
    size = len(undisturbed["records.jsonl"]) // 2
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", out], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    try:
        leave_older_submission(out)
        code, said = predict(quick, out)
        assert code == 5, said
        assert (out / "submission.csv").read_bytes() == OLD
        roomy = tmp_path / "roomy"
        shutil.copytree(out, roomy)
    finally:
        subprocess.run(["umount", out], check=True)
    assert_survived(quick, roomy, code, said, undisturbed)
    figures["disk full"] = {"disk_bytes": size, "exit_code": 5, "resume_identical": True}


@contextmanager
def no_room(n_bytes: int) -> Iterator[None]:
    """No file of this process can become larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def commands(folder: Path, assets: Path, bundle: Path, stackers: Path) -> dict[str, tuple[list[object], Path]]:
    """Commands that write something, and where, beside `predict` and `train`."""
    out = folder / "out"
    second = ("--recipe", SECOND_RECIPE)
    season = ("--sequences", 2, "--cameras", 1, "--size", "96x128", "--workers", 1)
    return {
        "bundle import": (["bundle", "import", assets, *second, "--out", out], out),
        "bundle build": (["bundle", "build", "--networks", assets, *second, "--out", out], out),
        "pack": (["pack", "--bundle", bundle, "--out", out], out),
        "synth": (["synth", out, *season], out / "test_labels.csv"),
        "bench stages": (["bench", "stages", "--quick", "--cache-dir", folder, "--json", out], out),
        "stack": (["stack", "--train", "S9", "--valid", "S10", "--records", stackers, "--labels", stackers / "labels.csv",
                   *second, "--out", out], out / "zebra.txt"),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["bundle import", "bundle build", "pack", "synth", "bench stages", "stack"])
def test_no_command_that_writes_ends_with_a_traceback(
    name: str, second_assets: Path, second_bundle: Bundle, tmp_path: Path
) -> None:
    records, scratch = tmp_path / "records", tmp_path / "scratch"
    scratch.mkdir()
    if name == "stack":
        for seed, season in enumerate(("S9", "S10")):
            write_season(records, season, load_recipe(str(SECOND_RECIPE)), seed)
    words, target = commands(scratch, second_assets, second_bundle.folder, records)[name]
    with no_room(1000):
        done = hakuna_here(*words)
    assert done.returncode == 5, done.stderr
    assert "must be writable, got: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not target.exists()
    assert not [path for path in scratch.iterdir() if path.name.startswith(".")], "nothing half-made stays"


def test_figures_of_an_epoch_without_room_are_reported(tmp_path: Path) -> None:
    """TensorFlow writes them, whose errors are no OSErrors."""
    entry = dict.fromkeys(("training_loss", "validation_log_loss", "learning_rate", "images_per_second"), 0.5)
    with no_room(10), pytest.raises(OutputError, match="tensorboard must be writable, got: "):
        write_tensorboard(tmp_path, {**entry, "epoch": 0, "validation_log_loss_by_class": {"zebra": 0.5}})
