"""Checkpoints that are damaged, and those that a full disk does not take."""

from __future__ import annotations

import gc
import io
import json
import os
import resource
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.core.errors import CheckpointError, OutputError
from models.training.checkpoint import Checkpoint, Position, read_checkpoint, write_checkpoint
from models.training.job import CHECKPOINT_NAME

LIMIT_BYTES = 100_000


def test_a_checkpoint_without_room_leaves_the_old_one_and_says_only_that(tmp_path: Path) -> None:
    old = Checkpoint({"seed": "1"}, Position(epoch=1), [np.arange(3.0)], [np.array(7)])
    write_checkpoint(tmp_path, old)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
    try:
        with pytest.raises(OutputError, match=f"{CHECKPOINT_NAME} must be writable, got: File too large"):
            write_checkpoint(tmp_path, replace(old, variables=[np.zeros(LIMIT_BYTES)]))
        gc.collect()  # an archive that was left open tells now that its file is closed, which fails the test
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_NAME]
    found = read_checkpoint(tmp_path, old.fingerprint)
    assert found
    assert found.position == old.position
    np.testing.assert_array_equal(found.variables, old.variables)
    np.testing.assert_array_equal(found.optimizer, old.optimizer)


@pytest.mark.parametrize("content", [b"", b"PK no archive", b"\x00" * 1000])
def test_a_damaged_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT_NAME).write_bytes(content)
    with pytest.raises(CheckpointError, match="must be a checkpoint, got: .*; --restart starts over"):
        read_checkpoint(tmp_path, {})
    (tmp_path / CHECKPOINT_NAME).unlink()
    assert read_checkpoint(tmp_path, {}) is None


def test_a_pipe_in_the_place_of_a_checkpoint_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / CHECKPOINT_NAME)
    with pytest.raises(CheckpointError, match="must be a checkpoint, got: .*not a regular file"):
        read_checkpoint(tmp_path, {})


def write_small(folder: Path) -> Checkpoint:
    made = Checkpoint({"seed": "1"}, Position(epoch=1), [np.arange(3.0), np.arange(4)], [np.array(7), np.ones(2)])
    write_checkpoint(folder, made)
    return made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda members: members.pop("variable_1.npy"), "no item named 'variable_1.npy'"),
        (lambda members: members.pop("optimizer_1.npy"), "no item named 'optimizer_1.npy'"),
        (lambda members: members.pop("about.npy"), "no item named 'about.npy'"),
        (lambda members: members.update({"variable_0.npy": b"none"}), "must be a checkpoint, got: "),
        (lambda members: members.update({"about.npy": of_format(1)}), "got: format 1 instead of 2; --restart starts over"),
        (lambda members: members.update({"about.npy": npy("[" * 100_000)}), "must be a checkpoint, got: "),
    ],
)  # fmt: skip
def test_a_checkpoint_without_one_of_its_arrays_is_refused(
    change: Callable[[dict[str, bytes]], object], message: str, tmp_path: Path
) -> None:
    """Each member by itself is whole, as after a flipped bit in the list of members."""
    write_small(tmp_path)
    with zipfile.ZipFile(tmp_path / CHECKPOINT_NAME) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(tmp_path / CHECKPOINT_NAME, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path, {"seed": "1"})


def npy(text: str) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(text))
    return buffer.getvalue()


def of_format(version: int) -> bytes:
    return npy(json.dumps({"format_version": version, "fingerprint": {}, "position": {}}))
