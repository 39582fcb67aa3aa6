"""The competition's metric: mean over classes of the binary log loss, and what each class contributes."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from inference.domain import LABELS, InputError
from inference.metadata import check_labels

if TYPE_CHECKING:
    from pathlib import Path

EPSILON = 1e-15
"""Probabilities are clipped to [EPSILON, 1 - EPSILON]."""


@dataclass(frozen=True)
class Table:
    """A CSV file of one number per sequence and class.

    Attributes
    ----------
    values : float64 (N, C), classes in the order of LABELS
    """

    seq_ids: tuple[str, ...]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassScore:
    """One class of a submission."""

    label: str
    log_loss: float
    contribution: float
    """Its part of the score: log_loss / 54."""
    positives: int
    mean_prediction: float


@dataclass(frozen=True)
class Score:
    """A submission against labels."""

    log_loss: float
    n_sequences: int
    classes: tuple[ClassScore, ...]
    """Sorted by contribution, the largest first."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "log_loss": self.log_loss,
            "n_sequences": self.n_sequences,
            "classes": [vars(one) for one in self.classes],
        }


def score(submission: Table, labels: Table, epsilon: float = EPSILON) -> Score:
    """Score predictions against labels; rows are joined by `seq_id`.

    Raises InputError where the two do not have the same sequences.
    """
    order = _matching_rows(submission.seq_ids, labels.seq_ids)
    p = np.clip(submission.values[order], epsilon, 1 - epsilon)
    y = labels.values
    log_loss = -(y * np.log(p) + (1 - y) * np.log1p(-p)).mean(axis=0)
    classes = [
        ClassScore(
            label=label,
            log_loss=float(log_loss[c]),
            contribution=float(log_loss[c]) / len(LABELS),
            positives=int(y[:, c].sum()),
            mean_prediction=float(submission.values[:, c].mean()),
        )
        for c, label in enumerate(LABELS)
    ]
    classes.sort(key=lambda one: (-one.contribution, one.label))
    return Score(float(log_loss.mean()), len(labels.seq_ids), tuple(classes))


def read_submission(path: Path) -> Table:
    """Read a submission: every value a finite number in [0, 1]. Raises InputError naming row and column."""
    table = _read_table(path)
    bad = np.argwhere(~((table.values >= 0) & (table.values <= 1)))
    _refuse_first(path, table, bad, "must be in [0, 1]")
    return table


def read_labels(path: Path) -> Table:
    """Read labels: every value 0 or 1. Raises InputError naming row and column."""
    table = _read_table(path)
    bad = np.argwhere((table.values != 0) & (table.values != 1))
    _refuse_first(path, table, bad, "must be 0 or 1")
    return table


def _read_table(path: Path) -> Table:
    seq_ids: dict[str, int] = {}
    rows: list[npt.NDArray[np.float64]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if header[:1] != ["seq_id"]:
                raise InputError(f"{path}, row 1, column 1: must be seq_id, got {header[0] if header else ''!r}")
            check_labels(path, tuple(header[1:]))
            for number, row in enumerate(reader, start=2):
                if not row:
                    continue
                if len(row) != len(header):
                    raise InputError(f"{path}, row {number}: must have {len(header)} columns, got {len(row)}")
                if row[0] in seq_ids:
                    raise InputError(f"{path}, row {number}, column seq_id: must be unique, got {row[0]!r} again")
                seq_ids[row[0]] = number
                rows.append(_numbers(path, number, header, row))
    except OSError as error:
        raise InputError(f"{path}: must be a readable CSV file, got: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: must be valid CSV in UTF-8, got: {error}") from error
    if not rows:
        raise InputError(f"{path}: must have at least one row below the header, got none")
    columns = [header[1:].index(label) for label in LABELS]
    return Table(tuple(seq_ids), np.stack(rows)[:, columns])


def _numbers(path: Path, number: int, header: list[str], row: list[str]) -> npt.NDArray[np.float64]:
    try:
        return np.array(row[1:], dtype=np.float64)
    except ValueError:
        for name, value in zip(header[1:], row[1:], strict=True):
            try:
                float(value)
            except ValueError:
                raise InputError(f"{path}, row {number}, column {name}: must be a number, got {value!r}") from None
        raise


def _refuse_first(path: Path, table: Table, bad: npt.NDArray[np.int64], rule: str) -> None:
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{path}, sequence {table.seq_ids[row]}, column {LABELS[column]}: {rule}, "
            f"got {table.values[row, column]:g} ({len(bad)} such values)"
        )


def _matching_rows(submitted: tuple[str, ...], labelled: tuple[str, ...]) -> list[int]:
    """Row of the submission for each row of the labels."""
    position = {seq_id: row for row, seq_id in enumerate(submitted)}
    missing = [seq_id for seq_id in labelled if seq_id not in position]
    extra = sorted(set(submitted) - set(labelled))
    if missing or extra:
        raise InputError(
            f"the submission must have the sequences of the labels, got {len(missing)} missing {missing[:3]} "
            f"and {len(extra)} unknown {extra[:3]}"
        )
    return [position[seq_id] for seq_id in labelled]
