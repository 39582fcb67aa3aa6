"""CSV files of one number per sequence and class: submissions and labels, as arrays."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from inference.core.errors import InputError
from inference.core.labels import LABELS
from inference.dataset.metadata import check_labels

CHUNK_BYTES = 8 << 20
"""What is read at a time: 13,000 rows of a submission."""
PLAIN_NUMBERS = b"0123456789.eE+-,"
"""What the numbers of an ordinary file are made of."""
PLAIN_LABELS = b"01,"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Table:
    """A CSV file of one number per sequence and class.

    Attributes
    ----------
    values : float64 (N, C), classes in the order of LABELS
    """

    seq_ids: tuple[str, ...]
    values: npt.NDArray[np.float64]


def read_submission(path: Path) -> Table:
    """Read a submission: every value a finite number in [0, 1]. Raises InputError naming row and column."""
    table = _read_table(path)
    if not (table.values.min() >= 0 and table.values.max() <= 1):
        _refuse_first(path, table, ~((table.values >= 0) & (table.values <= 1)), "must be in [0, 1]")
    return table


def read_labels(path: Path) -> Table:
    """Read labels: every value 0 or 1. Raises InputError naming row and column."""
    table = _read_table(path)
    _refuse_first(path, table, (table.values != 0) & (table.values != 1), "must be 0 or 1")
    return table


def aligned(submission: Table, labels: Table) -> npt.NDArray[np.float64]:
    """Predictions in the order of the labels: float64 (N, C).

    Raises InputError where the two do not have the same sequences.
    """
    if submission.seq_ids == labels.seq_ids:
        return submission.values
    position = {seq_id: row for row, seq_id in enumerate(submission.seq_ids)}
    missing = [seq_id for seq_id in labels.seq_ids if seq_id not in position]
    extra = sorted(position.keys() - set(labels.seq_ids))
    if missing or extra:
        raise InputError(
            f"the submission must have the sequences of the labels, got {len(missing)} missing {missing[:3]} "
            f"and {len(extra)} unknown {extra[:3]}"
        )
    return submission.values[[position[seq_id] for seq_id in labels.seq_ids]]


def _read_table(path: Path) -> Table:
    try:
        return _ordinary(path) or _any(path)
    except OSError as error:
        raise InputError(f"{path}: must be a readable CSV file, got: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: must be valid CSV in UTF-8, got: {error}") from error


def _ordinary(path: Path) -> Table | None:
    """A file as programs write it, in chunks and without a CSV reader; None if it is anything else, right or wrong."""
    seq_ids: list[str] = []
    parts: list[npt.NDArray[np.float64]] = []
    with path.open("rb") as file:
        names = file.readline().removeprefix(BYTE_ORDER_MARK).rstrip(b"\n").decode("utf-8", "replace").split(",")
        if names[0] != "seq_id" or sorted(names[1:]) != sorted(LABELS):
            return None
        while lines := file.readlines(CHUNK_BYTES):
            numbers = _ordinary_numbers(lines, seq_ids)
            if numbers is None:
                return None
            parts.append(numbers)
    if not seq_ids or len(set(seq_ids)) < len(seq_ids):
        return None
    return Table(tuple(seq_ids), _in_label_order(np.concatenate(parts), names[1:]))


def _ordinary_numbers(lines: list[bytes], seq_ids: list[str]) -> npt.NDArray[np.float64] | None:
    """The numbers of some lines, float64 (N, C), whose first columns go to `seq_ids`; None if a line is unusual."""
    tails = []
    for line in lines:
        seq_id, _, tail = line.partition(b",")
        if tail.count(b",") != len(LABELS) - 1 or b'"' in seq_id:
            return None
        seq_ids.append(seq_id.decode())
        tails.append(tail)
    text = b",".join(tails).replace(b"\n", b"")
    shape = (len(lines), len(LABELS))
    if len(text) == 2 * len(lines) * len(LABELS) - 1 and not text.translate(None, PLAIN_LABELS):
        digits = np.frombuffer(text, np.uint8)[::2]
        if np.isin(digits, list(b"01")).all():
            return (digits - ord("0")).astype(np.float64).reshape(shape)
    if text.translate(None, PLAIN_NUMBERS):
        return None
    try:
        return np.array(from_json(b"[" + text + b"]"), np.float64).reshape(shape)
    except (ValueError, OverflowError):
        return None  # such as .5, an empty cell, or hundreds of digits


def _any(path: Path) -> Table:
    """Any file; every defect is an InputError that names the place."""
    seq_ids: dict[str, int] = {}
    rows: list[npt.NDArray[np.float64]] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = next(reader, [])
        if header[:1] != ["seq_id"]:
            raise InputError(f"{path}, row 1, column 1: must be seq_id, got {header[0] if header else ''!r}")
        check_labels(path, tuple(header[1:]))
        for number, row in _checked_rows(path, header, reader):
            if row[0] in seq_ids:
                raise InputError(f"{path}, row {number}, column seq_id: must be unique, got {row[0]!r} again")
            seq_ids[row[0]] = number
            rows.append(_numbers(path, number, header, row))
    if not rows:
        raise InputError(f"{path}: must have at least one row below the header, got none")
    return Table(tuple(seq_ids), _in_label_order(np.stack(rows), header[1:]))


def _checked_rows(path: Path, header: list[str], reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    for number, row in enumerate(reader, start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise InputError(f"{path}, row {number}: must have {len(header)} columns, got {len(row)}")
        yield number, row


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


def _in_label_order(values: npt.NDArray[np.float64], names: list[str]) -> npt.NDArray[np.float64]:
    columns = [names.index(label) for label in LABELS]
    return values if columns == sorted(columns) else values[:, columns]


def _refuse_first(path: Path, table: Table, is_bad: npt.NDArray[np.bool_], rule: str) -> None:
    if is_bad.any():
        bad = np.argwhere(is_bad)
        row, column = bad[0]
        raise InputError(
            f"{path}, sequence {table.seq_ids[row]}, column {LABELS[column]}: {rule}, "
            f"got {table.values[row, column]:g} ({len(bad)} such values)"
        )
