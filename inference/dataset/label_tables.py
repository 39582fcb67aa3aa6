"""CSV files with one number per sequence and class: submissions and labels, as arrays."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from inference.core.errors import InputError, counted
from inference.core.files import os_errors
from inference.core.iteration import batched
from inference.core.labels import LABELS, N_CLASSES
from inference.dataset.metadata import check_header, csv_rows

CHUNK_BYTES = 8 << 20
"""Bytes read at a time: 13,000 rows of a submission."""
CHUNK_ROWS = 1024
"""Rows read at a time if a CSV reader is needed."""
PLAIN_NUMBERS = b"0123456789.eE+-,"
"""Characters in the numbers of an ordinary file."""
PLAIN_LABELS = b"01,"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Values = npt.NDArray[np.float64]
Targets = npt.NDArray[np.uint8]
"""uint8 (N, C), 0 or 1, classes in the order of LABELS."""


@dataclass(frozen=True)
class Table:
    """A CSV file with one number per sequence and class, or some rows of it.

    Attributes
    ----------
    values : float64 (N, C), classes in the order of LABELS
    """

    seq_ids: tuple[str, ...]
    values: Values


def read_submission(path: Path) -> Table:
    """Read a submission: every value is a finite number in [0, 1]. Raises InputError naming sequence and column."""
    table = _read_table(path)
    _refuse_first(path, table, ~((table.values >= 0) & (table.values <= 1)), "in [0, 1]")
    return table


def read_labels(path: Path) -> Table:
    """Read labels: every value equals 0 or 1, and not all are 0. Raises InputError naming sequence and column."""
    table = _read_table(path)
    _check_labels(path, table)
    _refuse_only_zeros(path, table.values)
    return table


def read_targets(path: Path, seq_ids: Collection[str]) -> Targets:
    """Read the labels of some sequences like `read_labels`, without keeping the others in memory.

    Returns
    -------
    uint8 (N, C), rows in the order of `seq_ids`

    Raises
    ------
    InputError
        A value is not 0 or 1, a sequence has two rows, one of `seq_ids` is missing, or all values are 0. Sequences with
        only zeros are counted in the log.
    """
    position = {seq_id: row for row, seq_id in enumerate(seq_ids)}
    targets = np.zeros((len(position), N_CLASSES), np.uint8)
    found: set[str] = set()
    for rows in _rows(path):
        wanted = [row for row, seq_id in enumerate(rows.seq_ids) if seq_id in position]
        mine = Table(tuple(rows.seq_ids[row] for row in wanted), rows.values[wanted])
        _add_once(path, mine.seq_ids, found)
        _check_labels(path, mine)
        targets[[position[seq_id] for seq_id in mine.seq_ids]] = mine.values
    if missing := [seq_id for seq_id in position if seq_id not in found]:
        raise InputError(
            f"{path}: must have every sequence, got {len(missing)} missing: {missing[:3]}",
            hint="label them, or delete their rows from the metadata; `hakuna train` leaves them out with --labelled-only",
        )
    _refuse_only_zeros(path, targets)
    if n_unlabelled := int((~targets.any(axis=1)).sum()):
        import structlog  # imported late: it would take a third of the time in which `score` rejects a file

        log = structlog.get_logger()
        log.warning("labels: sequences with only zeros, kept unchanged", count=n_unlabelled, file=str(path))
    return targets


def labelled(path: Path, seq_ids: Sequence[str]) -> list[str]:
    """Those of some sequences that a file of labels has, in their order; the others are counted in the log."""
    known = {seq_id for rows in _rows(path) for seq_id in rows.seq_ids}
    kept = [seq_id for seq_id in seq_ids if seq_id in known]
    if n_left_out := len(seq_ids) - len(kept):
        import structlog  # imported late: see `read_targets`

        structlog.get_logger().warning("sequences without labels, left out", count=n_left_out, file=str(path))
    return kept


def aligned(submission: Table, labels: Table, name: str = "submission") -> Values:
    """Predictions in the order of the labels: float64 (N, C).

    Raises InputError, with `name` for the submission, unless both have the same sequences.
    """
    if submission.seq_ids == labels.seq_ids:
        return submission.values
    position = {seq_id: row for row, seq_id in enumerate(submission.seq_ids)}
    missing = [seq_id for seq_id in labels.seq_ids if seq_id not in position]
    extra = sorted(position.keys() - set(labels.seq_ids))
    if missing or extra:
        hint = "" if missing else "--labelled-only scores the labelled sequences alone"
        raise InputError(
            f"labels and {name}: must have the same sequences, got {counted(len(missing), 'sequence')} in the labels alone "
            f"{missing[:3]} and {counted(len(extra), 'sequence')} in the {name} alone {extra[:3]}",
            hint=hint,
        )
    return submission.values[[position[seq_id] for seq_id in labels.seq_ids]]


def common(submission: Table, labels: Table) -> tuple[Table, Table]:
    """The rows of both whose sequences are in both. Raises InputError if there are none."""
    parts = []
    for one, other in ((submission, labels), (labels, submission)):
        wanted = set(other.seq_ids)
        rows = [row for row, seq_id in enumerate(one.seq_ids) if seq_id in wanted]
        parts.append(Table(tuple(one.seq_ids[row] for row in rows), one.values[rows]))
    if not parts[0].seq_ids:
        raise InputError(
            f"labels and submission: must have a sequence in common, got none; the first are {labels.seq_ids[0]!r} and "
            f"{submission.seq_ids[0]!r}"
        )
    return parts[0], parts[1]


def _read_table(path: Path) -> Table:
    found: set[str] = set()
    parts = []
    for rows in _rows(path):
        _add_once(path, rows.seq_ids, found)
        parts.append(rows)
    if not parts:
        raise InputError(f"{path}: must have at least one row below the header, got none")
    seq_ids = tuple(seq_id for part in parts for seq_id in part.seq_ids)
    return Table(seq_ids, np.concatenate([part.values for part in parts]))


def _rows(path: Path) -> Iterator[Table]:
    """All rows, parsed without a CSV reader while they look machine-written. Every defect is an InputError."""
    n_rows = 0
    with os_errors(InputError, f"{path}: must be a readable CSV file"), path.open("rb") as file:
        names = file.readline().removeprefix(BYTE_ORDER_MARK).rstrip(b"\n").decode("utf-8", "replace").split(",")
        if names[0] == "seq_id" and sorted(names[1:]) == sorted(LABELS):
            while lines := file.readlines(CHUNK_BYTES):
                rows = _ordinary_rows(lines)
                if rows is None:
                    break
                n_rows += len(lines)
                yield Table(rows.seq_ids, _in_label_order(rows.values, names[1:]))
            else:
                return
    with csv_rows(path) as (header, numbered_rows):
        labels = check_header(path, header)
        for part in batched(islice(numbered_rows, n_rows, None), CHUNK_ROWS):
            values = np.stack([_numbers(path, number, header, row) for number, row in part])
            yield Table(tuple(row[0] for _, row in part), _in_label_order(values, labels))


def _ordinary_rows(lines: list[bytes]) -> Table | None:
    """Parse lines with their columns in file order; None if a line is unusual, valid or not."""
    seq_ids, tails = [], []
    for line in lines:
        seq_id, _, tail = line.partition(b",")
        if tail.count(b",") != N_CLASSES - 1 or b'"' in seq_id or b"\r" in seq_id:
            return None
        seq_ids.append(seq_id)
        tails.append(tail)
    values = _ordinary_numbers(b",".join(tails).replace(b"\n", b""), (len(lines), N_CLASSES))
    try:
        return None if values is None else Table(tuple(seq_id.decode() for seq_id in seq_ids), values)
    except UnicodeDecodeError:
        return None


def _ordinary_numbers(text: bytes, shape: tuple[int, int]) -> Values | None:
    """Parse comma-separated numbers to float64 (N, C); None if one is unusual."""
    if len(text) == 2 * shape[0] * shape[1] - 1 and not text.translate(None, PLAIN_LABELS):
        digits = np.frombuffer(text, np.uint8)[::2]
        if np.isin(digits, list(b"01")).all():
            return (digits - ord("0")).astype(np.float64).reshape(shape)
    if text.translate(None, PLAIN_NUMBERS):
        return None
    try:
        return np.array(from_json(b"[" + text + b"]"), np.float64).reshape(shape)
    except (ValueError, OverflowError):
        return None  # for example .5, an empty cell, or hundreds of digits


def _numbers(path: Path, number: int, header: list[str], row: list[str]) -> Values:
    """The numbers of a row, float64 (C,)."""
    try:
        return np.array(row[1:], dtype=np.float64)
    except ValueError:
        for name, value in zip(header[1:], row[1:], strict=True):
            try:
                float(value)
            except ValueError:
                raise InputError(f"{path}, row {number}, column {name}: must be a number, got {value!r}") from None
        raise


def _in_label_order(values: Values, names: Sequence[str]) -> Values:
    columns = [names.index(label) for label in LABELS]
    return values if columns == sorted(columns) else values[:, columns]


def _add_once(path: Path, seq_ids: tuple[str, ...], found: set[str]) -> None:
    for seq_id in seq_ids:
        if seq_id in found:
            raise InputError(f"{path}, column seq_id: must be unique, got {seq_id!r} again")
        found.add(seq_id)


def _check_labels(path: Path, rows: Table) -> None:
    hint = "a file of probabilities is a submission, not labels"
    _refuse_first(path, rows, (rows.values != 0) & (rows.values != 1), "0 or 1", hint)


def _refuse_only_zeros(path: Path, values: Values | Targets) -> None:
    """`empty` is a label too: a table without any 1 is another kind of file, for example a submission format."""
    if values.size and not values.any():
        raise InputError(f"{path}: must have a 1 in at least one of {counted(len(values), 'sequence')}, got only 0")


def _refuse_first(path: Path, rows: Table, is_bad: npt.NDArray[np.bool_], rule: str, hint: str = "") -> None:
    if is_bad.any():
        bad = np.argwhere(is_bad)
        row, column = bad[0]
        raise InputError(
            f"{path}, sequence {rows.seq_ids[row]}, column {LABELS[column]}: must be {rule}, "
            f"got {str(float(rows.values[row, column])).removesuffix('.0')} ({counted(len(bad), 'such value')})",
            hint=hint,
        )
