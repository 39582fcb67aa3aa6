"""Without TensorFlow, Keras and h5py: predictions are the same bytes, and commands that need them name the extra."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from inference.bundle.reader import Bundle
from runtime_tests.running import HAKUNA, hakuna, hakuna_here

ABSENT = """
import sys
sys.modules.update(dict.fromkeys(("tensorflow", "keras", "h5py")))
"""
TABLES = "--metadata {season}/test_metadata.csv --labels {season}/test_labels.csv"
Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command `hakuna` where neither it nor its child processes can import the packages; nothing is known to pass."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(ABSENT)
    variables = {"PYTHONPATH": f"{tmp_path / 'path'}:{HAKUNA.parent}", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    return lambda *arguments: hakuna(*arguments, **variables)


def test_predictions_are_the_same_bytes(
    command: Command, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    result = command("predict", season, "--bundle", quick_bundle.folder, "--out", tmp_path / "out", "--workers", 2)
    assert result.returncode == 0, result.stderr
    for name in ("submission.csv", "records.jsonl", "failures.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (quick_prediction / name).read_bytes(), name


def test_a_bundle_is_verified(command: Command, quick_bundle: Bundle) -> None:
    result = command("bundle", "verify", quick_bundle.folder)
    assert result.returncode == 0, result.stderr
    assert "intact" in result.stdout


@pytest.mark.e2e
def test_the_doctor_is_content(command: Command, tmp_path: Path) -> None:
    result = command("doctor", "--json", "--scratch", tmp_path)
    outcomes = {check["name"]: check["outcome"] for check in json.loads(result.stdout)["checks"]}
    assert result.returncode == 0, outcomes
    assert outcomes["golden prediction, openvino"] == outcomes["convolution, openvino, CPU"] == "ok"
    assert "golden prediction, tensorflow" not in outcomes


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("predict {season} --bundle {bundle} --out {out} --engine tensorflow", "tensorflow"),
        ("bundle import {season} --recipe third_place --out {out}", "h5py"),
        ("bundle build --networks {season} --recipe third_place --out {out}", "h5py"),
        (f"train frames {{season}} --train S1 --valid S2 --out {{out}} {TABLES}", "tensorflow"),
        ("bench published {season}", "keras"),
    ],
)
def test_a_command_that_needs_them_names_the_extra(
    command: Command, line: str, module: str, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = command(*line.format(season=season, bundle=quick_bundle.folder, out=out).split())
    assert result.returncode == 2, result.stderr
    hint = "hint: run `make install` in a clone, or install the set 'train' as docs/how-to/install.md shows"
    message = f"hakuna: {module}: must be installed, got none"
    assert [one for one in result.stderr.splitlines() if not one.startswith("{")] == [message, hint]  # the log is JSON
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "option", "hint"),
    [
        ("bench stages --quick", "without --bundle", "give --bundle, or "),
        ("bench project season11 --quick", "without --bundle", "give --bundle, or "),
        ("bench project season11 --device-profile v100 --backbone MobileNetV2", "--device-profile", ""),
    ],
)
def test_a_bench_command_that_needs_them_names_the_way_without(
    line: str, option: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    result = hakuna_here(*line.split())
    assert result.returncode == 2
    assert f"hakuna: {option}: must run where TensorFlow is installed" in result.stderr
    way = "run `make install` in a clone, or install the set 'train' as docs/how-to/install.md shows"
    assert f"hint: {hint}{way}\n" in result.stderr
