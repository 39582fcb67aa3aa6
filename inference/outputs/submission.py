"""The submission: checked, in one fixed number format, and under its name only when it is complete."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from inference.core.files import atomic_csv
from inference.core.labels import LABELS
from inference.core.sequences import Probabilities
from inference.records.schema import Record

SUBMISSION_NAME = "submission.csv"
PARTIAL_NAME = "submission.partial.csv"
"""The best so far while a run with a time budget goes on."""
FAILURES_NAME = "failures.csv"
FAILURES_COLUMNS = ("seq_id", "file_name", "reason")
NUMBER_FORMAT = "%.9g"
"""Nine significant digits: the fewest from which every float32 comes back."""


def write_submission(
    path: Path, labels: tuple[str, ...], n_rows: int, chunks: Iterable[tuple[list[str], Probabilities]]
) -> None:
    """Write rows in the order in which they come.

    Parameters
    ----------
    labels : order of the columns
    n_rows : how many rows must come
    chunks : `seq_id`s and float32 (N, C), classes in the order of LABELS

    Raises
    ------
    ValueError
        A value is not finite or not in [0, 1], or there are more or fewer rows. Nothing is written then.
    """
    columns = [LABELS.index(label) for label in labels]
    n_written = 0
    with atomic_csv(path) as writer:
        writer.writerow(["seq_id", *labels])
        for seq_ids, probabilities in chunks:
            if not (np.isfinite(probabilities).all() and (probabilities >= 0).all() and (probabilities <= 1).all()):
                raise ValueError("every probability must be finite and in [0, 1]")
            for seq_id, row in zip(seq_ids, probabilities[:, columns].tolist(), strict=True):
                writer.writerow([seq_id, *[NUMBER_FORMAT % value for value in row]])
            n_written += len(seq_ids)
        if n_written != n_rows:
            raise ValueError(f"must write {n_rows} rows, got {n_written}")


@contextmanager
def failures_file(path: Path) -> Iterator[Callable[[Iterable[Record]], None]]:
    """List every photo that could not be used: `seq_id, file_name, reason`. Gives what appends those of some records."""
    with atomic_csv(path) as writer:
        writer.writerow(FAILURES_COLUMNS)

        def append(records: Iterable[Record]) -> None:
            for record in records:
                for failure in record.failures:
                    reason = f"{failure.reason}: {failure.detail}" if failure.detail else failure.reason.value
                    writer.writerow([record.seq_id, failure.file_name, reason])

        yield append
