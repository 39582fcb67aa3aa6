"""The labels of the public seasons, and which season a sequence belongs to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference.core.errors import InputError, UsageError
from inference.core.labels import LABELS, N_CLASSES
from inference.dataset.metadata import check_labels, csv_rows

TRAIN_METADATA_NAME = "train_metadata.csv"
TRAIN_LABELS_NAME = "train_labels.csv"
"""The competition's names, below the data folder."""

SEASON = re.compile(r"SER_(S\d+)#")
"""Public sequences are named season # site # roll # capture: `SER_S1#B04#1#1`."""

Targets = npt.NDArray[np.uint8]
"""uint8 (N, C), 0 or 1, classes in the order of LABELS."""


def season_of(seq_id: str) -> str | None:
    """`S1` for `SER_S1#B04#1#1`; None where the name has none."""
    match = SEASON.match(seq_id)
    return match.group(1) if match else None


def parse_seasons(option: str, text: str) -> tuple[str, ...]:
    """`S1,S2` -> two names. Raises UsageError."""
    seasons = tuple(part.strip() for part in text.split(","))
    if not all(re.fullmatch(r"S\d+", season) for season in seasons) or len(set(seasons)) < len(seasons):
        raise UsageError(f"{option}: must be different seasons such as S1,S2,S3, got {text!r}")
    return seasons


def check_disjoint(training: Collection[str], validation: Collection[str]) -> None:
    """Refuse to validate with what is learnt. Raises UsageError."""
    both = sorted(set(training) & set(validation))
    if both:
        raise UsageError(f"--train, --valid: must have no season in common, got {', '.join(both)} in both")


def ids_of_seasons(seq_ids: Iterable[str], seasons: Collection[str], where: Path) -> list[str]:
    """The sequences of some seasons, sorted. Raises InputError naming a season that has none."""
    found: dict[str, list[str]] = {}
    for seq_id in seq_ids:
        found.setdefault(season_of(seq_id) or "", []).append(seq_id)
    missing = [season for season in seasons if season not in found]
    if missing:
        known = sorted(season for season in found if season)
        raise InputError(
            f"{where}: must have sequences of season {missing[0]} (SER_{missing[0]}#...), got only {known or 'none'}"
        )
    return sorted(seq_id for season in set(seasons) for seq_id in found[season])


def read_labels(path: Path, seq_ids: Collection[str]) -> Targets:
    """Read what is seen in some sequences.

    Returns
    -------
    uint8 (N, C), rows in the order of `seq_ids`

    Raises
    ------
    InputError
        A value is not 0 or 1, a sequence has two rows, or one of `seq_ids` has none.
    """
    position = {seq_id: row for row, seq_id in enumerate(seq_ids)}
    targets = np.zeros((len(position), N_CLASSES), np.uint8)
    is_found = np.zeros(len(position), np.bool_)
    with csv_rows(path) as (header, rows):
        if header[:1] != ["seq_id"]:
            raise InputError(f"{path}, row 1, column 1: must be seq_id, got {header[0] if header else ''!r}")
        check_labels(path, tuple(header[1:]))
        columns = [header.index(label) for label in LABELS]
        for number, row in rows:
            at = position.get(row[0])
            if at is None:
                continue
            if is_found[at]:
                raise InputError(f"{path}, row {number}, column seq_id: must be unique, got {row[0]!r} again")
            is_found[at] = True
            for c, column in enumerate(columns):
                if row[column] not in ("0", "1", "0.0", "1.0"):
                    raise InputError(f"{path}, row {number}, column {LABELS[c]}: must be 0 or 1, got {row[column]!r}")
                targets[at, c] = row[column][0] == "1"
    if not is_found.all():
        unlabelled = [seq_id for seq_id, row in position.items() if not is_found[row]]
        raise InputError(f"{path}: must have every sequence, got {len(unlabelled)} missing: {unlabelled[:3]}")
    return targets
