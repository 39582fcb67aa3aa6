"""The package: what it states about itself and what it contains, and where it refuses to run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import hakuna
from inference.core.errors import UsageError
from inference.settings.packages import missing_packages
from runtime_tests.running import SECONDS, environment

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SETS = ("cpu", "train", "cluster", "gpu")
LOCKED = re.compile(r"^([a-z0-9-]+)==(\S+) ;.*?((?:\\\n +--hash=\S+ ?)+)", re.MULTILINE)


def locked(name: str) -> dict[tuple[str, str], set[str]]:
    """SHA-256 sums of the files of every package of a locked set, by name and version."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return {(one, version): set(re.findall("sha256:([0-9a-f]+)", sums)) for one, version, sums in LOCKED.findall(text)}


def test_the_citation_is_that_of_the_project() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    for name, value in (("version", PROJECT["version"]), ("license", PROJECT["license"])):
        assert f"\n{name}: {value}\n" in text
    assert f'abstract: "{PROJECT["description"]}"' in text
    assert re.findall(r'  - name: "(.+)"', text) == [one["name"] for one in PROJECT["authors"]]
    assert re.findall(r"^  - ([a-z-]+)$", text, re.MULTILINE) == PROJECT["keywords"]


@pytest.mark.parametrize("name", SETS)
def test_bills_of_materials_are_those_of_the_locked_sets(name: str) -> None:
    content = json.loads((ROOT / "requirements" / f"{name}.cdx.json").read_text())
    assert content["bomFormat"] == "CycloneDX"
    main = content["metadata"]["component"]
    assert (main["name"], main["version"]) == (PROJECT["name"], PROJECT["version"])
    packages = locked(name)
    for one in content["components"]:
        assert one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}"
        assert one["hashes"][0]["content"] in packages[one["name"], one["version"]], one["name"]
    assert {one["name"] for one in content["components"]} == {package for package, _ in packages}


def test_third_party_packages_are_those_of_the_locked_sets() -> None:
    found = re.findall(
        r"^\| ([a-z0-9-]+) \| (\S+) \| [^|]+ \| ([^|]+) \|$", (ROOT / "THIRD_PARTY.md").read_text(), re.MULTILINE
    )
    for name in SETS:
        packages = locked(name)
        listed = {(package, version) for package, version, sets in found if name in sets.split(", ")}
        assert listed <= packages.keys()
        assert {package for package, _ in listed} == {package for package, _ in packages}


@pytest.mark.parametrize(
    ("system", "machine", "got"), [("darwin", "arm64", "darwin arm64"), ("linux", "aarch64", "linux aarch64")]
)
def test_another_platform_is_referred_to_docker(
    system: str, machine: str, got: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sys, "platform", system)
        elsewhere.setattr(os, "uname", lambda: os.uname_result(("", "", "", "", machine)))
        with pytest.raises(SystemExit) as end:
            hakuna.main()
    assert end.value.code == 2
    assert f"hakuna: must run on Linux x86-64, got {got}; use the container image" in capsys.readouterr().err


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of Python whose own folder comes before the project in the search path."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("file", ["models.py", "benchmark/__init__.py", "inference.py"])
def test_modules_of_the_same_names_are_refused_and_not_run(file: str, tmp_path: Path) -> None:
    foreign = tmp_path / file
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("raise SystemExit('was imported')\n")
    result = python("import hakuna; hakuna.main()", tmp_path)
    assert result.returncode == 2
    name = file.partition("/")[0].removesuffix(".py")
    ours = ROOT / name / "__init__.py"
    assert result.stderr.startswith(
        f"hakuna: Python module {name}: must be {ours}, got {foreign}; install into a separate env"
    )
    result = python("import hakuna; hakuna.predict", tmp_path)
    if name == "inference":
        assert f"ImportError: Python module inference: must be {ours}, got {foreign}" in result.stderr
    else:
        assert result.returncode == 0, "what Python programs need is there"


def test_only_packages_of_an_extra_become_a_message() -> None:
    with pytest.raises(UsageError, match="matplotlib: must be installed, got none") as caught, missing_packages():
        raise ModuleNotFoundError(name="matplotlib")
    assert "the set 'plots'" in caught.value.hint
    with pytest.raises(ModuleNotFoundError), missing_packages():
        raise ModuleNotFoundError(name="inference.nothing")


@pytest.mark.e2e
def test_the_wheel_runs_the_demo_elsewhere(tmp_path: Path) -> None:
    """Built without network, unpacked into a folder that comes before the project in the search path."""
    uv, source, dist, installed = (
        Path(sys.executable).parent / "uv",
        *map(tmp_path.joinpath, ("src", "dist", "installed")),
    )
    for name in ("inference", "models", "benchmark", "hakuna-stubs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("hakuna.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["build", "--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", dist, source]
    subprocess.run([uv, *map(str, build)], check=True, capture_output=True, timeout=SECONDS)
    [sdist], [wheel] = dist.glob("*.tar.gz"), dist.glob("*.whl")
    assert wheel.name == f"hakuna_runtime-{PROJECT['version']}-py3-none-any.whl"
    assert sdist.stat().st_size + wheel.stat().st_size < 4_000_000
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    assert {path.name for path in installed.iterdir()} == {
        "hakuna.py", "hakuna-stubs", "inference", "models", "benchmark", f"hakuna_runtime-{PROJECT['version']}.dist-info",
    }  # fmt: skip
    assert not (installed / "benchmark" / "results").exists()
    assert (installed / "inference" / "schemas" / "run.schema.json").exists()
    result = subprocess.run(
        [sys.executable, "-m", "hakuna", "demo", "--out", "demo", "--sequences", "6"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "demo" / "report.html").exists()
    assert str(installed / "models" / "demo" / "bundle") in result.stdout
