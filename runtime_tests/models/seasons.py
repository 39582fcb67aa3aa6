"""Small labelled seasons under the names of the public ones, for the tests that train."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from inference.core.sequences import ImageSize
from inference.dataset.metadata import FORMAT_NAME, METADATA_NAME
from models.data.season_labels import TRAIN_LABELS_NAME, TRAIN_METADATA_NAME
from runtime_tests.models.plain_photos import LABELS_NAME, write_season

PHOTO_SIZE = ImageSize(96, 128)
SCHEDULE = """
format_version = 1
description = "Small, for tests"
decay = 0.15
warm_up = { trainable_layers = [1], learning_rate = 1e-3 }
[[sizes]]
height = 48
width = 64
batch_size = 4
epochs = 2
learning_rate = 3e-3
[[sizes]]
height = 60
width = 80
batch_size = 4
epochs = 1
learning_rate = 1e-3
"""


def write_seasons(folder: Path, counts: dict[str, int], size: ImageSize = PHOTO_SIZE) -> Path:
    """Write seasons S1, S2 ... as the public data set has them; each also lies alone in `folder/S1` ..., to predict."""
    tables: dict[str, list[list[str]]] = {TRAIN_METADATA_NAME: [], TRAIN_LABELS_NAME: []}
    for number, (season, n_sequences) in enumerate(counts.items()):
        write_season(folder / season, n_sequences=n_sequences, n_cameras=3, size=size, seed=100 + number)
        for name in (METADATA_NAME, FORMAT_NAME, LABELS_NAME):
            path = folder / season / name
            path.write_text(path.read_text().replace("SER_S1#", f"SER_{season}#"))
        for source, target in ((METADATA_NAME, TRAIN_METADATA_NAME), (LABELS_NAME, TRAIN_LABELS_NAME)):
            with (folder / season / source).open(newline="") as file:
                header, *rows = csv.reader(file)
            if source == METADATA_NAME:
                rows = [[seq_id, moment, f"{season}/{name}"] for seq_id, moment, name in rows]
            tables[target] += ([] if tables[target] else [header]) + rows
    for name, rows in tables.items():
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


def copied(folder: Path, target: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(folder, target))
