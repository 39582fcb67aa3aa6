"""The first load of boosters happens in a child process; what that does is tested with `inference.bundle.probe`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from inference.bundle.booster_check import booster_paths
from inference.bundle.reader import Bundle, open_bundle
from inference.core.errors import BundleError
from inference.ensemble import booster_probe_child
from inference.ensemble.booster_probe import probe_boosters, start_probe
from inference.ensemble.stackers import Stackers
from runtime_tests.damage import rewrite_manifest
from runtime_tests.running import run


@pytest.fixture
def copy(second_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(second_bundle.folder, tmp_path / "bundle"))


def first_booster(folder: Path) -> Path:
    return max(folder.glob("stackers/*/*.txt"))


def test_a_bundle_without_stackers_needs_no_child(second_bundle: Bundle) -> None:
    ensemble = second_bundle.manifest.ensemble.model_copy(update={"stacking": None})
    without = second_bundle.manifest.model_copy(update={"ensemble": ensemble})
    bundle = Bundle(second_bundle.folder, without, second_bundle.id)
    assert start_probe(bundle) is None
    probe_boosters(bundle)


def test_a_damaged_booster_is_refused_with_file_line_and_tree_before_it_is_loaded(copy: Path) -> None:
    path = first_booster(copy)
    lines = path.read_text().split("\n")
    position = next(i for i, line in enumerate(lines) if line.startswith("left_child="))
    lines[position] = "left_child=" + "9 " * lines[position].count(" ") + "9"
    path.write_text("\n".join(lines))
    rewrite_manifest(copy)
    bundle = open_bundle(copy)
    for _ in range(2):  # a bundle that was refused is tried again
        with pytest.raises(BundleError, match=f"{path.name}, line") as error:
            probe_boosters(bundle)
        assert error.value.exit_code == 4
    stacking = bundle.manifest.ensemble.stacking
    assert stacking
    with pytest.raises(BundleError, match=f"{path.name}, line"):
        Stackers(bundle, stacking)


def test_a_damaged_booster_ends_a_run_before_its_first_photo(copy: Path, season: Path, tmp_path: Path) -> None:
    path = first_booster(copy)
    path.write_bytes(path.read_bytes().replace(b"num_leaves=", b"num_leaves=9", 1))
    rewrite_manifest(copy)
    bundle = open_bundle(copy)
    with pytest.raises(BundleError, match=f"{path.name}, line"):
        run(season, bundle, tmp_path / "out")
    assert not (tmp_path / "out" / "records.jsonl").exists()


def test_verify_tries_the_boosters_and_reads_the_operations(copy: Path) -> None:
    def verify() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hakuna", "bundle", "verify", str(copy)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    assert verify().stdout.startswith(f"{copy}: intact, ")
    path = first_booster(copy)
    good = path.read_bytes()
    path.write_bytes(good.replace(b"num_leaves=", b"num_leaves=9", 1))
    rewrite_manifest(copy)
    refused = verify()
    assert (refused.returncode, refused.stdout) == (4, "")
    assert re.search(rf"hakuna: .*{path.name}, line \d+", refused.stderr)
    path.write_bytes(good)
    network = copy / "networks" / "small" / "saved_model.pb"
    network.write_bytes(network.read_bytes().replace(b"Sigmoid", b"Evilops"))
    rewrite_manifest(copy)
    refused = verify()
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "must be an operation of a plain network, got 'Evilops'" in refused.stderr


def test_a_booster_that_changes_after_the_bundle_was_opened_is_refused(copy: Path) -> None:
    bundle = open_bundle(copy)
    path = first_booster(copy)
    probe_boosters(bundle)
    path.write_bytes(path.read_bytes() + b"\n")
    stacking = bundle.manifest.ensemble.stacking
    assert stacking
    with pytest.raises(BundleError, match=f"{path.name}: must have SHA-256"):
        Stackers(bundle, stacking)
    path.unlink()
    with pytest.raises(BundleError, match=f"{path.name}: must be readable"):
        Stackers(bundle, stacking)
    with pytest.raises(BundleError, match=f"{path.name}: must be readable"):
        booster_probe_child.predict_with_every_booster(bundle, lambda _: None)


def test_a_booster_that_answers_with_anything_but_probabilities_is_refused(
    second_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass
    class Strange:
        answer: float

        def predict(self, rows: np.ndarray) -> np.ndarray:
            return np.full(len(rows), self.answer)

    for answer in (np.nan, 1.5, -0.1):
        monkeypatch.setattr(booster_probe_child, "load_booster", lambda *_, answer=answer: Strange(answer))
        with pytest.raises(BundleError, match="must give probabilities"):
            booster_probe_child.predict_with_every_booster(second_bundle, lambda _: None)


def test_every_booster_is_named_before_it_is_loaded(second_bundle: Bundle) -> None:
    named: list[str] = []
    booster_probe_child.predict_with_every_booster(second_bundle, named.append)
    assert named == [str(second_bundle.path(relative)) for relative in booster_paths(second_bundle.manifest)]
