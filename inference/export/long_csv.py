"""One row a sequence and label, as CSV."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference.core.files import atomic_csv
from inference.core.labels import LABELS
from inference.outputs.finished_run import FinishedRun

LONG_COLUMNS = ("seq_id", "label", "probability", "model")


def write_long_csv(run: FinishedRun, unprocessed: frozenset[str], path: Path, threshold: float) -> int:
    """One row for each sequence and label from the threshold on, likeliest first; returns the number of rows.

    Unprocessed sequences have none.
    """
    n_rows = 0
    with atomic_csv(path) as writer:
        writer.writerow(LONG_COLUMNS)
        for seq_id, row in zip(run.predictions.seq_ids, run.predictions.values, strict=True):
            for label, probability in () if seq_id in unprocessed else likeliest(row, threshold):
                writer.writerow([seq_id, label, f"{probability:.9g}", run.model])
                n_rows += 1
    return n_rows


def likeliest(row: npt.NDArray[np.float64], threshold: float) -> Iterator[tuple[str, float]]:
    """Labels from the threshold on with their probabilities, largest first: float64 (C,)."""
    for c in np.argsort(-row, kind="stable"):
        if row[c] < threshold:
            return
        yield LABELS[c], float(row[c])
