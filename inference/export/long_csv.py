"""One row a sequence and label, as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.core.files import atomic_csv
from inference.core.labels import EMPTY, LABELS
from inference.dataset.metadata import Metadata
from inference.export.taxonomy import SPECIES_LABELS
from inference.outputs.finished_run import FinishedRun

LONG_COLUMNS = ("seq_id", "label", "probability", "model")
MEGADETECTOR_VERSION = "1.6"
ANIMAL = "1"
WHOLE_PHOTO = [0.0, 0.0, 1.0, 1.0]
"""A bounding box as x, y, width, height, relative: our networks do not look for places."""
CATEGORY_OF = {label: str(number) for number, label in enumerate(SPECIES_LABELS)}
DIGITS = 6
NOT_LOOKED_AT = "not looked at"
"""Failure of a photo that could perhaps be used, had there been time."""


def write_long_csv(run: FinishedRun, unseen: frozenset[str], path: Path, threshold: float) -> int:
    """One row for each sequence and label from the threshold on, likeliest first; returns the number of rows.

    Sequences that nobody looked at have none.
    """
    n_rows = 0
    with atomic_csv(path) as writer:
        writer.writerow(LONG_COLUMNS)
        for seq_id, row in zip(run.predictions.seq_ids, run.predictions.values, strict=True):
            for label, probability in () if seq_id in unseen else _likeliest(row, threshold):
                writer.writerow([seq_id, label, f"{probability:.9g}", run.model])
                n_rows += 1
    return n_rows


def images_of(
    run: FinishedRun, metadata: Metadata, unseen: frozenset[str], threshold: float
) -> Iterator[dict[str, Any]]:
    """The entries of MegaDetector's `images`."""
    for seq_id, row in zip(run.predictions.seq_ids, run.predictions.values, strict=True):
        sequence = metadata.sequences.get(seq_id)
        for image in sequence.images if sequence else ():
            reason = run.failures.get(image.file_name) or (NOT_LOOKED_AT if seq_id in unseen else None)
            if reason is not None:
                yield {"file": image.file_name, "failure": reason, "detections": None}
            else:
                yield {"file": image.file_name, "detections": _detections(row, threshold)}


def _detections(row: npt.NDArray[np.float64], threshold: float) -> list[dict[str, Any]]:
    confidence = 1 - float(row[EMPTY])
    if confidence < threshold:
        return []
    classifications = [
        [CATEGORY_OF[label], round(probability, DIGITS)]
        for label, probability in _likeliest(row, threshold)
        if label in CATEGORY_OF
    ]
    detection = {"category": ANIMAL, "conf": round(confidence, DIGITS), "bbox": WHOLE_PHOTO}
    return [{**detection, "classifications": classifications}]


def _likeliest(row: npt.NDArray[np.float64], threshold: float) -> Iterator[tuple[str, float]]:
    """Labels from the threshold on with their probabilities, largest first: float64 (C,)."""
    for c in np.argsort(-row, kind="stable"):
        if row[c] < threshold:
            return
        yield LABELS[c], float(row[c])
