"""Photos straight from full size to the network's size: what the third step of the published solution did away with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmark.scoring import Table
from models.keras_files import load_keras_network

if TYPE_CHECKING:
    from pathlib import Path

    import keras
    import numpy.typing as npt

    from inference.domain import ImageSize
    from inference.metadata import Metadata

FRAME_WEIGHTS = np.array([1.0, 0.8, 0.5])
"""Of the first, second, third frame (REFERENCE.md section 3.3)."""
BATCH_FRAMES = 64
HALF_RANGE = 127.5


def predict_straight(network: Path, data: Path, metadata: Metadata, size: ImageSize) -> Table:
    """What a network on frames says without the reference resize, frames averaged as always."""
    model: keras.Model = load_keras_network(network)
    seq_ids = sorted(metadata.sequences)
    frames: list[npt.NDArray[np.float32]] = []
    owners: list[tuple[int, int]] = []
    answers: list[npt.NDArray[np.float32]] = []
    for row, seq_id in enumerate(seq_ids):
        for k, image in enumerate(metadata.sequences[seq_id].images[: len(FRAME_WEIGHTS)]):
            frames.append(straight_frame(data / image.file_name, size))
            owners.append((row, k))
            if len(frames) == BATCH_FRAMES:
                answers.append(np.asarray(model(np.stack(frames), training=False)))
                frames = []
    if frames:
        answers.append(np.asarray(model(np.stack(frames), training=False)))
    rows, ks = (np.array(one) for one in zip(*owners, strict=True))
    weights = FRAME_WEIGHTS[ks]
    total = np.zeros((len(seq_ids), model.output_shape[-1]))
    np.add.at(total, rows, weights[:, None] * np.concatenate(answers))
    return Table(tuple(seq_ids), np.clip(total / np.bincount(rows, weights)[:, None], 0, 1))


def straight_frame(path: Path, size: ImageSize) -> npt.NDArray[np.float32]:
    """A photo as the network takes it: float32 (h, w, 3), RGB, -1 to 1."""
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if photo is None:
        raise FileNotFoundError(path)
    small = cv2.resize(photo, (size.width, size.height), interpolation=cv2.INTER_LINEAR)
    return small[..., ::-1].astype(np.float32) / np.float32(HALF_RANGE) - np.float32(1)
