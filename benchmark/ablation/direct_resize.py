"""Photos straight from full size to the network's size: what the third step of the published solution did away with.

Only the resize differs from what the network learnt from: the info strip is found as always, and blackened in the photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from benchmark.ablation.steps import PRESET
from inference.core.choices import Preset
from inference.core.sequences import ImageSize
from inference.dataset.label_tables import Table
from inference.dataset.metadata import Metadata
from inference.images.decode_pillow import decode
from inference.preprocessing.info_strip import Region, find_strip
from models.keras_io.h5_file import load_keras_network

if TYPE_CHECKING:
    import keras

FRAME_WEIGHTS = np.array([1.0, 0.8, 0.5])
"""Of the first, second, third frame (REFERENCE.md section 3.3)."""
BATCH_FRAMES = 64
HALF_RANGE = 127.5


def predict_with_direct_resize(network: Path, data: Path, metadata: Metadata, size: ImageSize) -> Table:
    """What a network on frames says without the reference resize, frames averaged as always."""
    model: keras.Model = load_keras_network(network)
    seq_ids = sorted(metadata.sequences)
    frames: list[npt.NDArray[np.float32]] = []
    owners: list[tuple[int, int]] = []
    answers: list[npt.NDArray[np.float32]] = []
    for row, seq_id in enumerate(seq_ids):
        names = [image.file_name for image in metadata.sequences[seq_id].images[: len(FRAME_WEIGHTS)]]
        frames += straight_frames([data / name for name in names], size)
        owners += [(row, k) for k in range(len(names))]
        while len(frames) >= BATCH_FRAMES:
            answers.append(np.asarray(model(np.stack(frames[:BATCH_FRAMES]), training=False)))
            frames = frames[BATCH_FRAMES:]
    if frames:
        answers.append(np.asarray(model(np.stack(frames), training=False)))
    rows, ks = (np.array(one) for one in zip(*owners, strict=True))
    weights = FRAME_WEIGHTS[ks]
    total = np.zeros((len(seq_ids), model.output_shape[-1]))
    np.add.at(total, rows, weights[:, None] * np.concatenate(answers))
    return Table(tuple(seq_ids), np.clip(total / np.bincount(rows, weights)[:, None], 0, 1))


def straight_frames(paths: Sequence[Path], size: ImageSize) -> list[npt.NDArray[np.float32]]:
    """The photos of a sequence as the network takes them: float32 (h, w, 3) each, RGB, -1 to 1."""
    quarter = decode(paths[0].read_bytes(), Preset(PRESET))
    strip = find_strip(quarter)
    frames = []
    for path in paths:
        photo = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if photo is None:
            raise FileNotFoundError(path)
        scales = photo.shape[0] / quarter.shape[0], photo.shape[1] / quarter.shape[1]
        for region in strip:
            photo[_scaled(region, scales)] = 0
        small = cv2.resize(photo, (size.width, size.height), interpolation=cv2.INTER_LINEAR)
        frames.append(small[..., ::-1].astype(np.float32) / np.float32(HALF_RANGE) - np.float32(1))
    return frames


def _scaled(region: Region, scales: tuple[float, float]) -> Region:
    """A region of the quarter frame in the photo that it was made of."""
    rows, columns = (
        slice(*(None if edge is None else round(edge * scale) for edge in (axis.start, axis.stop)))
        for axis, scale in zip(region, scales, strict=True)
    )
    return rows, columns
