"""A bundle is what its manifest says, or it is refused."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.bundle.manifest import Manifest
from inference.bundle.reader import Bundle, open_bundle
from inference.core.errors import BundleError
from runtime_tests.conftest import deep_folder
from runtime_tests.damage import rewrite_manifest


@pytest.fixture
def copy(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle.folder, tmp_path / "bundle"))


@pytest.fixture
def small_copy(second_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(second_bundle.folder, tmp_path / "small"))


def change_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    for where, value in changes.items():
        node = content
        *parents, last = where.split("__")
        for name in parents:
            node = node[int(name) if name.isdigit() else name]
        node[last] = value
    path.write_text(json.dumps(content))


def test_a_file_far_down_is_unlisted_too_and_a_folder_beyond_all_paths_is_refused(
    tiny_bundle: Bundle, memory_folder: Path
) -> None:
    copy = Path(shutil.copytree(tiny_bundle.folder, memory_folder / "bundle"))
    deep_folder(copy / "deep", 1500, "hidden.py")
    with pytest.raises(BundleError, match=r"must be listed in the manifest, got \['deep/d/.*hidden.py"):
        open_bundle(copy)
    deep_folder(copy / "deep", 5000, "hidden.py")
    with pytest.raises(BundleError, match="must have folders that can be read, got: File name too long"):
        open_bundle(copy)


def test_an_intact_bundle_opens(copy: Path, tiny_bundle: Bundle) -> None:
    assert open_bundle(copy).id == tiny_bundle.id


def check_flips(folder: Path, n_flips: int) -> None:
    """Flip single bits all over every file: each time the bundle is refused, and the file is named."""
    intact = open_bundle(folder)
    random = np.random.default_rng(20191216)
    for relative in intact.manifest.files:
        path = folder / relative
        original = path.read_bytes()
        for position in random.integers(0, len(original), n_flips if original else 0):
            changed = bytearray(original)
            changed[position] ^= 1 << int(random.integers(8))
            path.write_bytes(changed)
            with pytest.raises(BundleError, match=f"{relative}: must have SHA-256") as error:
                open_bundle(folder)
            assert error.value.exit_code == 4
        path.write_bytes(original)
    assert open_bundle(folder).id == intact.id


def test_a_flipped_byte_in_any_file_is_found(copy: Path) -> None:
    check_flips(copy, 1)


@pytest.mark.faults
def test_any_flipped_byte_in_any_file_is_found(copy: Path) -> None:
    check_flips(copy, 50)


def damaged_manifest(data: st.DataObject, original: bytes) -> bytes:
    """A manifest with some bytes replaced, removed or inserted."""
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(damaged)))
        n_removed = data.draw(st.integers(0, 8))
        damaged[start : start + n_removed] = data.draw(st.binary(max_size=4) | st.sampled_from(JSON_PIECES))
    return bytes(damaged)


JSON_PIECES = [
    b"null",
    b"NaN",
    b"1e999",
    b"-1",
    b"Infinity",
    b"[[[[",
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"/",
    b"..",
    b"9" * 30,
    b"}",
]


def check_damaged_manifests(folder: Path, n: int) -> None:
    """A damaged manifest is refused, or it means what it says: then it is another bundle, but for white space."""
    original = (folder / "manifest.json").read_bytes()
    intact = open_bundle(folder)

    @settings(max_examples=n, deadline=None, derandomize=True, database=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        damaged = damaged_manifest(data, original)
        (folder / "manifest.json").write_bytes(damaged)
        try:
            opened = open_bundle(folder)
        except BundleError:
            return
        assert (opened.id == intact.id) == (damaged == original)
        assert set(opened.manifest.files) == set(intact.manifest.files)
        assert opened.manifest == Manifest.model_validate_json(damaged)

    check()
    (folder / "manifest.json").write_bytes(original)


def test_a_damaged_manifest_is_refused_or_means_what_it_says(small_copy: Path) -> None:
    check_damaged_manifests(small_copy, 150)


@pytest.mark.faults
def test_many_damaged_manifests_are_refused_or_mean_what_they_say(small_copy: Path) -> None:
    check_damaged_manifests(small_copy, 10_000)


def test_missing_shortened_and_unlisted_files_are_found(copy: Path) -> None:
    booster = copy / "stackers" / "season9" / "zebra.txt"
    text = booster.read_bytes()
    booster.unlink()
    with pytest.raises(BundleError, match="zebra.txt: must be readable"):
        open_bundle(copy)
    booster.write_bytes(text[:-1])
    with pytest.raises(BundleError, match=f"zebra.txt: must have {len(text)} bytes, got {len(text) - 1}"):
        open_bundle(copy)
    booster.write_bytes(text)
    (copy / "networks" / "v1" / "assets.extra").write_text("hidden")
    with pytest.raises(BundleError, match="every file must be listed"):
        open_bundle(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, "surprise"),
        (
            {"format_version": 2},
            "format_version.*`hakuna bundle import` or `hakuna bundle build` recreates the bundle",
        ),
        ({"labels": ["zebra"]}, "labels"),
        ({"priors__zebra": 1.5}, "priors"),
        ({"ensemble__frame_weights": []}, "frame_weights"),
        ({"ensemble__frame_weights": [1.0, -1.0, 0.5]}, "frame_weights"),
        ({"ensemble__stacking__blocks": ["hour"]}, "feature_names"),
        ({"ensemble__stacking__blocks": ["unicorn"]}, "stacking.blocks"),
        ({"networks__0__name": "v2"}, "different names"),
        ({"networks__0__sizes": []}, "sizes"),
        ({"networks": []}, "networks"),
        (
            {"networks__0__sizes__0__height": 10**6},
            "networks.0.sizes.0.height: must be less .* 2048, got 1000000",
        ),
        (
            {"networks__0__sizes__0__width": 2**40},
            "networks.0.sizes.0.width: must be less than or equal to 2048",
        ),
        ({"networks__0__sizes__0__width": 2**70}, "networks.0.sizes.0.width: "),
        ({"networks__0__sizes": [{"height": 1, "width": 1}] * 17}, "networks.0.sizes: .* at most 16 items"),
        ({"networks__0__inputs": [{"name": "images", "view": "frame"}] * 9}, "networks.0.inputs: .* at most 8 items"),
        (
            {
                "networks__0__sizes": [{"height": 2048, "width": width} for width in (2046, 2047, 2048)],
                "networks__0__operations": [1, 1, 1],
            },
            "networks: views of a sequence must have 16777216 pixels at most, got 3[0-9]{7}",
        ),
        ({"ensemble__frame_weights": [1.0] * 65}, "ensemble.frame_weights: .* at most 64 items"),
        (
            {"ensemble__frame_weights": [1e308] * 3},
            "ensemble.frame_weights.0: must be less .* 1000000, got 1e.308",
        ),
        (
            {"ensemble__frame_weights": [5e-324] * 3},
            "ensemble.frame_weights.0: must be greater .* 0.000001, got 5e-324",
        ),
        ({"ensemble__frame_weights": [math.inf] * 3}, "ensemble.frame_weights.0: must be a finite number"),
        ({"ensemble__frame_weights": [math.nan] * 3}, "ensemble.frame_weights.0: must be a finite number"),
        ({"ensemble__stacking__missing_frame": math.nan}, "stacking.missing_frame: must be a finite number"),
        ({"ensemble__stacking__sets": ["s"] * 33}, "stacking.sets: .* at most 32 items"),
        ({"ensemble__stacking__classes": ["zebra"] * 55}, "stacking.classes: .* at most 54 items"),
        ({"ensemble__stacking__feature_classes": ["zebra"] * 55}, "stacking.feature_classes: .* at most 54 items"),
        ({"ensemble__stacking__blocks": ["hour"] * 38}, "stacking.blocks: .* at most 37 items"),
        ({"ensemble__stacking__blocks": ["hour", "hour"]}, "stacking.blocks: must be different, got .*hour"),
        (
            {"ensemble__blends": [{"networks": ["background"] * 33, "method": "mean"}]},
            "blends.0.networks: .* at most 32 items",
        ),
        ({"ensemble__blends": [{"networks": ["background"], "method": "mean"}] * 33}, "blends: .* at most 32 items"),
        (
            {"ensemble__stacking__neighbours": {"windows_seconds": [2**63], "min_coverage": 0.5, "missing": -1.0}},
            "neighbours.windows_seconds.0: must be less than or equal to 31622400",
        ),
        (
            {"ensemble__stacking__neighbours": {"windows_seconds": [1] * 17, "min_coverage": 0.5, "missing": -1.0}},
            "neighbours.windows_seconds: .* at most 16 items",
        ),
        ({"files__../evil": {"sha256": "0" * 64, "n_bytes": 1}}, "below the bundle"),
        ({"files__a/./b": {"sha256": "0" * 64, "n_bytes": 1}}, "below the bundle"),
        ({"files__a//b": {"sha256": "0" * 64, "n_bytes": 1}}, "below the bundle"),
        ({"files__a\0b": {"sha256": "0" * 64, "n_bytes": 1}}, "below the bundle"),
        ({"files__": {"sha256": "0" * 64, "n_bytes": 1}}, "below the bundle"),
        ({"ensemble__stacking__missing_frame": float("nan")}, "finite number"),
        ({"ensemble__max_mixed_loss_increase": float("inf")}, "finite number"),
        ({"files__/etc/passwd": {"sha256": "0" * 64, "n_bytes": 1}}, "below the bundle"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str, copy: Path) -> None:
    change_manifest(copy, **changes)
    with pytest.raises(BundleError, match=message):
        open_bundle(copy)


def test_a_network_that_is_not_listed_is_refused(copy: Path) -> None:
    content = json.loads((copy / "manifest.json").read_text())
    del content["files"]["networks/v1/saved_model.pb"]
    (copy / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="files must list networks/v1/saved_model.pb"):
        open_bundle(copy)


@pytest.mark.parametrize(
    "name",
    ["assets/words.txt", "assets.extra/x", "saved_model.cpb", "saved_model.pbtxt", "fingerprint.pb", "debug/x.pb"],
)
def test_a_network_may_hold_nothing_else_even_if_it_is_listed(name: str, copy: Path) -> None:
    path = copy / "networks" / "v1" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("what an engine might read")
    with pytest.raises(BundleError, match="every file must be listed in the manifest"):
        open_bundle(copy)
    rewrite_manifest(copy)
    with pytest.raises(BundleError, match=rf"network v1 must consist of .*, got 'networks/v1/{name}'"):
        open_bundle(copy)


def test_a_link_to_a_folder_is_none_of_a_bundles_files(copy: Path, tmp_path: Path) -> None:
    network = copy / "networks" / "v1"
    network.rename(tmp_path / "elsewhere")
    network.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="every file must be listed .*, got .'networks/v1'"):
        open_bundle(copy)


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(copy: Path) -> None:
    booster = copy / "stackers" / "season9" / "zebra.txt"
    booster.unlink()
    os.mkfifo(booster)
    content = json.loads((copy / "manifest.json").read_text())
    content["files"]["stackers/season9/zebra.txt"]["n_bytes"] = 0
    (copy / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="zebra.txt: must be a regular file"):
        open_bundle(copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_manifest_that_is_no_json_is_refused(content: bytes, copy: Path) -> None:
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match="manifest"):
        open_bundle(copy)


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="readable manifest"):
        open_bundle(tmp_path)


def test_the_number_of_networks_and_of_features_is_bounded(copy: Path) -> None:
    network = json.loads((copy / "manifest.json").read_text())["networks"][0]
    small = [{"height": 1, "width": width} for width in range(1, 17)]
    many = [
        {**network, "name": f"n{k}", "folder": f"networks/n{k}", "sizes": small, "operations": [1] * len(small)}
        for k in range(33)
    ]
    change_manifest(copy, networks=many)
    with pytest.raises(BundleError, match="networks: .* at most 32 items"):
        open_bundle(copy)
    change_manifest(
        copy,
        networks=many[:32],
        ensemble__stacking__blocks=["frame_outputs"],
        ensemble__frame_weights=[1.0] * 3,
    )
    with pytest.raises(BundleError, match=f"stacking: must have 50000 features at most, got {32 * 16 * 3 * 41}"):
        open_bundle(copy)


@pytest.mark.parametrize("relative", ["manifest.json", "networks/v1/saved_model.pb", "stackers/season9/zebra.txt"])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_read(relative: str, copy: Path) -> None:
    (copy / relative).unlink()
    os.mkfifo(copy / relative)
    with pytest.raises(BundleError, match=f"{relative}: must be a regular file"):
        open_bundle(copy)


def test_a_manifest_without_end_is_not_read(copy: Path) -> None:
    os.truncate(copy / "manifest.json", 2**40)
    with pytest.raises(BundleError, match=f"manifest.json: must have {16 << 20} bytes at most, got {2**40}"):
        open_bundle(copy)
