"""Stackers of season size within 12 GB: all processes together, matrices included."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from inference.core.labels import N_CLASSES
from inference.process.progress import RunState
from models.spec.recipe import load_recipe, manifest_of
from models.stacking.matrix import HalfSeason, Season
from models.stacking.stack import MEMORY_BYTES, Direction, StackingOptions, train_in_processes, train_stackers

N_TRAIN, N_VALID = 367_394, 252_015
"""Sequences of seasons 9 and 10 that have a readable frame, more or less."""
CLASSES = ("empty", "zebra")
CHUNK = 20_000


def write_half(path: Path, n_rows: int, n_features: int, random: np.random.Generator) -> HalfSeason:
    with path.open("wb") as file:
        for start in range(0, n_rows, CHUNK):
            rows = random.random((min(CHUNK, n_rows - start), n_features), np.float32)
            (rows**4).tofile(file)
    targets = (random.random((n_rows, N_CLASSES), np.float32) < 0.2).astype(np.uint8)
    return HalfSeason(path, n_features, np.full((n_rows, N_CLASSES), 0.2, np.float32), targets)


class Watch:
    """The most memory that this process and its children ever had of their own, in bytes."""

    def __init__(self) -> None:
        self.peak = 0
        self.n_children = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stopped.wait(0.2):
            own = family(os.getpid())
            self.n_children = max(self.n_children, len(own) - 1)
            self.peak = max(self.peak, sum(map(own_bytes, own)))


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    found = [pid]
    for path in children:
        try:
            found += [one for child in map(int, path.read_text().split()) for one in family(child)]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def own_bytes(pid: int) -> int:
    """Memory that no file stands behind."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.slow
def test_a_season_is_stacked_within_12_gb(tmp_path: Path, random: np.random.Generator) -> None:
    manifest = manifest_of(load_recipe("third_place"))
    n_features = len(manifest.feature_names)
    assert n_features == 822
    halves = [
        write_half(tmp_path / f"{name}.float32", n_rows, n_features, random)
        for name, n_rows in (
            ("a", N_TRAIN // 2),
            ("b", N_TRAIN - N_TRAIN // 2),
            ("c", N_VALID // 2),
            ("d", N_VALID // 2),
        )
    ]
    train, valid = Season("S9", (halves[0], halves[1]), 0, "train"), Season("S10", (halves[2], halves[3]), 0, "valid")
    options = StackingOptions(n_workers=2, seed=1, rounds=3)
    with Watch() as watch:
        way = Direction(train, valid, tmp_path / "out")
        results = train_stackers(way, CLASSES, manifest, options, RunState().check, train_in_processes)
    assert [one.label for one in results] == list(CLASSES)
    matrices = sum(half.matrix.stat().st_size for half in halves)
    total = watch.peak + matrices
    assert watch.n_children >= 2
    assert total < MEMORY_BYTES
