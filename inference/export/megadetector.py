"""MegaDetector's results format."""

from __future__ import annotations

from pathlib import Path

from inference.core.files import write_json
from inference.dataset.metadata import Metadata
from inference.export.long_csv import ANIMAL, CATEGORY_OF, MEGADETECTOR_VERSION, images_of
from inference.outputs.finished_run import FinishedRun


def write_megadetector(
    run: FinishedRun, metadata: Metadata, unseen: frozenset[str], path: Path, threshold: float
) -> int:
    """MegaDetector results: every photo has what its sequence got, as one animal in the whole photo.

    Its confidence is 1 - p(empty); below the threshold there is no detection. Photos that could not be used, and those of
    sequences that nobody looked at, are failures. Returns the number of photos.
    """
    content = {
        "info": {
            "format_version": MEGADETECTOR_VERSION,
            "detector": run.model,
            "classifier": run.model,
            "detector_metadata": {"typical_detection_threshold": 0.5, "conservative_detection_threshold": threshold},
            **({"warning": run.warning} if run.warning else {}),
        },
        "detection_categories": {ANIMAL: "animal"},
        "classification_categories": {number: label for label, number in CATEGORY_OF.items()},
    }
    images = list(images_of(run, metadata, unseen, threshold))
    write_json({**content, "images": images}, path)
    return len(images)
