"""The command on a terminal: colours, shell completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from benchmark.cli.app import PANELS
from inference.bundle.reader import Bundle
from runtime_tests.running import hakuna_here

COLOUR = re.compile(r"\x1b\[(?:\d+;)*[34]\d")


def told(*arguments: object, **variables: str) -> str:
    """What a command prints."""
    result = hakuna_here(*arguments, **variables)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_no_color_keeps_colours_out_of_tables(quick_bundle: Bundle) -> None:
    assert COLOUR.search(told("bundle", "show", quick_bundle.folder, FORCE_COLOR="1"))
    assert not COLOUR.search(told("bundle", "show", quick_bundle.folder, FORCE_COLOR="1", NO_COLOR="1"))
    assert "\x1b" not in told("bundle", "show", quick_bundle.folder)


@pytest.mark.parametrize("extra", [{}, {"NO_COLOR": "1"}])
def test_no_color_keeps_colours_out_of_the_log(extra: dict[str, str]) -> None:
    script = (
        "import structlog; from inference.settings.logs import configure_logging; configure_logging('console');"
        "structlog.get_logger().warning('hello', n=1)"
    )
    environment = {**os.environ, "FORCE_COLOR": "1", **extra}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert "hello" in result.stderr
    assert bool(COLOUR.search(result.stderr)) == (not extra)


@pytest.mark.parametrize(
    ("words", "expected"),
    [("hakuna pre", "predict"), ("hakuna bundle ver", "verify"), ("hakuna export --for", "--format")],
)
def test_bash_completes_verbs_and_options(words: str, expected: str) -> None:
    completed = told(_HAKUNA_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
    assert completed.split() == [expected]


def test_commands_are_listed_in_panels_and_studies_are_hidden() -> None:
    shown = told("--help", COLUMNS="200")
    assert "study" not in shown
    panels = dict(re.findall(r"^(\w+):\n((?:  .*\n)+)", shown, re.MULTILINE))
    del panels["Options"]
    assert list(panels) == list(PANELS)
    for panel, commands in PANELS.items():
        listed = [line.split()[0] for line in panels[panel].splitlines()]
        assert [command.__name__ for command in commands] == [one for one in listed if one not in {"bundle", "bench"}]
