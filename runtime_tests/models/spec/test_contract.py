"""Contracts of competitions are data: those of the project, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.core.errors import UsageError
from models.spec.contract import CONTRACTS_FOLDER, SERENGETI_2019, load_contract, read_handed_over


@pytest.mark.parametrize("path", sorted(CONTRACTS_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_contract_is_named_like_its_file_and_names_its_sources(path: Path) -> None:
    contract = load_contract(path.stem)
    assert contract.name == path.stem
    assert all(one.startswith(("github: ", "docs/")) for one in contract.sources)
    assert contract.smoke.time_limit < contract.time_limit


@pytest.mark.parametrize(
    ("name", "start", "main", "data", "submission", "reserved", "hours"),
    [
        ("serengeti2019", "/inference", "main.py", "/inference/data", "/inference/submission.csv", {"data", "submission"}, 8),
        (
            "code_execution", "/code_execution", "src/main.py", "/code_execution/data",
            "/code_execution/submission/submission.csv", set(), 8,
        ),
        ("codabench", "/app/program", "main.py", "/app/input_data", "/app/output/submission.csv", set(), 1 / 6),
    ],
)  # fmt: skip
def test_the_layouts_are_those_of_the_platforms(
    name: str, start: str, main: str, data: str, submission: str, reserved: set[str], hours: float
) -> None:
    """By docs/explanation/published.md and by the platforms' own entrypoints, which each file names."""
    contract = load_contract(name)
    assert (contract.path(contract.start), contract.main) == (start, main)
    assert (contract.path(contract.data), contract.path(contract.submission)) == (data, submission)
    assert contract.reserved_names == reserved
    assert contract.time_limit == hours * 3600


def test_paths_from_the_folder_in_which_a_program_starts() -> None:
    codabench = load_contract("codabench")
    assert (codabench.from_start("input_data"), codabench.from_start(codabench.out)) == ("../input_data", "../output")
    assert (SERENGETI_2019.from_start("data"), SERENGETI_2019.from_start(SERENGETI_2019.out)) == ("data", ".")


def test_a_smoke_run_has_further_variables() -> None:
    contract = load_contract("code_execution")
    assert contract.for_smoke().environment == contract.environment | {"IS_SMOKE_TEST": "1"}
    assert SERENGETI_2019.for_smoke() == SERENGETI_2019


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'root = "/code_execution"',
            'root = "code_execution"',
            "root: .*must be an absolute path outside the system's",
        ),
        ('root = "/code_execution"', 'root = "/"', "root: "),
        ('root = "/code_execution"', 'root = "/etc/here"', "root: .*must be an absolute path outside the system's"),
        ('root = "/code_execution"', 'root = "/opt"', "root: .*must be an absolute path outside the system's"),
        ('root = "/code_execution"', 'root = "/opt/venv/x"', "root: .*must be an absolute path outside the system's"),
        ('data = "data"', 'data = "../data"', "data: .*must be a path below the root"),
        ('data = "data"', 'data = "/data"', "data: .*must be a path below the root"),
        ('data = "data"', 'data = "da:ta"', "data: .*must be a path below the root"),
        ('data = "data"', 'data = "src"', "data: must be a folder of its own, got 'src', which holds 'src'"),
        ('data = "data"', 'data = "."', "data: must be a folder of its own"),
        ('models = "huggingface_models"', 'models = "src"', "models: must be a folder of its own, got 'src'"),
        ('entry = "main.py"', 'entry = "a/main.py"', "entry: "),
        ("submission/submission.csv", "submission/answers.csv", "submission: must be a path of submission.csv"),
        ('writable = ["."]', 'writable = ["src"]', "writable: must hold submission/submission.csv, got src"),
        ('time_limit = "8h"', 'time_limit = "soon"', "time_limit: .*must be a duration"),
        ("network = false", "network = false\nsurprise = 1", r"surprise: unknown key$"),
        ('entry = "main.py"', 'entri = "main.py"', r"entri: unknown key; did you mean entry\? \(2 errors\)"),
        ("models = ", "modles = ", r"modles: unknown key; did you mean models\?"),
        ("sequences = 10", "sequencs = 10", r"smoke.sequencs: unknown key; did you mean sequences\?"),
        ('writable = ["."]', 'writable = "."', "writable: must be a list, got '.'"),
        ("network = false", "network = 3", "network: must be true or false, got 3"),
        ("network = false", 'network = "no"', "network: must be true or false, got 'no'"),
        ("network = false", 'network = false\nbudget_variable = "a b"', "budget_variable: must match pattern"),
    ],
)
def test_a_contract_that_makes_no_sense_is_refused_with_its_place(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    text = (CONTRACTS_FOLDER / "code_execution.toml").read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new))
    with pytest.raises(UsageError, match=message):
        load_contract(str(tmp_path / "mine.toml"))


def test_what_is_for_readers_may_be_left_out(tmp_path: Path) -> None:
    lines = (CONTRACTS_FOLDER / "serengeti2019.toml").read_text().replace("[\n    ", "[").split("\n")
    left = [line for line in lines if not line.startswith(("sources", "    ", "]", "base_image"))]
    (tmp_path / "mine.toml").write_text("\n".join(left))
    contract = load_contract(str(tmp_path / "mine.toml"))
    assert (contract.sources, contract.base_image, contract.root) == ((), None, SERENGETI_2019.root)


def test_an_unknown_contract_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(
        UsageError, match="--contract kaggle: must be one of codabench, code_execution, serengeti2019 or"
    ):
        load_contract("kaggle")


def test_a_contract_reaches_a_container_unchanged(tmp_path: Path) -> None:
    contract = load_contract("codabench")
    (tmp_path / "contract.json").write_text(contract.model_dump_json())
    assert read_handed_over(tmp_path / "contract.json") == contract
    (tmp_path / "contract.json").write_text("{}")
    with pytest.raises(UsageError, match="contract.json: format_version: must be given"):
        read_handed_over(tmp_path / "contract.json")
    with pytest.raises(UsageError, match="nowhere.json: must be a readable file, got: No such file"):
        read_handed_over(tmp_path / "nowhere.json")
