"""Checkpoints that are damaged, and those that a full disk does not take."""

from __future__ import annotations

import gc
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.core.errors import CheckpointError, OutputError
from models.training.checkpoint import CHECKPOINT_NAME, Checkpoint, Position, read_checkpoint, write_checkpoint

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
