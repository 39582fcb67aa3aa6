"""`import hakuna`: what it offers, what it costs, and that it does what the command does."""

from __future__ import annotations

import doctest
import importlib
import logging
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import structlog

import hakuna
from inference.bundle.reader import Bundle
from inference.core.errors import CheckpointError, InputError, UsageError

ROOT = Path(__file__).resolve().parents[1]
HAKUNA = Path(sys.executable).parent / "hakuna"
IMPORT = """
import os, resource, sys
before = dict(os.environ)
import hakuna
spent = resource.getrusage(resource.RUSAGE_SELF)
assert dict(os.environ) == before, "no variable may be set"
print(spent.ru_utime + spent.ru_stime, *(one for one in ("numpy", "pydantic", "typer", "inference") if one in sys.modules))
"""
SCRIPT = "import sys, hakuna; hakuna.predict(*sys.argv[1:], workers=2)"


@pytest.fixture(scope="module")
def desk(season: Path, quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the examples run in."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "season").symlink_to(season)
    (folder / "bundle").symlink_to(quick_bundle.folder)
    return folder


def test_hakuna_offers_what_it_lists() -> None:
    assert hakuna.__all__ == sorted(hakuna.__all__)
    for name in hakuna.__all__:
        one = getattr(hakuna, name)
        assert one.__name__ == name
        assert ">>> " in one.__doc__, f"{name} needs an example"
    public = {name for name, value in vars(hakuna).items() if getattr(value, "__module__", None) == "hakuna"}
    assert public == {"__getattr__", "__dir__", "_problem", "main"}
    assert set(hakuna.__all__) <= set(dir(hakuna))
    assert hakuna.__version__ == version("hakuna-runtime")
    with pytest.raises(AttributeError, match="'hakuna' has no attribute 'learn'"):
        hakuna.learn  # noqa: B018
    stub = (ROOT / "hakuna-stubs" / "__init__.pyi").read_text()
    assert all(f"{name} as {name}" in stub for name in hakuna.__all__)


@pytest.mark.timing
def test_importing_hakuna_costs_and_changes_nothing() -> None:
    spent = []
    for _ in range(3):
        seconds, *loaded = subprocess.check_output([sys.executable, "-c", IMPORT], text=True).split()
        assert loaded == []
        spent.append(float(seconds))
    assert min(spent) < 0.1, "seconds of CPU"


@pytest.mark.parametrize(
    "module",
    [
        "hakuna",
        "inference.api.prediction",
        "inference.api.records",
        "inference.api.results",
        "benchmark.scoring.files",
        "inference.core.errors",
    ],
)
def test_examples_run(module: str, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    found = importlib.import_module(module)
    names = {name: getattr(hakuna, name) for name in hakuna.__all__}
    failed, tried = doctest.testmod(found, extraglobs={**names, "hakuna": hakuna}, optionflags=doctest.ELLIPSIS)
    assert tried > 0
    assert failed == 0


def test_a_script_gives_the_bytes_of_the_command(desk: Path, tmp_path: Path) -> None:
    arguments = [str(desk / "season"), str(desk / "bundle")]
    script = [sys.executable, "-c", SCRIPT, *arguments, str(tmp_path / "script")]
    done = subprocess.run(script, check=True, capture_output=True, text=True)
    assert done.stdout == ""
    assert "demo model: not for conclusions" in done.stderr
    command = [str(HAKUNA), "predict", arguments[0], "--bundle", arguments[1], "--out", str(tmp_path / "command")]
    subprocess.run(command, check=True, capture_output=True)
    for name in ("submission.csv", "records.jsonl", "failures.csv"):
        assert (tmp_path / "script" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()


def test_progress_is_reported(desk: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    hakuna.predict(desk / "season", desk / "bundle", tmp_path, on_progress=lambda *now: seen.append(now), workers=2)
    assert seen[-1] == (12, 12)


def test_arguments_that_make_no_sense_are_refused(desk: Path, tmp_path: Path) -> None:
    photos, bundle = desk / "season", desk / "bundle"
    with pytest.raises(UsageError, match="--resize: must be one of quarter, quarter\\+jpeg, got 'half'"):
        hakuna.predict(photos, bundle, tmp_path, resize="half")
    with pytest.raises(UsageError, match="--engine: must be"):
        hakuna.plan(photos, bundle, tmp_path, engine="steam")
    with pytest.raises(InputError, match="must be a readable CSV file, got none"):
        hakuna.predict(tmp_path, bundle, tmp_path / "out")
    with pytest.raises(CheckpointError):
        hakuna.merge([tmp_path], bundle, tmp_path / "out")
    with pytest.raises(UsageError, match="--format: must be one of megadetector, camtrap-dp, long-csv, got 'xml'"):
        hakuna.export(tmp_path, tmp_path / "out", target="xml")
