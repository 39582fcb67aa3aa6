"""A bundle is what its manifest says, or it is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from inference.bundle import Bundle, open_bundle
from inference.domain import BundleError


@pytest.fixture
def copy(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle.folder, tmp_path / "bundle"))


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


def test_an_intact_bundle_opens(copy: Path, tiny_bundle: Bundle) -> None:
    assert open_bundle(copy).id == tiny_bundle.id


def test_a_flipped_byte_in_any_file_is_found(copy: Path, tiny_bundle: Bundle) -> None:
    for relative in tiny_bundle.manifest.files:
        path = copy / relative
        original = path.read_bytes()
        if not original:
            continue
        changed = bytearray(original)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        with pytest.raises(BundleError, match="must have SHA-256") as error:
            open_bundle(copy)
        assert error.value.exit_code == 4
        path.write_bytes(original)
    assert open_bundle(copy)


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
        ({"format_version": 2}, "format_version"),
        ({"labels": ["zebra"]}, "labels"),
        ({"priors__zebra": 1.5}, "priors"),
        ({"ensemble__frame_weights": []}, "frame_weights"),
        ({"ensemble__frame_weights": [1.0, -1.0, 0.5]}, "frame_weights"),
        ({"ensemble__stacking__blocks": ["hour"]}, "feature_names"),
        ({"ensemble__stacking__blocks": ["unicorn"]}, "stacking.blocks"),
        ({"networks__0__name": "v2"}, "different names"),
        ({"networks__0__sizes": []}, "sizes"),
        ({"networks": []}, "networks"),
        ({"files__../evil": {"sha256": "0" * 64, "n_bytes": 1}}, "below the bundle"),
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


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_manifest_that_is_no_json_is_refused(content: bytes, copy: Path) -> None:
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match="manifest"):
        open_bundle(copy)


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="readable manifest"):
        open_bundle(tmp_path)
