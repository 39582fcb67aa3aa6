"""`hakuna rehearse` under other contracts, of folders, and on a few sequences first."""

from __future__ import annotations

import csv
import os
import re
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import rehearse as command
from benchmark.rehearsal.entrypoint import run_entrypoint
from benchmark.sandbox.supervise import catching_signals
from inference.bundle.reader import Bundle
from models.bundling.pack import pack
from models.spec.contract import CONTRACTS_FOLDER, load_contract
from runtime_tests.entrants import (
    GOOD,
    SEQ_IDS,
    WRITE_SUBMISSION,
    report,
    require_bubblewrap,
    write_archive,
    write_data,
)
from runtime_tests.running import hakuna, hakuna_here

WHERE = """
import os, sys
print("runs", os.getcwd(), sys.argv[0])
for path in ("new", "../new", "../output/new", "/code_execution/new", "/app/program/new", "/app/new", "data/new", "../input_data/new"):
    try:
        open(path, "w").close()
        print("wrote", path)
    except OSError:
        pass
print("variables", *(f"{name}={os.environ.get(name)}" for name in ("LANG", "SHELL", "IS_SMOKE_TEST", "HAKUNA_BUDGET")))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Format, labels, metadata and photos of three sequences, of which one has no metadata."""
    folder = write_data(tmp_path / "data")
    with (folder / "test_metadata.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [[f"2016-01-01 00:00:0{k}", f"S1/{k}.JPG", SEQ_IDS[k // 2]] for k in range(4)]
        csv.writer(file).writerows([["datetime", "file_name", "seq_id"], *rows])
    (folder / "S1").mkdir()
    for k in range(3):  # the last photo is missing
        (folder / "S1" / f"{k}.JPG").write_bytes(b"photo %d" % k)
    folder.chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def _budgets_count_from_each_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the start of the process that runs all tests."""
    monkeypatch.setattr(command, "process_start", time.monotonic)


@pytest.fixture
def bubblewrap() -> None:
    """Skips where bubblewrap is not to be had."""
    require_bubblewrap()


def rehearse(tmp_path: Path, entry: Path, *options: object) -> tuple[int, dict[str, Any], list[str], str]:
    """Exit code, report, lines of the log (none where the program did not run), and what was printed."""
    out = tmp_path / "out"
    if "--runner" not in options:
        options = (*options, "--runner", "process")
    result = hakuna_here("rehearse", entry, "--data", tmp_path / "data", "--out", out, *options, COLUMNS="250")
    log = (out / "log.txt").read_text().splitlines() if (out / "log.txt").exists() else []
    return result.returncode, report(out), log, result.stdout + result.stderr


def answer(data: str, submission: str) -> str:
    """A program that reads the format where a contract has it, and writes the submission where the contract expects it."""
    return (
        WRITE_SUBMISSION.replace("data/submission_format", f"{data}/submission_format")
        + f"write_submission(path={submission!r})\n"
    )


@pytest.mark.usefixtures("data", "bubblewrap")
def test_in_bubblewrap_code_execution_is_as_on_drivendata(tmp_path: Path) -> None:
    main = answer("/code_execution/data", "/code_execution/submission/submission.csv") + WHERE
    archive = write_archive(tmp_path / "submission.zip", main + "import helper", **{"helper.py": "print('helped')"})
    labels = tmp_path / "data" / "labels.csv"
    options = ("--contract", "code_execution", "--runner", "bubblewrap", "--labels", labels)
    code, content, log, said = rehearse(tmp_path, archive, *options)
    assert code == 0, said + "\n".join(log)
    assert "runs /code_execution src/main.py" in log
    assert [line for line in log if line.startswith("wrote")] == ["wrote new", "wrote /code_execution/new"]
    assert "variables LANG=C.UTF-8 SHELL=/bin/bash IS_SMOKE_TEST=None HAKUNA_BUDGET=None" in log
    assert "helped" in log
    assert (content["contract"], content["runner"]) == ("code_execution", "bubblewrap")
    assert content["submission_path"] == "/code_execution/submission/submission.csv"
    assert {"no network", "labels are hidden", "data is read-only"} <= set(content["enforced"])
    assert content["log_loss"] == pytest.approx(0.6931471805599453)  # -ln 0.5, whatever the labels
    assert content["budget_seconds"] == 8 * 3600


@pytest.mark.usefixtures("data", "bubblewrap")
def test_in_bubblewrap_codabench_has_its_folders_beside_the_program(tmp_path: Path) -> None:
    main = answer("/app/input_data", "/app/output/submission.csv") + WHERE
    archive = write_archive(tmp_path / "submission.zip", main, **{"metadata.yaml": "command: python3 main.py\n"})
    code, content, log, said = rehearse(tmp_path, archive, "--contract", "codabench", "--runner", "bubblewrap")
    assert code == 0, said + "\n".join(log)
    assert "runs /app/program main.py" in log
    # Not /app itself, and not the data.
    wrote = ["new", "../output/new", "/app/program/new"]
    assert [line for line in log if line.startswith("wrote")] == [f"wrote {path}" for path in wrote]
    assert content["budget_seconds"] == 600
    assert "no network" in content["enforced"]


@pytest.mark.usefixtures("data")
def test_a_plain_process_finds_a_contract_by_relative_paths(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip", answer("data", "submission/submission.csv") + WHERE)
    code, content, log, said = rehearse(tmp_path, archive, "--contract", "code_execution")
    assert code == 0, said
    assert any(re.fullmatch("runs .*/work src/main.py", line) for line in log), log
    assert "/code_execution exists" in content["not_enforced"]


@pytest.mark.usefixtures("data")
def test_a_submission_in_the_place_of_another_contract_is_none(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip", GOOD)
    assert rehearse(tmp_path, archive)[0] == 0
    code, content, _, _ = rehearse(tmp_path, archive, "--contract", "code_execution")
    assert code == 12
    wanted = "/code_execution/submission/submission.csv: the program must write it, got /code_execution/submission.csv"
    assert content["message"] == wanted
    assert "main.py starts this is submission/submission.csv" in content["hint"]


@pytest.mark.usefixtures("data")
def test_files_that_a_contract_asks_for_are_checked(tmp_path: Path) -> None:
    main = answer("../input_data", "../output/submission.csv")
    for files, message in (
        (
            {},
            "must have a file metadata.yaml at its root, with the line 'command: python3 main.py' or 'command: python ",
        ),
        ({"metadata.yaml": "command: python3 other.py"}, "must have the line 'command: python3 main.py'"),
        ({"metadata.yaml": "command: python3 main.py" + "\n" * (1 << 20)}, "must have the line"),
        ({"metadata.yaml": "title: x\ncommand: python3 main.py\n"}, "submission.csv: 3 rows"),
        ({"metadata.yaml": "command: python main.py"}, "submission.csv: 3 rows"),
    ):
        archive = write_archive(tmp_path / "submission.zip", main, **files)
        code, content, _, _ = rehearse(tmp_path, archive, "--contract", "codabench")
        assert (code, message in content["message"]) == (0 if "rows" in message else 12, True), content["message"]


@pytest.mark.usefixtures("data")
def test_a_contract_of_ones_own_is_kept(tmp_path: Path) -> None:
    text = (CONTRACTS_FOLDER / "code_execution.toml").read_text()
    text = text.replace('entry = "main.py"', 'entry = "go.py"').replace('time_limit = "8h"', 'time_limit = "90s"', 1)
    (tmp_path / "mine.toml").write_text(text.replace('LANG = "C.UTF-8"', 'LANG = "de_DE.UTF-8"'))
    (tmp_path / "entry").mkdir()
    (tmp_path / "entry" / "go.py").write_text(answer("data", "submission/submission.csv") + WHERE)
    code, content, log, said = rehearse(tmp_path, tmp_path / "entry", "--contract", tmp_path / "mine.toml")
    assert code == 0, said
    assert content["budget_seconds"] == 90
    assert "variables LANG=de_DE.UTF-8 SHELL=/bin/bash IS_SMOKE_TEST=None HAKUNA_BUDGET=None" in log
    text = (tmp_path / "mine.toml").read_text().replace("network =", 'budget_variable = "HAKUNA_BUDGET"\nnetwork =')
    (tmp_path / "mine.toml").write_text(text)
    options = ("--contract", tmp_path / "mine.toml", "--budget", "1m")
    code, content, log, _ = rehearse(tmp_path, tmp_path / "entry", *options)
    assert (code, content["budget_seconds"]) == (0, 60)
    assert 0 < float(next(line for line in log if line.startswith("variables")).rpartition("=")[2]) <= 60


@pytest.mark.parametrize("runner", ["process", "bubblewrap"])
@pytest.mark.usefixtures("data")
def test_models_of_the_platform_are_where_the_contract_says_and_read_only(runner: str, tmp_path: Path) -> None:
    if runner == "bubblewrap":
        require_bubblewrap()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.txt").write_text("a model")
    main = (
        answer("data", "submission/submission.csv")
        + """
print("model", open("huggingface_models/m.txt").read())
try:
    open("huggingface_models/new", "w")
except OSError as error:
    print("refused", error.errno)
"""
    )
    archive = write_archive(tmp_path / "submission.zip", main)
    options = ("--models", tmp_path / "models", "--runner", runner)
    code, _, log, said = rehearse(tmp_path, archive, "--contract", "code_execution", *options)
    assert code == 0, said
    assert "model a model" in log
    assert ("refused 30" in log) is (runner == "bubblewrap")  # EROFS
    result = hakuna_here("rehearse", archive, "--data", tmp_path / "data", *options)
    assert result.returncode == 2
    assert "the contract must have a place for it, got contract serengeti2019" in result.stderr


def entry_folder(folder: Path, main: str = GOOD) -> Path:
    (folder / "weights").mkdir(parents=True)
    (folder / "main.py").write_text(main)
    (folder / "weights" / "w.bin").write_bytes(bytes(range(256)))
    return folder


@pytest.mark.usefixtures("data")
def test_a_folder_is_rehearsed_like_its_archive(tmp_path: Path) -> None:
    main = GOOD + "print('weights', open('weights/w.bin', 'rb').read() == bytes(range(256)))"
    code, content, log, said = rehearse(tmp_path, entry_folder(tmp_path / "entry", main))
    assert code == 0, said
    assert (content["verdict"], content["archive_members"]) == ("valid", 2)
    assert "weights True" in log
    assert sorted(one.name for one in (tmp_path / "entry").iterdir()) == ["main.py", "weights"]


def test_labels_data_and_results_inside_a_folder_are_no_part_of_the_entry(data: Path, tmp_path: Path) -> None:
    folder = entry_folder(tmp_path / "entry")
    inside = Path(shutil.copytree(data, folder / "photos"))
    labels = Path(shutil.copy(data / "labels.csv", folder))
    arguments = ("--data", inside, "--labels", labels, "--out", folder / "out", "--runner", "process")
    for _ in range(2):
        result = hakuna_here("rehearse", folder, *arguments)
        assert result.returncode == 0, result.stderr
        assert report(folder / "out")["archive_members"] == 2


@pytest.mark.usefixtures("data")
def test_a_rejected_entry_leaves_no_submission_of_an_earlier_one(tmp_path: Path) -> None:
    assert rehearse(tmp_path, entry_folder(tmp_path / "good"))[0] == 0
    assert (tmp_path / "out" / "submission.csv").exists()
    code, content, _, _ = rehearse(tmp_path, entry_folder(tmp_path / "bad", "raise SystemExit(3)"))
    assert (code, content["program_exit_code"]) == (14, 3)
    assert not (tmp_path / "out" / "submission.csv").exists()


def test_labels_of_other_sequences_are_refused_before_anything_runs(data: Path, tmp_path: Path) -> None:
    head, _, rest = (data / "labels.csv").read_text().partition("\n")
    (tmp_path / "other.csv").write_text(f"{head}\nother{rest}")
    arguments = ("--data", data, "--labels", tmp_path / "other.csv", "--out", tmp_path / "out", "--runner", "process")
    result = hakuna_here("rehearse", entry_folder(tmp_path / "entry"), *arguments)
    assert result.returncode == 3
    assert (
        "other.csv: must have the sequences of submission_format.csv, got 1 sequence missing, such as" in result.stderr
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("data")
def test_a_folder_in_the_place_of_the_submission_is_removed(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip", GOOD, **{"submission.csv/x": "1"})
    code, _, log, said = rehearse(tmp_path, archive)
    assert code == 0, said
    assert any("submission.csv came with the archive and was removed" in line for line in log)


@pytest.mark.usefixtures("data")
def test_links_in_a_folder_are_refused_by_name_and_not_followed(tmp_path: Path) -> None:
    folder = entry_folder(tmp_path / "entry")
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    code, content, _, _ = rehearse(tmp_path, folder)
    assert code == 12
    assert "entry, file 'link': it must not be a link" in content["message"]


@pytest.mark.usefixtures("data")
def test_a_folder_that_is_no_entry_is_refused_before_it_is_read(tmp_path: Path) -> None:
    def refused(folder: Path) -> str:
        code, content, log, _ = rehearse(tmp_path, folder)
        assert str(content["message"]).encode(errors="backslashreplace").decode() in log[0]
        assert "verdict: archive or submission invalid" in log[-1]
        assert (code, content["verdict"], content["exit_code"]) == (12, "archive or submission invalid", 12)
        assert content["program_seconds"] is None
        return str(content["message"])

    (tmp_path / "empty").mkdir()
    assert "empty: must have a file main.py at its root" in refused(tmp_path / "empty")
    folder = entry_folder(tmp_path / "nested" / "entry")
    assert f"at its root; got {folder / 'main.py'}: give that folder" in refused(tmp_path / "nested")
    folder = entry_folder(tmp_path / "entry")
    (folder / "Data").mkdir()
    assert "Data: must not be there, as the contract has" in refused(folder)
    assert report(tmp_path / "out")["hint"] == "move Data out of the folder, or make an archive without it"
    (folder / "Data").rename(folder / os.fsdecode(b"caf\xe9"))
    (folder / os.fsdecode(b"caf\xe9") / "x").touch()
    assert "its name must be UTF-8" in refused(folder)


def test_what_is_not_there_is_no_invalid_archive(data: Path, tmp_path: Path) -> None:
    for name in ("submision.zip", "dangling.zip"):
        if name == "dangling.zip":
            (tmp_path / name).symlink_to("nowhere")
        result = hakuna_here("rehearse", tmp_path / name, "--data", data, "--out", tmp_path / "out")
        assert result.returncode == 3
        assert (
            f"{name}: must be an archive (.zip) or a folder with main.py, got: no such file or folder" in result.stderr
        )
    assert hakuna_here("rehearse", data, "--data", data, "--contract", "kaggle").returncode == 2
    assert not (tmp_path / "out").exists()


SEES = """
import csv, os
with open("data/submission_format.csv", newline="") as file:
    print("format", [row[0] for row in csv.reader(file)][1:])
with open("data/test_metadata.csv", newline="") as file:
    print("metadata", *csv.reader(file))
print("photos", [open(f"data/S1/{k}.JPG").read() for k in range(4) if os.path.exists(f"data/S1/{k}.JPG")])
print("all", sorted(os.listdir("data")), os.environ.get("IS_SMOKE_TEST"))
"""


@pytest.mark.parametrize("runner", ["process", "bubblewrap"])
@pytest.mark.usefixtures("data")
def test_a_smoke_run_sees_a_few_sequences_and_the_full_run_follows(runner: str, tmp_path: Path) -> None:
    if runner == "bubblewrap":
        require_bubblewrap()
    read_labels = "print('labels', open('data/labels.csv').read() or 'empty')"
    main = f"{GOOD}{SEES}\ntry:\n    {read_labels}\nexcept OSError:\n    print('labels refused')"
    archive = write_archive(tmp_path / "submission.zip", main)
    options = ("--smoke", 1, "--runner", runner, "--labels", tmp_path / "data" / "labels.csv")
    before = os.umask(0o077)
    try:
        code, content, log, said = rehearse(tmp_path, archive, *options)
    finally:
        os.umask(before)
    assert code == 0, said
    assert (content["smoke_sequences"], content["rows"], content["verdict"]) == (1, 3, "valid")
    assert 0 < content["smoke_seconds"] < 60
    assert "1 sequence, " in said
    assert f"format {list(SEQ_IDS)}" in log
    smoke = (tmp_path / "out" / "smoke" / "log.txt").read_text().splitlines()
    assert f"format {[SEQ_IDS[0]]}" in smoke
    row = "['2016-01-01 00:00:0{0}', 'S1/{0}.JPG', '{1}']"
    rows = " ".join(row.format(k, SEQ_IDS[0]) for k in range(2))
    assert f"metadata ['datetime', 'file_name', 'seq_id'] {rows}" in smoke
    assert "photos ['photo 0', 'photo 1']" in smoke
    assert "all ['S1', 'labels.csv', 'submission_format.csv', 'test_metadata.csv'] None" in smoke
    assert ("labels empty" in smoke, "labels empty" in log) == (True, runner == "bubblewrap")
    assert "smoke run, verdict: valid" in "\n".join(smoke)
    assert "its output is in smoke/log.txt" in said
    assert content["log_loss"] == pytest.approx(0.6931471805599453)


@pytest.mark.usefixtures("data")
def test_without_a_number_a_smoke_run_has_the_contracts_sequences(tmp_path: Path) -> None:
    main = answer("data", "submission/submission.csv") + SEES + "import time; time.sleep(1)"
    archive = write_archive(tmp_path / "submission.zip", main)
    begun = time.monotonic()
    code, content, _, said = rehearse(tmp_path, archive, "--contract", "code_execution", "--smoke")
    assert code == 0, said
    assert content["smoke_seconds"] + content["seconds"] < time.monotonic() - begun  # each from its own start
    assert content["smoke_sequences"] == 2  # the third is not in the metadata
    assert report(tmp_path / "out" / "smoke")["budget_seconds"] == 1800
    smoke = (tmp_path / "out" / "smoke" / "log.txt").read_text().splitlines()
    assert "all ['S1', 'submission_format.csv', 'test_metadata.csv'] 1" in smoke
    assert content["budget_seconds"] == 8 * 3600


@pytest.mark.parametrize(
    ("main", "code", "message"),
    [
        ("raise SystemExit(5)", 14, "smoke run on 1 sequence: main.py: must exit with 0, got 5"),
        (
            "print('nothing')",
            12,
            "smoke run on 1 sequence: /inference/submission.csv: the program must write it, got no such file",
        ),
        ("import time; time.sleep(60)", 13, "smoke run on 1 sequence: main.py: must end within 2 s"),
    ],
)
@pytest.mark.usefixtures("data")
def test_where_the_smoke_run_fails_there_is_no_other(main: str, code: int, message: str, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip", main)
    found, content, log, _ = rehearse(tmp_path, archive, "--smoke", 1, "--budget", "2s")
    assert (found, content["exit_code"], content["smoke_sequences"]) == (code, code, 1)
    assert message in content["message"]
    assert log == []  # the full run has none
    assert not (tmp_path / "out" / "submission.csv").exists()


def test_data_without_sequences_for_a_smoke_run_are_refused(data: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip")
    arguments = ("rehearse", archive, "--data", data, "--out", tmp_path / "out", "--runner", "process", "--smoke", "1")
    (data / "test_metadata.csv").write_text("seq_id,datetime,file_name\nother,,x.jpg\n")
    result = hakuna_here(*arguments)
    assert result.returncode == 3
    assert "test_metadata.csv: must have sequences of submission_format.csv, got none" in result.stderr
    (data / "test_metadata.csv").unlink()
    assert hakuna_here(*arguments).returncode == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("data")
def test_the_result_begins_with_verdict_score_and_time_and_lists_python_cores_and_memory(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "submission.zip", GOOD)
    _, content, _, said = rehearse(tmp_path, archive, "--labels", tmp_path / "data" / "labels.csv")
    names = [line.split("│")[1].strip() for line in said.splitlines() if line.count("│") == 3]
    assert [name for name in names if name][:3] == ["verdict", "mean log loss", "time used"]
    assert names.index("where the submission must be") < names.index("enforced")
    for shown in (
        "/inference/submission.csv",
        f"{content['python']}; {len(content['packages'])} packages, such as numpy",
    ):
        assert shown in said
    assert content["cores"] == len(os.sched_getaffinity(0))
    assert 0 < content["memory_bytes"] <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert content["packages"]["tensorflow-cpu"] == version(
        "tensorflow-cpu"
    )  # in its folder's name it has an underscore
    assert not [name for name in content["packages"] if name.startswith("hakuna")]


def test_in_a_container_another_contract_has_its_own_root(data: Path, tmp_path: Path) -> None:
    """What the image does where `/code_execution` is mounted: a root of its own, which is empty again afterwards."""
    root, place = tmp_path / "inference", tmp_path / "place"
    for folder in (root / "submission", place):
        folder.mkdir(parents=True)
    for folder in (root, place):
        (folder / "data").symlink_to(data)
    write_archive(
        root / "submission" / "submission.zip", answer(f"{place}/data", f"{place}/submission/submission.csv") + WHERE
    )
    rules = load_contract("code_execution").model_copy(update={"root": str(place)})
    with catching_signals() as signals:
        code = run_entrypoint(
            root, budget=None, started=time.monotonic(), scratch=None, demo_bundle=None, signals=signals, rules=rules
        )
    log = (root / "submission" / "log.txt").read_text().splitlines()
    assert code == 0, log
    assert f"runs {place} src/main.py" in log
    content = report(root / "submission")
    assert (content["runner"], content["budget_seconds"]) == ("container", 8 * 3600)
    assert sorted(one.name for one in place.iterdir()) == ["data", "submission"]


@pytest.mark.e2e
@pytest.mark.parametrize("contract", ["code_execution", "codabench"])
@pytest.mark.usefixtures("bubblewrap")
def test_a_bundle_packed_for_a_contract_gives_the_bytes_of_predict_under_it(
    contract: str, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    season.chmod(0o755)  # started by root, the program is another user
    archive = tmp_path / "submission.zip"
    packed = hakuna_here("pack", "--bundle", quick_bundle.folder, "--contract", contract, "--out", archive)
    assert packed.returncode == 0, packed.stderr
    result = hakuna(
        "rehearse", archive, "--contract", contract, "--data", season, "--labels", season / "test_labels.csv",
        "--runner", "bubblewrap", "--smoke", 2, "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "submission.csv").read_bytes() == (quick_prediction / "submission.csv").read_bytes()
    assert report(tmp_path / "out")["smoke_sequences"] == 2


def test_the_default_archive_is_that_of_2019(quick_bundle: Bundle, tmp_path: Path) -> None:
    first, second = (pack(quick_bundle, tmp_path / name, *rules) for name, rules in (
        ("a.zip", ()), ("b.zip", (load_contract("serengeti2019"),)),
    ))  # fmt: skip
    assert first.sha256 == second.sha256
    other = pack(quick_bundle, tmp_path / "c.zip", load_contract("codabench"))
    assert other.n_members == first.n_members + 1  # metadata.yaml
