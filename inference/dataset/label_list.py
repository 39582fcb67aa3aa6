"""A list of labels by photo or burst, as people keep it in a spreadsheet -> labels of sequences."""

from collections.abc import Mapping
from pathlib import Path

from inference.core.errors import InputError
from inference.core.files import atomic_csv
from inference.core.labels import EMPTY, LABELS
from inference.core.sequences import Sequence
from inference.dataset.camera_folders import plain_path
from inference.dataset.metadata import csv_rows

NAME_COLUMNS, LABEL_COLUMN = ("file_name", "seq_id"), "label"


def read_label_list(path: Path, sequences: Mapping[str, Sequence], metadata: Path) -> dict[str, set[str]]:
    """The labels of each listed sequence: those of its photos, and `empty` only if no photo shows an animal.

    Parameters
    ----------
    path : CSV file with the columns `label` and `file_name` or `seq_id`; a row for each photo or burst and label
    sequences, metadata : the known sequences, and their file for messages

    Raises
    ------
    InputError
        A column is missing, or a row has no such photo, burst or label.
    """
    burst_of = {image.file_name: one.seq_id for one in sequences.values() for image in one.images}
    found: dict[str, set[str]] = {}
    with csv_rows(path) as (header, rows):
        columns = {name.strip().lower(): column for column, name in enumerate(header)}
        names = [name for name in NAME_COLUMNS if name in columns]
        if LABEL_COLUMN not in columns or not names:
            raise InputError(
                f"{path}, row 1: must have the columns {LABEL_COLUMN} and {' or '.join(NAME_COLUMNS)}, got {header[:8]}"
            )
        for number, row in rows:
            given = [name for name in (row[columns[one]].strip() for one in names) if name]
            seq_ids = {one if one in sequences else burst_of.get(plain_path(one.replace("\\", "/"))) for one in given}
            seq_id = seq_ids.pop() if len(seq_ids) == 1 else None
            if seq_id is None:
                wanted = (
                    f"a photo or a burst of {metadata}" if len(given) < len(NAME_COLUMNS) else "a photo and its burst"
                )
                raise InputError(f"{path}, row {number}: must be {wanted}, got {', '.join(map(repr, given)) or 'none'}")
            label = row[columns[LABEL_COLUMN]].strip().lower()
            if label not in LABELS:
                raise InputError(
                    f"{path}, row {number}, column {LABEL_COLUMN}: must be one of the {len(LABELS)} labels, got {label!r}",
                    hint="the labels are the columns of submission.csv",
                )
            found.setdefault(seq_id, set()).add(label)
    if not found:
        raise InputError(f"{path}: must have at least one row below the header, got none")
    return {seq_id: labels - {LABELS[EMPTY]} or labels for seq_id, labels in found.items()}


def write_labels(path: Path, labels: Mapping[str, set[str]]) -> None:
    """Write `seq_id` and a column of 0 and 1 for each label. Raises OutputError."""
    with atomic_csv(path) as writer:
        writer.writerow(["seq_id", *LABELS])
        writer.writerows([seq_id, *(int(label in its) for label in LABELS)] for seq_id, its in labels.items())
