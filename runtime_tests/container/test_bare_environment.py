"""The wheel in a new virtual environment that holds nothing but the locked set for prediction on CPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.bundle.reader import Bundle
from runtime_tests.container.conftest import PROJECT
from runtime_tests.container.engine import CERTIFICATES, Engine

pytestmark = pytest.mark.container

SOURCES = ("inference", "models", "benchmark", "hakuna-stubs", "hakuna.py", "pyproject.toml", "README.md", "LICENSE")
LARGEST_MEGABYTES = 700
"""Of the environment."""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(engine: Engine) -> Path:
    """Outside the repository; `venv` is the environment."""
    folder = engine.work / "bare"
    (folder / "source").mkdir(parents=True)
    for name in SOURCES:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, folder / "source" / name)
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    """Runs a program of the environment in the folder, without our variables."""
    keep = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HAKUNA", "VIRTUAL_ENV"))
    }
    environment = {**keep, "SSL_CERT_FILE": str(CERTIFICATES), "XDG_CACHE_HOME": str(folder / "cache")}

    def run(program: str | Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(folder / "venv" / "bin" / program), *map(str, arguments)]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
        )

    uv, python, start = Path(sys.prefix) / "bin" / "uv", folder / "venv" / "bin" / "python", time.monotonic()
    build = ("--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder / "dist")
    install = (uv, "pip", "install", "--python", python)
    for command in (
        (sys.executable, "-m", "venv", "--without-pip", folder / "venv"),
        (uv, "build", *build, folder / "source"),
        (*install, "--require-hashes", "-r", PROJECT / "requirements" / "cpu.txt"),
        (*install, "--offline", "--no-deps", "--find-links", folder / "dist", "hakuna-runtime[cpu]"),
    ):
        result = run(*command)
        assert result.returncode == 0, result.stderr
    print(f"\ninstalled in {time.monotonic() - start:.0f} s")  # noqa: T201
    return run


def test_it_is_small_and_holds_no_tensorflow(run: Run, folder: Path) -> None:
    assert run("python", "-c", "import tensorflow").returncode == 1
    used = subprocess.run(["du", "-sm", folder / "venv"], capture_output=True, text=True, check=True)
    print(f"\n{used.stdout.split()[0]} MB")  # noqa: T201
    assert int(used.stdout.split()[0]) < LARGEST_MEGABYTES


def test_it_runs_the_demo_the_doctor_and_verifies_a_bundle(run: Run, folder: Path, models: Path) -> None:
    start = time.monotonic()
    for arguments in (("demo", "--out", "demo"), ("doctor",), ("bundle", "verify", models)):
        result = run("hakuna", *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        print(f"\nhakuna {arguments[0]} {time.monotonic() - start:.0f} s")  # noqa: T201
    assert (folder / "demo" / "report.html").exists()


def test_its_predictions_are_the_bytes_of_an_environment_with_tensorflow(
    run: Run, folder: Path, photos: Path, quick_bundle: Bundle, expected: dict[str, bytes]
) -> None:
    result = run("hakuna", "predict", photos, "--bundle", quick_bundle.folder, "--out", folder / "out")
    assert result.returncode == 0, result.stderr
    assert {name: (folder / "out" / name).read_bytes() for name in expected} == expected


def test_what_needs_tensorflow_names_the_extra(run: Run, folder: Path, photos: Path) -> None:
    result = run("hakuna", "bundle", "import", photos, "--recipe", "third_place", "--out", folder / "new")
    assert result.returncode == 2
    assert result.stderr == (
        "hakuna: h5py: must be installed, got none\n"
        "hint: run `make install` in a clone, or install the set 'train' as docs/how-to/install.md shows\n"
    )
