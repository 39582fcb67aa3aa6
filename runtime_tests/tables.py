"""CSV files, read back."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference.core.labels import LABELS


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a table with a header."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def probabilities(path: Path, first: str = "seq_id") -> tuple[list[str], npt.NDArray[np.float64]]:
    """What a submission says: the sequences in its order, and float64 (N, C); its columns are `first` and LABELS."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == [first, *LABELS]
    return [row[0] for row in rows], np.array([row[1:] for row in rows], dtype=np.float64)


def submission_rows(path: Path) -> dict[str, npt.NDArray[np.float64]]:
    """The same by sequence."""
    return dict(zip(*probabilities(path), strict=True))
