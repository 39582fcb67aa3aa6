"""The page of examples shows what its commands print, and has every command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from benchmark.cli.app import app
from runtime_tests.examples import PAGE, VARIABLES, prepare, run_examples, without_numbers
from runtime_tests.running import printed_here


def leaves(command: Any, words: str) -> Iterator[str]:
    """The words of every command; of a hidden group its own."""
    for name, one in command.commands.items():
        if hasattr(one, "commands") and not one.hidden:
            yield from leaves(one, f"{words} {name}")
        else:
            yield f"{words} {name}"


def test_every_command_has_an_example_or_a_reason_why_not() -> None:
    page = PAGE.read_text(encoding="utf-8")
    shown, left_out = page.split("\n## Without an example\n")
    for words in leaves(typer.main.get_command(app), "hakuna"):
        assert f"\n## {words}\n" in shown or f"`{words}`" in left_out, words


@pytest.mark.e2e
def test_commands_print_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(command: str) -> str:
        return printed_here(*shlex.split(command)[1:], HAKUNA_WORKERS="1", **VARIABLES)

    for example, output in run_examples(run, ("sh",)):
        _, commands, shown = example.groups()
        if "labels are hidden" in json_of(tmp_path / "rehearsal" / "rehearsal.json").get("not_enforced", ()):
            pytest.skip("the kernel has no Landlock")
        assert without_numbers(output) == without_numbers(shown), f"`make examples`, if this is meant: {commands}"


def json_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}
