"""`hakuna rehearse` on archives of all kinds, in namespaces, in a plain process, and through the command `docker`."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.rehearsal.docker_runner import docker_command, why_no_docker
from benchmark.rehearsal.entry import Entry, run_entry
from benchmark.sandbox import sandbox
from benchmark.sandbox.sandbox import in_process
from benchmark.sandbox.supervise import catching_signals
from benchmark.scoring.log_loss import score
from inference.bundle.reader import Bundle
from inference.dataset.label_tables import read_labels, read_submission
from models.bundling.pack import pack
from runtime_tests.entrants import GOOD, WRITE_SUBMISSION, report, wait_for_log, write_archive, write_data
from runtime_tests.faults.commands import children_of
from runtime_tests.running import HAKUNA, hakuna, hakuna_here, is_running, start

STDERR = 2


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Format, labels and a file of its own."""
    return write_data(tmp_path / "data")


@pytest.fixture(scope="module")
def namespaces(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where the kernel does not let this user make namespaces."""
    data = write_data(tmp_path_factory.mktemp("probe") / "data")
    with in_process(data, None) as place:
        if not place.prefix:
            pytest.skip(place.runner)


def rehearse(tmp_path: Path, main: str, *options: object, **files: str) -> tuple[int, dict[str, Any], str]:
    write_archive(tmp_path / "submission.zip", main, **files)
    result = hakuna_here(
        "rehearse", tmp_path / "submission.zip", "--data", tmp_path / "data", "--out", tmp_path / "out",
        "--runner", "process", *options, COLUMNS="200",
    )  # fmt: skip
    return result.returncode, report(tmp_path / "out"), result.stdout + result.stderr


def log(tmp_path: Path) -> str:
    return (tmp_path / "out" / "log.txt").read_text()


@pytest.mark.e2e
def test_a_packed_bundle_gives_the_bytes_of_predict_and_their_score(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    labels = season / "test_labels.csv"
    pack(quick_bundle, tmp_path / "submission.zip")
    result = hakuna(
        "rehearse", tmp_path / "submission.zip", "--data", season, "--labels", labels, "--runner", "process",
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


@pytest.mark.usefixtures("namespaces")
def test_in_namespaces_a_program_sees_the_contract_and_nothing_else(data: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        main = (
            GOOD
            + f"""
import importlib.util, os, socket
print("paths", open("data/x.csv").read() == open("/inference/data/x.csv").read() == "hello from x\\n", os.getcwd())
print("labels", repr(open("data/labels.csv").read()), repr(open({str(data / "labels.csv")!r}).read() if os.path.exists({str(data)!r}) else ""))
for path in ("data/new", "/usr/new", "/etc/new", "/tmp/new", "/dev/shm/new"):
    try:
        open(path, "w").close()
        print("writes", path)
    except OSError as error:
        print("refused", path, error.errno)
try:
    socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), timeout=5)
    print("connected")
except OSError as error:
    print("no connection", error.errno)
print("processes", sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))
print("user", os.getuid(), [line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "NoNewPrivs"))])
print("ours", [name for name in ("hakuna", "inference", "models", "benchmark") if importlib.util.find_spec(name)])
import numpy, PIL
"""
        )
        code, content, said = rehearse(tmp_path, main, "--labels", data / "labels.csv")
    assert code == 0, said
    lines = log(tmp_path).splitlines()
    assert "paths True /inference" in lines
    assert "labels '' ''" in lines
    for path in ("data/new", "/usr/new", "/etc/new"):
        assert f"refused {path} 30" in lines
    for path in ("/tmp/new", "/dev/shm/new"):  # noqa: S108  # the program's own
        assert f"writes {path}" in lines
    assert "no connection 111" in lines
    assert "processes [1, 2]" in lines
    assert "user 1000 ['0000000000000000', '1']" in lines
    assert "ours []" in lines
    assert "no network" in content["enforced"]
    assert content["log_loss"] == pytest.approx(0.6931471805599453)  # -ln 0.5, whatever the labels
    assert "memory limit" in content["not_enforced"]
    assert "Linux namespaces" in said


def test_without_namespaces_a_program_runs_and_what_is_not_enforced_is_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_why_no_namespaces", lambda _: "unshare: Operation not permitted")
    main = (
        GOOD
        + "import importlib.util\nprint('ours', importlib.util.find_spec('inference'))\nprint(open('data/x.csv').read())"
    )
    archive = write_archive(tmp_path / "submission.zip", main)
    entry = Entry(archive, data, tmp_path / "out", budget=60, started=time.monotonic())
    with catching_signals() as signals:
        result = run_entry(entry, in_process(data, None), signals=signals, console=STDERR)
    assert result.exit_code == 0, result
    assert result.runner == "process (no namespaces: unshare: Operation not permitted)"
    assert {"no network", "data is read-only", "memory limit"} <= set(result.not_enforced)
    assert not set(result.enforced) & set(result.not_enforced)
    assert "ours None" in log(tmp_path)
    assert "hello from x" in log(tmp_path)


@pytest.mark.parametrize(
    ("main", "budget", "code", "verdict", "message"),
    [
        (GOOD + "import sys; sys.exit(42)", 60, 14, "the program failed", "main.py: must exit with 0, got 42"),
        (GOOD + "import os; os.kill(os.getpid(), 9)", 60, 14, "the program failed", "got 137 (killed: out of memory?)"),
        ("while True: pass", 2, 13, "ran past the time limit", "must end within 2 s of the start"),
        (GOOD, 0.01, 13, "ran past the time limit", "must leave time to run, but unpacking took all 0.01 s"),
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


def test_a_rehearsal_that_is_killed_takes_the_program_with_it(data: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip", "import time\nprint('ready')\ntime.sleep(60)")
    process = start("rehearse", archive, "--data", data, "--out", tmp_path / "out", "--runner", "process")
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
    assert "--runner docker: must be usable, but no docker command on the path" in result.stderr
    result = hakuna_here(*arguments, "--labels", tmp_path / "none.csv")
    assert result.returncode == 3
    assert "none.csv: must be a readable CSV file" in result.stderr
    assert hakuna_here(*arguments, "--budget", "0").returncode == 2
    assert not (tmp_path / "out").exists()
    result = hakuna_here("rehearse", archive, "--data", tmp_path, "--out", tmp_path / "out", "--runner", "process")
    assert result.returncode == 3
    assert report(tmp_path / "out")["verdict"] == "not judged"


DOCKER = f"""#!{sys.executable}
import os, pathlib, subprocess, sys
arguments = sys.argv[1:]
if arguments[0] in ("info", "rm"):
    sys.exit(0)
if arguments[:2] == ["image", "inspect"]:
    sys.exit(arguments[2] != "hakuna-runtime:cpu")
here = pathlib.Path(__file__).parent
(here / "arguments").write_text("\\n".join(arguments))
root = here / "root"
root.mkdir()
variables = dict(os.environ)
for option, value in zip(arguments, arguments[1:]):
    if option == "--volume" and value.split(":")[1].startswith("/inference/") and not value.startswith("/dev/null"):
        (root / value.split(":")[1].removeprefix("/inference/")).symlink_to(value.split(":")[0])
    if option == "--env":
        name, _, text = value.partition("=")
        variables[name] = text if name != "HAKUNA_SCRATCH" else str(here)
if "die" in os.environ:
    sys.exit(int(os.environ["die"]))
sys.exit(subprocess.run([sys.executable, {str(HAKUNA)!r}, "entrypoint", "--root", root], env=variables).returncode)
"""
"""Takes the place of an engine: it runs what the image runs, without a container."""


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """A folder with a command `docker`."""
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    return folder


def test_with_an_engine_the_image_runs_the_entry_and_the_result_is_looked_at_again(
    data: Path, docker: Path, tmp_path: Path
) -> None:
    archive = write_archive(tmp_path / "submission.zip")
    arguments = ("rehearse", archive, "--data", data, "--out", tmp_path / "out", "--labels", data / "labels.csv")
    result = hakuna_here(*arguments, PATH=f"{docker}:{os.environ['PATH']}")
    assert result.returncode == 0, result.stderr
    content = report(tmp_path / "out")
    assert content["runner"] == "docker, image hakuna-runtime:cpu"
    assert content["not_enforced"] == []
    assert content["log_loss"] == pytest.approx(0.6931471805599453)
    assert "done" in log(tmp_path)
    given = (docker / "arguments").read_text().splitlines()
    assert given[-2:] == ["hakuna-runtime:cpu", "entrypoint"]
    for option in ("--read-only", "--rm"):
        assert option in given
    for option, value in (
        ("--network", "none"),
        ("--cap-drop", "ALL"),
        ("--security-opt", "no-new-privileges"),
        ("--volume", f"{data}:/inference/data:ro"),
        ("--volume", "/dev/null:/inference/data/labels.csv:ro"),
    ):
        assert (option, value) in list(itertools.pairwise(given))
    for option in ("--memory", "--memory-swap", "--pids-limit", "--user"):
        assert given[given.index(option) + 1][0].isdecimal()


def test_a_container_that_dies_is_told_from_a_program_that_fails(data: Path, docker: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip", "raise SystemExit(5)")
    arguments = ("rehearse", archive, "--data", data, "--out", tmp_path / "out", "--runner", "docker")
    path = f"{docker}:{os.environ['PATH']}"
    result = hakuna_here(*arguments, PATH=path)
    assert result.returncode == 14
    assert report(tmp_path / "out")["program_exit_code"] == 5
    for code, expected, message in ((137, 14, "out of memory?"), (125, 1, "the container must leave rehearsal.json")):
        (docker / "root" / "data").unlink()
        (docker / "root" / "submission").unlink()
        (docker / "root").rmdir()
        result = hakuna(*arguments, PATH=path, die=str(code))
        assert (result.returncode, message in result.stderr) == (expected, True), result.stderr
        assert message in report(tmp_path / "out")["message"]


def test_an_engine_without_the_image_is_no_engine(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{docker}:{os.environ['PATH']}")
    assert why_no_docker("hakuna-runtime:cpu") is None
    assert why_no_docker("other:1") == "the engine has no image other:1"
    (docker / "docker").write_text("#!/bin/sh\nexit 1\n")
    assert why_no_docker("other:1") == "no engine answers `docker info`"


def test_labels_elsewhere_need_not_be_hidden(data: Path, tmp_path: Path) -> None:
    entry = Entry(tmp_path / "a.zip", data, tmp_path / "out", budget=60, started=time.monotonic())
    command = docker_command(entry, "i", "n", tmp_path, (tmp_path / "labels.csv",))
    assert not [value for value in command if value.startswith("/dev/null")]
