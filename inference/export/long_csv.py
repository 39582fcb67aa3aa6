"""CSV with one row per sequence and label."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from inference.core.files import atomic_csv
from inference.core.labels import LABELS
from inference.outputs.finished_run import FinishedRun

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""Characters that start a formula in spreadsheets (OWASP, CSV injection)."""
LONG_COLUMNS = ("seq_id", "site", "datetime", "label", "probability", "model")


class Place(NamedTuple):
    """Site and time of a sequence; "" if unknown."""

    site: str = ""
    moment: str = ""


def write_long_csv(
    run: FinishedRun, unprocessed: frozenset[str], path: Path, threshold: float, places: Mapping[str, Place]
) -> int:
    """Write a row per sequence and label at or above the threshold, most probable first; returns the number of rows.

    Unprocessed sequences have no rows. A `seq_id` or site that spreadsheets would run gets a leading apostrophe.
    """
    n_rows = 0
    with atomic_csv(path) as writer:
        writer.writerow(LONG_COLUMNS)
        for seq_id, row in zip(run.predictions.seq_ids, run.predictions.values, strict=True):
            place = places.get(seq_id, Place())
            for label, probability in () if seq_id in unprocessed else likeliest(row, threshold):
                writer.writerow(
                    [as_text(seq_id), as_text(place.site), place.moment, label, f"{probability:.9g}", run.model]
                )
                n_rows += 1
    return n_rows


def as_text(value: str) -> str:
    """A value that spreadsheets do not run as a formula; numbers stay numbers."""
    try:
        float(value)
    except ValueError:
        return f"'{value}" if value.startswith(FORMULA_STARTS) else value
    return value


def likeliest(row: npt.NDArray[np.float64], threshold: float) -> Iterator[tuple[str, float]]:
    """Labels at or above the threshold with their probabilities, largest first; `row` is float64 (C,)."""
    for c in np.argsort(-row, kind="stable"):
        if row[c] < threshold:
            return
        yield LABELS[c], float(row[c])
