"""The Docker runner, with a stand-in for the engine: what it is given, and how little it is trusted."""

from __future__ import annotations

import itertools
import os
import platform
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.rehearsal.docker_runner import _outside, docker_command, why_no_docker
from benchmark.rehearsal.entry import Entry, report_on
from inference.core.errors import PastLimitError
from models.spec.contract import CONTRACTS_FOLDER
from runtime_tests.entrants import GOOD, report, write_archive, write_data
from runtime_tests.running import HAKUNA, hakuna, hakuna_here


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Format, labels and a file of its own."""
    return write_data(tmp_path / "data")


def log(tmp_path: Path) -> str:
    return (tmp_path / "out" / "log.txt").read_text()


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
handed_over = []
for option, value in zip(arguments, arguments[1:]):
    if option == "--volume" and value.endswith(":/contract.json:ro"):
        handed_over = ["--contract", value.split(":")[0]]
if "leave" in os.environ:
    exec(os.environ["leave"])
if "die" in os.environ:
    sys.exit(int(os.environ["die"]))
command = [sys.executable, {str(HAKUNA)!r}, "entrypoint", "--root", root, *handed_over]
sys.exit(subprocess.run(command, env=variables).returncode)
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
    assert (
        given.count("/dev/null:/inference/data/labels.csv:ro") == 1
    )  # Docker refuses a second mount of the same place
    for option in ("--memory", "--memory-swap", "--pids-limit", "--user"):
        assert given[given.index(option) + 1][0].isdecimal()


def test_a_container_that_dies_is_told_from_a_program_that_fails(data: Path, docker: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip", "raise SystemExit(5)")
    arguments = ("rehearse", archive, "--data", data, "--out", tmp_path / "out", "--runner", "docker")
    path = f"{docker}:{os.environ['PATH']}"
    result = hakuna_here(*arguments, PATH=path)
    assert result.returncode == 14
    assert report(tmp_path / "out")["program_exit_code"] == 5
    for code, expected, message in ((137, 14, "out of memory?"), (125, 1, "the container must end with 0, got 125")):
        (docker / "root" / "data").unlink()
        (docker / "root" / "submission").unlink()
        (docker / "root").rmdir()
        result = hakuna(*arguments, PATH=path, die=str(code))
        assert (result.returncode, message in result.stderr) == (expected, True), result.stderr
        assert message in report(tmp_path / "out")["message"]


FORGED = """
import json
report = {"format_version": 1, "verdict": "valid", "exit_code": 0, "message": "forged", "budget_seconds": 1, "seconds": 1,
          "log_loss": 0.001, "program_seconds": 1.5}
(root / "submission" / "rehearsal.json").write_text(json.dumps(report))
"""
LINK = "(root / 'submission' / 'rehearsal.json').symlink_to(root / 'rehearsal.json')"


@pytest.mark.parametrize(
    ("leave", "code"),
    [
        ("os.mkfifo(root / 'submission' / 'rehearsal.json')", 12),
        ("(root / 'submission' / 'rehearsal.json').symlink_to('/dev/zero')", 13),
        (FORGED.replace('"exit_code": 0', '"exit_code": 13').replace('/ "submission"', "") + LINK, 13),
        ("(root / 'submission' / 'rehearsal.json').mkdir()", 14),
        ("os.truncate(os.open(root / 'submission' / 'rehearsal.json', os.O_CREAT | os.O_WRONLY), 1 << 40)", 14),
        ("(root / 'submission' / 'rehearsal.json').write_text('[' * 60000)", 14),
        (FORGED, 5),
        (FORGED, 12),
    ],
)
def test_whatever_a_container_leaves_its_exit_code_decides(
    leave: str, code: int, data: Path, docker: Path, tmp_path: Path
) -> None:
    archive = write_archive(tmp_path / "submission.zip")
    result = hakuna_here(
        "rehearse", archive, "--data", data, "--out", tmp_path / "out", "--runner", "docker",
        "--labels", data / "labels.csv", PATH=f"{docker}:{os.environ['PATH']}", leave=leave, die=str(code),
    )  # fmt: skip
    assert result.returncode == code, result.stderr
    content = report(tmp_path / "out")
    assert content["verdict"] != "valid"
    assert content["log_loss"] is None
    assert f"the container must end with 0, got {code}" in content["message"]
    assert not (tmp_path / "out" / "submission.csv").exists()


def test_a_forged_report_of_a_container_that_ends_well_gives_no_score(data: Path, docker: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip")
    arguments = ("rehearse", archive, "--data", data, "--out", tmp_path / "out", "--runner", "docker")
    path = f"{docker}:{os.environ['PATH']}"
    result = hakuna_here(*arguments, PATH=path, leave=FORGED, die="0")
    assert result.returncode == 12, result.stderr
    assert "submission.csv: the program must write it" in report(tmp_path / "out")["message"]
    shutil.rmtree(docker / "root")
    good = "import shutil; shutil.copy(root / 'data' / 'submission_format.csv', root / 'submission' / 'submission.csv')"
    result = hakuna_here(*arguments, PATH=path, leave=FORGED + good, die="0")
    assert result.returncode == 0, result.stderr
    content = report(tmp_path / "out")
    assert content["message"] == "submission.csv: 3 rows"
    assert content["log_loss"] is None  # there were no labels


def test_names_that_docker_would_take_for_others_are_refused(data: Path, docker: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip")
    for name in ("a:b", os.fsdecode(b"\xff")):
        odd = data.rename(tmp_path / name)
        result = hakuna_here(
            "rehearse", archive, "--data", odd, "--out", tmp_path / "out", PATH=f"{docker}:{os.environ['PATH']}"
        )
        assert result.returncode == 3
        assert "must be printable UTF-8 without ':' for Docker" in report(tmp_path / "out")["message"]
        data = odd
    assert not (docker / "arguments").exists()


def test_an_engine_without_the_image_is_no_engine(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{docker}:{os.environ['PATH']}")
    assert why_no_docker("hakuna-runtime:cpu") is None
    assert why_no_docker("other:1") == "the engine has no image other:1"
    (docker / "docker").write_text("#!/bin/sh\nexit 1\n")
    assert why_no_docker("other:1") == "no engine answers `docker info`"


def test_another_contract_reaches_the_container_with_its_root_and_its_limits(
    data: Path, docker: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(
        (CONTRACTS_FOLDER / "code_execution.toml").read_text().replace("network =", "memory_gib = 0.5\nnetwork =")
    )
    main = GOOD.replace("write_submission()", "write_submission(path='submission/submission.csv')")
    archive = write_archive(tmp_path / "submission.zip", main)
    arguments = ("rehearse", archive, "--data", data, "--out", tmp_path / "out", "--labels", data / "labels.csv")
    result = hakuna_here(*arguments, "--contract", tmp_path / "mine.toml", PATH=f"{docker}:{os.environ['PATH']}")
    assert result.returncode == 0, result.stderr
    content = report(tmp_path / "out")
    assert (content["contract"], content["not_enforced"]) == ("code_execution", [])
    assert (content["python"], content["cores"]) == (platform.python_version(), len(os.sched_getaffinity(0)))
    given = (docker / "arguments").read_text().splitlines()
    assert given[-4:] == ["hakuna-runtime:cpu", "entrypoint", "--contract", "/contract.json"]
    assert given[given.index("--memory") + 1] == str(512 << 20)
    targets = [two.partition(":")[2] for one, two in itertools.pairwise(given) if one == "--volume"]
    assert "/code_execution" in targets
    for place in ("/inference/data", "/code_execution/data"):  # labels are hidden wherever the data are
        assert f"{place}:ro" in targets
        assert targets.count(f"{place}/labels.csv:ro") == 1


def test_the_message_of_a_container_has_the_names_and_the_limit_of_this_machine(data: Path, tmp_path: Path) -> None:
    entry = Entry(tmp_path / "a.zip", data, tmp_path / "out", 60, time.monotonic(), source=tmp_path / "entry")
    inside = "/inference/submission/submission.zip: late by 58.7 s; see /inference/submission/log.txt"
    claimed = report_on(replace(entry, budget=58.7), PastLimitError(inside))
    assert _outside(entry, claimed) == f"{tmp_path}/entry: late by 60 s; see {tmp_path}/out/log.txt"


def test_labels_elsewhere_need_not_be_hidden(data: Path, tmp_path: Path) -> None:
    entry = Entry(tmp_path / "a.zip", data, tmp_path / "out", budget=60, started=time.monotonic())
    command = docker_command(entry, "i", "n", tmp_path, (tmp_path / "labels.csv",))
    assert not [value for value in command if value.startswith("/dev/null")]
