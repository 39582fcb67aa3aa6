"""`hakuna rehearse` on archives of all kinds, in bubblewrap and in a plain process."""

from __future__ import annotations

import json
import os
import signal
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.rehearsal.entry import Entry, run_entry
from benchmark.rehearsal.rehearse import _add, _as_archive
from benchmark.rehearsal.submission_check import accept_submission
from benchmark.sandbox.contract import Rule
from benchmark.sandbox.sandbox import Sandbox, in_bubblewrap, in_process
from benchmark.sandbox.supervise import catching_signals, supervise
from benchmark.scoring.log_loss import score
from inference.bundle.reader import Bundle
from inference.core.errors import InterruptedRunError
from inference.dataset.label_tables import read_labels, read_submission
from models.bundling.pack import pack
from runtime_tests.entrants import (
    GOOD,
    WRITE_SUBMISSION,
    report,
    require_bubblewrap,
    wait_for_log,
    write_archive,
    write_data,
)
from runtime_tests.faults.commands import children_of
from runtime_tests.running import hakuna, hakuna_here, is_running, start

STDERR = 2


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Format, labels and a file of its own."""
    return write_data(tmp_path / "data")


@pytest.fixture
def bubblewrap() -> None:
    """Skips where bubblewrap is not to be had."""
    require_bubblewrap()


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A folder with nothing but the commands that a test puts there, for PATH."""
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def rehearse(tmp_path: Path, main: str, *options: object, **files: str) -> tuple[int, dict[str, Any], str]:
    write_archive(tmp_path / "submission.zip", main, **files)
    result = hakuna_here(
        "rehearse", tmp_path / "submission.zip", "--data", tmp_path / "data", "--out", tmp_path / "out",
        *(("--runner", "process") if "--runner" not in options else ()), *options, COLUMNS="200",
    )  # fmt: skip
    return result.returncode, report(tmp_path / "out"), result.stdout + result.stderr


def write_command(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def log(tmp_path: Path) -> str:
    return (tmp_path / "out" / "log.txt").read_text()


@pytest.mark.e2e
@pytest.mark.usefixtures("bubblewrap")
def test_a_packed_bundle_gives_the_bytes_of_predict_and_their_score(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    labels = season / "test_labels.csv"
    season.chmod(0o755)  # started by root, the program is another user
    pack(quick_bundle, tmp_path / "submission.zip")
    result = hakuna(
        "rehearse", tmp_path / "submission.zip", "--data", season, "--labels", labels, "--runner", "bubblewrap",
        "--out", tmp_path / "out", "--json", tmp_path / "report.json", "--budget", "10m", COLUMNS="200",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    predicted = quick_prediction / "submission.csv"
    assert (tmp_path / "out" / "submission.csv").read_bytes() == predicted.read_bytes()
    content = json.loads((tmp_path / "report.json").read_text())
    assert content == report(tmp_path / "out")
    assert content["log_loss"] == score(read_submission(predicted), read_labels(labels)).log_loss
    assert (content["verdict"], content["rows"], content["program_exit_code"]) == ("valid", 12, 0)
    assert 0 < content["program_seconds"] <= content["seconds"] < content["budget_seconds"] == 600
    assert 100 << 20 < content["peak_memory_bytes"] < 8 << 30
    assert f"{content['log_loss']:.6f}" in result.stdout
    assert "demo model: not for conclusions" in log(tmp_path)


@pytest.mark.usefixtures("bubblewrap")
def test_in_bubblewrap_a_program_finds_the_contract_and_the_score_is_made_outside(data: Path, tmp_path: Path) -> None:
    main = (
        GOOD
        + """
import importlib.util, os
print("paths", open("data/x.csv").read() == open("/inference/data/x.csv").read() == "hello from x\\n", os.getcwd())
print("labels", repr(open("data/labels.csv").read()))
for path in ("new", "own/new", "own/file", "/tmp/new", "/dev/shm/new"):
    open(path, "a").close()
print("ours", [name for name in ("hakuna", "inference", "models", "benchmark") if importlib.util.find_spec(name)])
import numpy, PIL
"""
    )
    options = ("--labels", data / "labels.csv", "--runner", "bubblewrap")
    code, content, said = rehearse(tmp_path, main, *options, **{"own/file": "x"})
    assert code == 0, said + log(tmp_path)
    lines = log(tmp_path).splitlines()
    assert "paths True /inference" in lines
    assert "labels ''" in lines
    assert "ours []" in lines
    assert {"no network", "no sockets or pipes of this machine"} <= set(content["enforced"])
    assert content["log_loss"] == pytest.approx(0.6931471805599453)  # -ln 0.5, whatever the labels
    assert {"memory limit", "limits of processes and disk space"} <= set(content["not_enforced"])
    assert content["runner"] == "bubblewrap"


def test_without_isolation_a_program_runs_only_where_that_was_asked_for(
    data: Path, commands: Path, tmp_path: Path
) -> None:
    main = (
        GOOD
        + "import importlib.util\nprint('ours', importlib.util.find_spec('inference'))\nprint(open('data/x.csv').read())"
    )
    archive = write_archive(tmp_path / "submission.zip", main)
    arguments = ("rehearse", archive, "--data", data, "--out", tmp_path / "out")
    for runner in ("auto", "bubblewrap"):
        result = hakuna_here(*arguments, "--runner", runner, PATH=str(commands))
        assert result.returncode == 2
        assert "no bwrap command on the path (Debian: apt install bubblewrap)" in result.stderr
        assert "--runner process runs the program without isolation" in result.stderr
        assert not (tmp_path / "out").exists()
    write_command(commands / "bwrap", "echo 'bwrap: No permissions to create new namespace' >&2; exit 1")
    result = hakuna_here(*arguments, PATH=f"{commands}:/usr/bin")
    assert result.returncode == 2
    assert "bwrap: No permissions to create new namespace" in result.stderr
    result = hakuna_here(*arguments, "--runner", "process", PATH=str(commands))
    assert result.returncode == 0, result.stderr
    content = report(tmp_path / "out")
    assert content["runner"] == "process"
    left = {
        "no network",
        "no sockets or pipes of this machine",
        "data is read-only",
        "labels are hidden",
        "memory limit",
    }
    assert left <= set(content["not_enforced"])
    assert not set(content["enforced"]) & set(content["not_enforced"])
    assert "ours None" in log(tmp_path)
    assert "hello from x" in log(tmp_path)


def test_a_plain_process_cannot_read_the_labels_where_the_kernel_has_landlock(data: Path, tmp_path: Path) -> None:
    for name in ("labels.csv", "other.csv"):  # as in a container that has the file mounted several times
        os.link(data / "labels.csv", tmp_path / name)
    main = (
        GOOD
        + f"""
import os, pathlib
for path in ("data/labels.csv", {str(data / "labels.csv")!r}, {str(tmp_path / "labels.csv")!r}, {str(tmp_path / "other.csv")!r}, "/proc/%d/root" % os.getppid(), "/proc/%d/mem" % os.getppid()):
    try:
        print("sees", path, os.listdir(path) if path.endswith("root") else open(path, "rb").read(1))
    except OSError as error:
        print("refused", path, error.errno)
pathlib.Path("own.txt").write_text("own")
print("reads", open("own.txt").read(), open("data/x.csv").read().split(), len(os.listdir("data")))
"""
    )
    code, content, said = rehearse(tmp_path, main, "--labels", tmp_path / "labels.csv")
    assert code == 0, said + log(tmp_path)
    if "labels are hidden" in content["not_enforced"]:
        pytest.skip("the kernel has no Landlock")
    lines = log(tmp_path).splitlines()
    assert "reads own ['hello', 'from', 'x'] 3" in lines
    assert len([line for line in lines if line.startswith("refused") and line.endswith(" 13")]) == 6, lines
    assert "labels are hidden" in content["enforced"]
    assert content["log_loss"] == pytest.approx(0.6931471805599453)
    _, content, _ = rehearse(tmp_path, main)
    assert "labels are hidden" in content["not_enforced"]
    assert "sees data/labels.csv b's'" in log(tmp_path)  # what was not named is not hidden


def test_an_isolation_that_was_to_be_had_and_fails_ends_the_rehearsal(
    data: Path, commands: Path, tmp_path: Path
) -> None:
    # What `why_no_bubblewrap` tries works; what the program needs does not.
    write_command(commands / "bwrap", 'case "$*" in *--chdir*) echo "bwrap: cannot bind" >&2; exit 1;; esac; exit 0')
    archive = write_archive(tmp_path / "submission.zip", "open('ran', 'w')")
    for runner in ("auto", "bubblewrap"):
        result = hakuna_here(
            "rehearse", archive, "--data", data, "--out", tmp_path / "out", "--runner", runner,
            PATH=f"{commands}:/usr/bin",
        )  # fmt: skip
        assert result.returncode == 1
        content = report(tmp_path / "out")
        assert content["verdict"] == "not judged"
        assert "must be able to start and to read" in content["message"]
        assert "bwrap: cannot bind" in content["message"]
        assert content["program_exit_code"] is None


def test_an_archive_whose_name_is_not_utf8_is_run_and_named(data: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"entr\xe9e.zip")
    arguments = ("rehearse", odd, "--data", data, "--out", tmp_path / "out", "--runner", "process")
    strict = {"PYTHONIOENCODING": "utf-8:strict", "COLUMNS": "300"}
    write_archive(odd, "raise SystemExit(3)")
    assert hakuna(*arguments, **strict).returncode == 14
    assert r"entr\udce9e.zip: 1 member, " in log(tmp_path)
    odd.unlink()
    result = hakuna(*arguments, **strict)
    assert result.returncode == 3, result.stderr
    assert r"entr\udce9e.zip: must be an archive (.zip) or a folder with main.py" in result.stderr


@pytest.mark.parametrize(
    ("shown", "others"), [(tuple(Rule), 0), ((), 1)], ids=["its own processes only", "all processes"]
)
def test_what_a_program_leaves_behind_is_counted_where_it_is_all_its_own(
    shown: tuple[Rule, ...], others: int, data: Path, tmp_path: Path
) -> None:
    main = GOOD + "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    archive = write_archive(tmp_path / "submission.zip", main)

    @contextmanager
    def place() -> Iterator[Sandbox]:
        with in_process(data, None) as made:
            yield replace(made, enforced=shown)

    with catching_signals() as signals:
        run_entry(
            Entry(archive, data, tmp_path / "out", 60, time.monotonic()), place(), signals=signals, console=STDERR
        )
    assert log(tmp_path).count("main.py left 1 processes behind, which were ended") == others


@pytest.mark.parametrize(
    ("main", "budget", "code", "verdict", "message"),
    [
        (GOOD + "import sys; sys.exit(42)", 60, 14, "the program failed", "main.py: must exit with 0, got 42"),
        (GOOD + "import os; os.kill(os.getpid(), 9)", 60, 14, "the program failed", "got 137 (killed: out of memory?)"),
        ("while True: pass", 2, 13, "ran past the time limit", "must end within 2 s of the start"),
        (GOOD, 0.01, 13, "ran past the time limit", "must be unpacked before the time limit of 0.01 s, took "),
        (WRITE_SUBMISSION + "write_submission('2')", 60, 12, "archive or submission invalid", "got '2'"),
        ("import os; os.mkfifo('submission.csv')", 60, 12, "archive or submission invalid", "must be a regular file"),
    ],
)
def test_every_outcome_has_its_code_and_its_words(
    main: str, budget: float, code: int, verdict: str, message: str, data: Path, tmp_path: Path
) -> None:
    archive = write_archive(tmp_path / "submission.zip", main)
    entry = Entry(archive, data, tmp_path / "out", budget, started=time.monotonic())
    with catching_signals() as signals:
        result = run_entry(entry, in_process(data, None), signals=signals, console=STDERR)
    assert (result.verdict, result.exit_code) == (verdict, code)
    assert message in result.message
    assert message in log(tmp_path)
    assert result.submission_sha256 is None
    assert not (tmp_path / "out" / "submission.csv").exists()
    assert json.loads((tmp_path / "out" / "status.json").read_text())["stage"] == "failed"


@pytest.mark.parametrize(("late", "verdict"), [("check", "valid"), ("program", "ran past the time limit")])
def test_the_time_until_the_programs_end_is_judged_and_reported(
    late: str, verdict: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that ends after the limit is not the program's fault; a program that ends just after it is too late."""
    clock, module = time.monotonic, "benchmark.rehearsal.entry"

    def slow_check(*arguments: Any) -> None:
        accept_submission(*arguments)
        monkeypatch.setattr(time, "monotonic", lambda: clock() + 100)

    if late == "check":
        monkeypatch.setattr(f"{module}.accept_submission", slow_check)
    else:
        monkeypatch.setattr(f"{module}.supervise", lambda *a, **k: replace(supervise(*a, **k), seconds=60.01))
    entry = Entry(write_archive(tmp_path / "submission.zip"), data, tmp_path / "out", 60, time.monotonic())
    with catching_signals() as signals:
        result = run_entry(entry, in_process(data, None), signals=signals, console=STDERR)
    assert result.verdict == verdict
    assert (result.seconds <= 60) is (verdict == "valid")
    assert report(tmp_path / "out")["seconds"] == result.seconds
    assert f"verdict: {verdict}, {result.seconds:.2f} of 60 s" in log(tmp_path)
    assert (tmp_path / "out" / "submission.csv").exists() is (verdict == "valid")


@pytest.mark.usefixtures("data")
def test_an_archive_that_is_refused_is_not_run(tmp_path: Path) -> None:
    code, content, said = rehearse(tmp_path, "open('ran', 'w')", **{"/usr/absolute": "x"})
    assert code == 12, said
    assert "member '/usr/absolute': its path must not be absolute" in content["message"]
    assert content["program_exit_code"] is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_rehearsal_and_the_program(
    number: signal.Signals, code: int, data: Path, tmp_path: Path
) -> None:
    main = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('ready', flush=True)\nwhile True: time.sleep(0.1); open('alive', 'w')"
    archive = write_archive(tmp_path / "submission.zip", main)
    process = start("rehearse", archive, "--data", data, "--out", tmp_path / "out", "--runner", "process")
    wait_for_log(tmp_path / "out" / "log.txt", "ready")
    children = children_of(process.pid)
    assert children
    begun = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert time.monotonic() - begun < 8
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert report(tmp_path / "out")["verdict"] == "interrupted"


@pytest.mark.usefixtures("bubblewrap")
def test_in_bubblewrap_too_a_program_is_told_before_it_is_killed(data: Path, tmp_path: Path) -> None:
    main = "import signal, sys, time\nsignal.signal(15, lambda *_: (print('told'), sys.exit(3)))\nprint('ready')\ntime.sleep(60)"
    archive = write_archive(tmp_path / "submission.zip", main)
    entry = Entry(archive, data, tmp_path / "out", 3, started=time.monotonic())
    with catching_signals() as signals:
        result = run_entry(entry, in_bubblewrap(data, None), signals=signals, console=STDERR)
    assert (result.verdict, result.exit_code, result.program_exit_code) == ("ran past the time limit", 13, 3)
    assert "told" in log(tmp_path).splitlines()


@pytest.mark.parametrize("runner", ["process", "bubblewrap"])
def test_a_rehearsal_that_is_killed_takes_the_program_with_it(runner: str, data: Path, tmp_path: Path) -> None:
    if runner == "bubblewrap":
        require_bubblewrap()
    archive = write_archive(tmp_path / "submission.zip", "import time\nprint('ready')\ntime.sleep(60)")
    process = start("rehearse", archive, "--data", data, "--out", tmp_path / "out", "--runner", runner)
    wait_for_log(tmp_path / "out" / "log.txt", "ready")
    family = children_of(process.pid)
    for pid in family:
        family += children_of(pid)
    assert family
    process.kill()
    process.communicate(timeout=30)
    for _ in range(500):
        if not any(map(is_running, family)):
            return
        time.sleep(0.01)
    pytest.fail(f"of {family} some are still there after 5 s")


def test_what_is_asked_for_and_not_there_is_told_before_anything_runs(data: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip")
    arguments = ("rehearse", archive, "--data", data, "--out", tmp_path / "out")
    result = hakuna_here(*arguments, "--runner", "docker", PATH="/nowhere")
    assert result.returncode == 2
    assert "--runner docker: must be usable, got no Docker: no docker command on the path" in result.stderr
    result = hakuna_here(*arguments, "--labels", tmp_path / "none.csv")
    assert result.returncode == 3
    assert "none.csv: must be a readable CSV file" in result.stderr
    assert hakuna_here(*arguments, "--budget", "0").returncode == 2
    assert (
        "Invalid value for '--runner': 'dokcer' is not one of" in hakuna_here(*arguments, "--runner", "dokcer").stderr
    )
    for folder, got in ((tmp_path, "got no submission_format.csv"), (tmp_path / "none", "got no such folder")):
        result = hakuna_here("rehearse", archive, "--data", folder, "--out", tmp_path / "out", "--runner", "process")
        assert result.returncode == 3
        assert f"must be a folder with photos, test_metadata.csv and submission_format.csv, {got}" in result.stderr
    assert not (tmp_path / "out").exists()


def test_only_a_folder_of_a_rehearsal_is_written_to_again(data: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip")
    out = tmp_path / "out"
    arguments = ("rehearse", archive, "--data", data, "--runner", "process", "--out")
    out.mkdir()
    (out / "submission.csv").write_text("of a prediction")
    for folder, got in (
        (out, "one with submission.csv"),
        (data, "that of the entry or the data"),
        (archive, "that of"),
    ):
        result = hakuna_here(*arguments, folder)
        assert result.returncode == 2
        assert (
            f"--out {folder}: must be a new or empty folder, or that of an earlier rehearsal, got {got}"
            in result.stderr
        )
        assert "hint: choose another folder" in result.stderr
    assert (out / "submission.csv").read_text() == "of a prediction"
    assert not (out / "log.txt").exists()
    (out / "submission.csv").unlink()
    for _ in range(2):  # empty, then its own
        assert hakuna_here(*arguments, out).returncode == 0


def test_no_error_leaves_the_verdict_of_an_earlier_rehearsal(data: Path, tmp_path: Path) -> None:
    archive, out, figures = write_archive(tmp_path / "submission.zip"), tmp_path / "out", tmp_path / "figures.json"
    arguments = ("--data", data, "--runner", "process", "--out", out, "--json", figures)
    assert hakuna_here("rehearse", archive, *arguments).returncode == 0
    assert hakuna_here("rehearse", tmp_path / "submision.zip", *arguments).returncode == 3
    content = report(out)
    assert (content["verdict"], content["exit_code"]) == ("not judged", 3)
    assert "submision.zip: must be an archive" in content["message"]
    written = json.loads(figures.read_text())
    assert (written["verdict"], written["message"]) == (content["verdict"], content["message"])
    assert sorted(one.name for one in out.iterdir()) == ["rehearsal.json", "status.json"]


def test_a_killed_rehearsal_leaves_no_verdict_and_its_folder_can_be_used_again(data: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip", "import time\nprint('ready')\ntime.sleep(60)")
    process = start("rehearse", archive, "--data", data, "--out", tmp_path / "out", "--runner", "process")
    wait_for_log(tmp_path / "out" / "log.txt", "ready")
    process.kill()
    process.communicate(timeout=30)
    assert report(tmp_path / "out")["verdict"] == "not judged"
    assert rehearse(tmp_path, GOOD)[0] == 0


@pytest.mark.usefixtures("data")
def test_quiet_prints_errors_and_figures_only(tmp_path: Path) -> None:
    assert rehearse(tmp_path, GOOD, "-q")[2] == ""
    assert "done" in log(tmp_path)
    _, content, said = rehearse(tmp_path, GOOD + "import nothing_of_that_name", "-q")
    assert said == f"hakuna: {content['message']}\nhint: {content['hint']}\n"
    assert json.loads(rehearse(tmp_path, GOOD, "-q", "--json")[2])["verdict"] == "valid"


@pytest.mark.parametrize(
    ("main", "message", "hint"),
    [
        ("import nothing.here", "\"ModuleNotFoundError: No module named 'nothing'\"", "package nothing is not in the"),
        ("raise SystemExit('[Errno -3] Temporary failure in name resolution')", "name resolution'", "has no network"),
        ("import os; print('x' * 300); os.kill(os.getpid(), 11)", "139 (segmentation fault: a library crashed)", None),
        ("raise SystemExit(1)", "main.py: must exit with 0, got 1; it printed nothing; see", None),
    ],
)
@pytest.mark.usefixtures("data")
def test_a_program_that_fails_is_reported_with_its_last_words(
    main: str, message: str, hint: str | None, tmp_path: Path
) -> None:
    code, content, said = rehearse(tmp_path, main)
    assert code == 14
    assert message in content["message"]
    assert f"see {tmp_path / 'out' / 'log.txt'}" in content["message"]
    assert "x" * 201 not in content["message"]
    assert (hint or "hint") in (content["hint"] or "no hint")
    assert ("hint" in said) is (hint is not None)


def entry_of(folder: Path, n_bytes: int) -> Path:
    """An entry as a folder with a file of zeros that takes no disk."""
    folder.mkdir()
    (folder / "main.py").write_text(GOOD)
    with (folder / "weights.bin").open("wb") as file:
        file.truncate(n_bytes)
    return folder


@pytest.mark.parametrize(
    ("n_bytes", "code", "message"),
    [
        (33 << 30, 12, "entry: must unpack to at most 34,359,738,368 bytes, got 35,433,480,"),
        (8 << 30, 13, "entry: must be packed within the 0.1 s of the time limit, took 0."),
    ],
)
def test_a_folder_that_is_too_large_is_refused_while_it_is_packed(
    n_bytes: int, code: int, message: str, data: Path, tmp_path: Path
) -> None:
    folder = entry_of(tmp_path / "entry", n_bytes)
    arguments = ("--data", data, "--out", tmp_path / "out", "--runner", "process", "--budget", "0.1s")
    assert hakuna_here("rehearse", folder, *arguments).returncode == code
    assert message in report(tmp_path / "out")["message"]


def test_a_signal_ends_the_packing_of_a_folder(data: Path, tmp_path: Path) -> None:
    entry = Entry(entry_of(tmp_path / "entry", 16 << 30), data, tmp_path / "out", 60, time.monotonic())
    with catching_signals() as signals:
        signals.caught.append(signal.SIGTERM)
        with pytest.raises(InterruptedRunError), _as_archive(entry, None, None, signals):
            pass
    calls = iter((None, None))
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w") as archive,
        pytest.raises(StopIteration),  # at the third block
    ):
        _add(archive, entry.archive / "weights.bin", "weights.bin", lambda: next(calls))
