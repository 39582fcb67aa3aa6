"""Files that HDF5 never comes back from, or dies of, are refused: it meets them in a child process first."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from inference.core.errors import BundleError
from models.bundling.import_assets import import_assets
from models.keras_io import h5_probe
from models.keras_io.h5_probe import probe_files
from models.spec.kinds import NetworkKind
from models.spec.network_plan import NetworkPlan
from models.spec.recipe import load_recipe
from models.spec.schedule import load_schedule
from models.training.build_network import build_network
from runtime_tests.conftest import SECOND_RECIPE

RIGHT_SIBLING = 16
"""Bytes from the start of a B-tree's node to the address of the next one: signature, kind, level, number, left sibling."""


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """The nodes of a group's names are a ring: HDF5 goes round and round."""
    path = tmp_path / "\udcff" / "small.h5"  # a name that is not UTF-8
    path.parent.mkdir()
    with h5py.File(path, "w", libver="earliest") as file:
        file.create_group("a")["x"] = np.zeros(3, np.float32)
    data = bytearray(path.read_bytes())
    start = -1
    while (start := data.find(b"TREE", start + 1)) >= 0:
        data[start + RIGHT_SIBLING : start + RIGHT_SIBLING + 8] = start.to_bytes(8, "little")
    path.write_bytes(data)
    return path


def test_whole_files_pass_and_the_first_that_does_not_is_named(second_assets: Path, tmp_path: Path) -> None:
    sound = [second_assets / "small.h5", second_assets / "large.h5"]
    probe_files(sound)
    (tmp_path / "none.h5").write_bytes(b"none")
    with pytest.raises(BundleError, match="none.h5: must be a readable HDF5 file, got: "):
        probe_files([sound[0], tmp_path / "none.h5", sound[1]])


def test_a_file_that_hdf5_never_comes_back_from_is_refused(
    endless: Path, second_assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(h5_probe, "SECONDS_A_FILE", 1)
    for path in second_assets.iterdir():
        if path.name != endless.name:
            (endless.parent / path.name).symlink_to(path)
    message = "small.h5: must be a readable HDF5 file, but the process that read it died of SIGXCPU"
    with pytest.raises(BundleError, match=message):
        build_network(NetworkPlan(kind=NetworkKind.FRAMES, backbone="tiny", weights=endless), load_schedule("v1"))
    with pytest.raises(BundleError, match=message):
        import_assets(endless.parent, load_recipe(str(SECOND_RECIPE)), tmp_path / "bundle")
    assert not list(tmp_path.glob("*bundle*"))
