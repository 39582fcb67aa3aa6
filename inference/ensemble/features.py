"""Aggregated outputs -> the matrix that the stackers were trained on, with the columns named in the manifest."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.bundle.manifest import Block, Manifest, Stacking
from inference.core.files import atomic_binary_writer, make_parent, output_errors
from inference.core.labels import LABELS
from inference.core.sequences import Probabilities
from inference.ensemble.aggregation import Aggregated
from inference.records.schema import Record


def stacker_features(
    aggregated: Aggregated, manifest: Manifest, stacking: Stacking, neighbours: Probabilities | None = None
) -> npt.NDArray[np.float64]:
    """Build the features of N sequences.

    Parameters
    ----------
    neighbours : float32 (N, W, K), of W windows and K feature classes; NaN where no other camera fired.
        None if they are not known

    Returns
    -------
    float64 (N, D), D = len(manifest.feature_names). For missing frames, the networks' own outputs hold
    `stacking.missing_frame`; medians repeat the first frame's, and networks on whole sequences use the estimate.
    Without neighbours, their features hold `stacking.neighbours.missing`. Incomplete rows hold NaN.
    """
    classes = [LABELS.index(label) for label in stacking.feature_classes]
    n_sequences = len(aggregated.n_frames)
    outputs = aggregated.frame_outputs[..., classes].astype(np.float64)
    absent = np.arange(manifest.n_frames) >= aggregated.n_frames[:, None]
    blocks: dict[str, npt.NDArray[Any]] = {
        Block.HOUR: aggregated.hours,
        Block.MONTH: aggregated.months,
        Block.FRAME_OUTPUTS: np.where(absent[:, None, :, None], stacking.missing_frame, outputs),
        Block.FRAME_MEDIANS: aggregated.frame_medians[..., classes],
        **{name: medians[..., classes] for name, medians in aggregated.sequence_medians.items()},
    }
    if options := stacking.neighbours:
        shape = (n_sequences, len(options.windows_seconds), len(classes))
        means = np.full(shape, np.nan) if neighbours is None else neighbours.astype(np.float64)
        blocks[Block.NEIGHBOURS] = np.where(np.isnan(means), options.missing, means)
    columns = [blocks[name].reshape(n_sequences, -1) for name in stacking.blocks]
    features = np.concatenate(columns, axis=1, dtype=np.float64)
    if features.shape[1] != len(manifest.feature_names):
        raise ValueError(f"must have {len(manifest.feature_names)} features, got {features.shape[1]}")
    return features


@contextmanager
def feature_file(
    path: Path, feature_names: tuple[str, ...]
) -> Iterator[Callable[[list[Record], npt.NDArray[np.float64]], None]]:
    """Write an `.npz` file of features in chunks. Yields a function that adds the rows (N, D) of N records.

    Arrays: `X` float32 (N, D), `seq_id` (N,), `count` int64 (N,) readable frames, `feature_names` (D,). Only sequences
    with a readable frame have a row.
    """
    seq_ids: list[str] = []
    counts: list[int] = []

    def append(records: list[Record], features: npt.NDArray[np.float64]) -> None:
        seq_ids.extend(record.seq_id for record in records)
        counts.extend(record.n_frames for record in records)
        with output_errors(path):
            features.astype(np.float32).tofile(matrix)

    make_parent(path)
    with output_errors(path), tempfile.TemporaryFile(dir=path.parent) as matrix:
        yield append
        with atomic_binary_writer(path) as file:
            shape = (len(seq_ids), len(feature_names))
            np.savez(
                file,
                X=np.memmap(matrix, np.float32, "r", shape=shape) if seq_ids else np.empty(shape, np.float32),
                seq_id=np.array(seq_ids, dtype=np.str_),
                count=np.array(counts, dtype=np.int64),
                feature_names=np.array(feature_names, dtype=np.str_),
            )
