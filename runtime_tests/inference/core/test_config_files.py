"""Files that are data: what a strict model refuses, and how the refusal reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from inference.core.config_files import Strict, first_problem, load_toml
from inference.core.errors import BundleError, OutputError, UsageError
from inference.core.files import write_json

LIGHT_MODULES = ("choices", "errors", "files", "iteration", "labels", "sequences", "version")


class Rate(Strict):
    """A part."""

    value: float


class Rates(Strict):
    """A whole."""

    name: str
    rates: tuple[Rate, ...]


def refused(content: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Rates.model_validate(content)
    return first_problem(caught.value)


def test_a_problem_names_the_field_the_rule_and_what_came() -> None:
    assert refused({"name": "a", "rates": [{"value": "fast"}]}) == ("rates.0.value: must be a number, got 'fast'")


def test_several_problems_are_counted_and_tables_are_not_repeated() -> None:
    assert refused({}) == "name: must be given (2 errors)"


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_infinities_are_refused(value: str, tmp_path: Path) -> None:
    (tmp_path / "rate.toml").write_text(f"value = {value}\n")
    with pytest.raises(UsageError, match=f"--rate {tmp_path}/rate.toml: value: must be a finite number"):
        load_toml("--rate", tmp_path / "rate.toml", Rate)


def test_names_are_those_of_the_folder_and_anything_that_ends_in_toml_is_a_path(tmp_path: Path) -> None:
    for name in ("slow", "fast"):
        (tmp_path / f"{name}.toml").write_text("value = 1")
    assert load_toml("--rate", "slow", Rate, folder=tmp_path) == Rate(value=1)
    assert load_toml("--rate", str(tmp_path / "fast.toml"), Rate, folder=tmp_path / "elsewhere") == Rate(value=1)
    with pytest.raises(UsageError, match="--rate no: must be one of fast, slow or a readable .toml file, got: No such"):
        load_toml("--rate", "no", Rate, folder=tmp_path)


def test_a_caller_chooses_the_error_of_content_but_not_of_reading(tmp_path: Path) -> None:
    path = tmp_path / "rate.toml"
    path.write_text("value = 1\nunit = 2\n")
    with pytest.raises(BundleError, match="unit: unknown key$"):
        load_toml("--rate", path, Rate, error=BundleError)
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="must be TOML"):
        load_toml("--rate", path, Rate, error=BundleError)


@pytest.mark.parametrize(
    "text", ["value = " + "[" * 100_000, f"value = {'9' * 5000}", "value = 1\nvalue = 2", '"\\ud800" = 1']
)
def test_toml_that_no_parser_takes_is_a_usage_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "rate.toml").write_text(text)
    with pytest.raises(UsageError, match="must be TOML in UTF-8, got"):
        load_toml("--rate", tmp_path / "rate.toml", Rate)


def test_a_number_of_thousands_of_digits_is_refused_without_them(tmp_path: Path) -> None:
    (tmp_path / "rate.toml").write_text(f"value = 0x{'f' * 5000}")
    with pytest.raises(UsageError, match=r"value: must be a number$"):
        load_toml("--rate", tmp_path / "rate.toml", Rate)


def test_a_byte_order_mark_before_toml_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "rate.toml").write_bytes(b"\xef\xbb\xbfvalue = 1\n")
    assert load_toml("--rate", tmp_path / "rate.toml", Rate) == Rate(value=1)


def test_json_ends_in_a_line_end_and_is_absent_or_complete(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_json({"a": [1, "é"]}, path)
    assert path.read_bytes() == b'{\n "a": [\n  1,\n  "\\u00e9"\n ]\n}\n'
    with pytest.raises(TypeError):
        write_json({"a": object()}, path)
    assert json.loads(path.read_text()) == {"a": [1, "é"]}
    assert [one.name for one in tmp_path.iterdir()] == ["figures.json"]
    with pytest.raises(OutputError):
        write_json({}, tmp_path / "nowhere" / "figures.json")


def test_the_modules_that_every_command_imports_load_no_heavy_library() -> None:
    modules = ", ".join(f"inference.core.{name}" for name in LIGHT_MODULES)
    code = f"import sys, {modules}; sys.exit(bool({{'numpy', 'pydantic', 'structlog'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
