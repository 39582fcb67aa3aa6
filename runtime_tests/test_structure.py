"""Sizes that keep the code readable: functions, parameters, modules, rooms."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("inference", "models", "benchmark")
MAX_BODY_LINES, MAX_PARAMETERS, MAX_MODULE_LINES, MAX_MODULES = 45, 7, 330, 8
OPTIONS = ("cli", "api")
"""Rooms whose functions may have a parameter an option."""
API_ELSEWHERE = ROOT / "benchmark" / "scoring" / "files.py"
"""`hakuna.score`."""
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))


def body_lines(function: ast.FunctionDef) -> int:
    """Lines after the signature and the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def parameters(function: ast.FunctionDef) -> list[str]:
    given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return [one.arg for one in given if one.arg not in ("self", "cls")]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_is_longer_than_a_screen(package: str) -> None:
    long = [
        f"{path.relative_to(ROOT)}: {one.name} has {body_lines(one)}"
        for path in MODULES
        for one in functions(path)
        if path.is_relative_to(ROOT / package) and body_lines(one) > MAX_BODY_LINES
    ]
    assert not long


def test_no_function_takes_more_parameters_than_can_be_kept_apart() -> None:
    many = [
        f"{path.relative_to(ROOT)}: {one.name} has {len(parameters(one))}"
        for path in MODULES
        for one in functions(path)
        if path != API_ELSEWHERE
        and not set(OPTIONS) & set(path.relative_to(ROOT).parts)
        and len(parameters(one)) > MAX_PARAMETERS
    ]
    assert not many


def test_no_module_and_no_room_is_too_large() -> None:
    lines = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in MODULES}
    assert {path: n for path, n in lines.items() if n > MAX_MODULE_LINES} == {}
    rooms = {path.parent for path in MODULES}
    sizes = {
        room.relative_to(ROOT): sum(one.parent == room and one.name != "__init__.py" for one in MODULES)
        + sum(other.parent == room for other in rooms)
        for room in rooms
        if room.parent != ROOT
    }
    assert {room: n for room, n in sizes.items() if n > MAX_MODULES} == {}


@pytest.mark.parametrize("words", [("os.walk(", ".rglob(", "rmtree(", "copytree("), ("csv.writer(",)])
def test_folders_are_walked_and_tables_written_in_one_place(words: tuple[str, ...]) -> None:
    """Python's own walks recurse, and its own writer leaves carriage returns bare: `inference.core.files` has others."""
    users = [path for path in MODULES if any(word in path.read_text() for word in words)]
    assert {str(path.relative_to(ROOT)) for path in users} <= {"inference/core/files.py"}


def test_a_room_explains_itself() -> None:
    silent = [
        path.relative_to(ROOT)
        for path in MODULES
        if path.name == "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def importers(package: str, room: str) -> str:
    """Who may import a room, by the layers that import-linter holds."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one.get("containers") == [package])
    level = next(n for n, layer in enumerate(layers) if room in layer.split(" | "))
    rooms = [f"`{one}`" for layer in layers[:level] for one in layer.split(" | ")]
    above = [f"`{one}`" for one in PACKAGES[PACKAGES.index(package) + 1 :]]
    return f"May be imported by {', '.join(rooms + above) or '`hakuna.py`'}."


def test_a_room_states_who_may_import_it() -> None:
    for path in MODULES:
        parts = path.relative_to(ROOT).parts
        if path.name == "__init__.py" and len(parts) == 3:
            text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
            assert text.endswith(importers(*parts[:2])), path.relative_to(ROOT)
