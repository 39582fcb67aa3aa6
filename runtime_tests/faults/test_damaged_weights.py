"""Weights and checkpoints with a few other bytes: they are read, or refused with one error; nothing else comes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from inference.core.errors import BundleError, CheckpointError, HakunaError
from models.keras_io.h5_file import load_keras_network
from models.keras_io.h5_probe import probe_files
from models.keras_io.h5_weights import read_keras_file
from models.training.checkpoint import Checkpoint, Position, read_checkpoint, write_checkpoint
from models.training.job import CHECKPOINT_NAME
from runtime_tests.faults.conftest import Figures
from runtime_tests.faults.damage import cut, flip_bits, replace_range
from runtime_tests.models.keras2 import write_keras2

SEED = 20261129
NUMBERS = tuple(
    number.to_bytes(8, "little") for number in (0, 1, 7, 255, 1 << 16, (1 << 32) - 1, 1 << 40, (1 << 64) - 1)
)
"""What offsets, sizes and shapes are not."""


def damaged(data: bytes, number: int) -> bytes:
    """One to three accidents, the same for the same number; most of the structure is in the first quarter of a file."""
    random = np.random.default_rng((SEED, number))
    for _ in range(int(random.integers(1, 4))):
        kind = random.integers(4)
        if kind == 0:
            start = int(random.integers(0, max(1, len(data) // (1 if random.random() < 0.5 else 4)))) // 8 * 8
            data = data[:start] + NUMBERS[random.integers(len(NUMBERS))] + data[start + 8 :]
        else:
            data = (cut, flip_bits, replace_range)[kind - 1](data, random)
    return data


def survey(read: Callable[[Path], object], path: Path, allowed: type[HakunaError], n_files: int) -> dict[str, int]:
    """Read many damaged relatives of a file; returns how many were read and refused."""
    counts = {"read": 0, "refused": 0}
    whole = path.read_bytes()
    read(path)
    for number in range(n_files):
        path.write_bytes(damaged(whole, number))
        try:
            read(path)
        except allowed as error:
            assert str(path) in str(error)  # noqa: PT017  # it names the file
            counts["refused"] += 1
        else:
            counts["read"] += 1
    path.write_bytes(whole)
    return counts


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """The same bytes in every file of it, whichever tests were before: names and weights are given."""
    keras.utils.set_random_seed(SEED)
    images = keras.Input((None, None, 3), name="images")
    x = keras.layers.Conv2D(8, 3, name="convolution")(images)
    x = keras.layers.BatchNormalization(name="normalisation")(x)
    x = keras.layers.GlobalMaxPooling2D(name="pooling")(x)
    return keras.Model(images, keras.layers.Dense(54, "sigmoid", name="head")(x), name="small")


@pytest.mark.parametrize("n_files", [60, pytest.param(300, marks=pytest.mark.faults)])
@pytest.mark.parametrize("kind", ["Keras 2", "Keras 3"])
def test_damaged_weights_are_read_or_refused(
    kind: str, n_files: int, network: keras.Model, tmp_path: Path, figures: Figures
) -> None:
    path = tmp_path / "net.h5"
    if kind == "Keras 2":
        write_keras2(network, path, tmp_path / "canary")
    else:
        network.save(path)

    def read(file: Path) -> None:
        if n_files > 60:  # HDF5 hangs on some of them
            probe_files([file])
        (read_keras_file if kind == "Keras 2" else load_keras_network)(file)

    counts = survey(read, path, BundleError, n_files)
    figures[f"damaged weights of {kind}"] = {**counts, "other_exceptions": 0}
    assert min(counts.values()) > 0
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("n_flips", [200, pytest.param(5_000, marks=pytest.mark.faults)])
def test_a_checkpoint_with_a_flipped_bit_is_whole_or_refused(n_flips: int, tmp_path: Path, figures: Figures) -> None:
    made = Checkpoint({"seed": "1"}, Position(epoch=1), [np.arange(3.0), np.arange(4)], [np.array(7), np.ones(2)])
    write_checkpoint(tmp_path, made)
    path = tmp_path / CHECKPOINT_NAME
    whole = path.read_bytes()
    counts = {"refused": 0, "whole": 0}
    for bit in np.random.default_rng(SEED).choice(8 * len(whole), n_flips, replace=False):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(data)
        try:
            found = read_checkpoint(tmp_path, made.fingerprint)
        except CheckpointError:
            counts["refused"] += 1
            continue
        assert found
        assert found.position == made.position
        for own, wanted in zip((found.variables, found.optimizer), (made.variables, made.optimizer), strict=True):
            for one, other in zip(own, wanted, strict=True):
                np.testing.assert_array_equal(one, other, err_msg=f"bit {bit}")
        counts["whole"] += 1
    figures["checkpoints with a flipped bit"] = {"flips": n_flips, **counts, "other_exceptions": 0}
    assert min(counts.values()) > 0
