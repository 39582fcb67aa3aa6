"""Aggregated outputs -> the matrix that the stackers were trained on, column by column as the manifest names them."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from inference.bundle.manifest import Block, Manifest, Stacking
from inference.core.files import output_errors
from inference.core.labels import LABELS
from inference.core.sequences import Probabilities
from inference.ensemble.aggregation import Aggregated


def stacker_features(
    aggregated: Aggregated, manifest: Manifest, stacking: Stacking, neighbours: Probabilities | None = None
) -> npt.NDArray[np.float64]:
    """Build the features of N sequences.

    Parameters
    ----------
    neighbours : float32 (N, W, K), of W windows and K feature classes; NaN where no other camera fired.
        None where they are not known

    Returns
    -------
    float64 (N, D), D = len(manifest.feature_names). Only the networks' own outputs for a frame that does not exist
    hold `stacking.missing_frame`; medians hold the first frame's, networks on the whole sequence the estimate. Where
    there is no neighbour, their features hold `stacking.neighbours.missing`.
    """
    classes = [LABELS.index(label) for label in stacking.feature_classes]
    n_sequences = len(aggregated.n_frames)
    columns: list[npt.NDArray[np.float64]] = []
    for block in stacking.blocks:
        values: npt.NDArray[np.float64]
        if block == Block.HOUR:
            values = aggregated.hours.astype(np.float64)
        elif block == Block.MONTH:
            values = aggregated.months.astype(np.float64)
        elif block == Block.FRAME_OUTPUTS:
            outputs = aggregated.frame_outputs[..., classes].astype(np.float64)
            values = np.where(np.isnan(outputs), stacking.missing_frame, outputs)
        elif block == Block.FRAME_MEDIANS:
            values = aggregated.frame_medians[..., classes].astype(np.float64)
        elif block == Block.NEIGHBOURS and stacking.neighbours:
            shape = (n_sequences, len(stacking.neighbours.windows_seconds), len(classes))
            means = np.full(shape, np.nan) if neighbours is None else neighbours.astype(np.float64)
            values = np.where(np.isnan(means), stacking.neighbours.missing, means)
        else:
            values = aggregated.sequence_medians[block][..., classes].astype(np.float64)
        columns.append(values.reshape(n_sequences, -1))
    features = np.concatenate(columns, axis=1)
    if features.shape[1] != len(manifest.feature_names):
        raise ValueError(f"must have {len(manifest.feature_names)} features, got {features.shape[1]}")
    return features


class FeatureFile:
    """An `.npz` file of features that is written a chunk at a time.

    Arrays: `X` float32 (N, D), `seq_id` (N,), `count` int64 (N,) readable frames, `feature_names` (D,). Only sequences
    with a readable frame have a row.
    """

    def __init__(self, path: Path, feature_names: tuple[str, ...]) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.partial")
        self._matrix = path.with_name(f".{path.name}.matrix.partial")
        self._names = feature_names
        self._seq_ids: list[str] = []
        self._counts: list[int] = []

    def __enter__(self) -> Self:
        with output_errors(self._path):
            self._file = self._matrix.open("wb")
        return self

    def append(self, seq_ids: list[str], counts: list[int], features: npt.NDArray[np.float64]) -> None:
        """Add the rows of some sequences: float64 (N, D)."""
        self._seq_ids += seq_ids
        self._counts += counts
        with output_errors(self._path):
            features.astype(np.float32).tofile(self._file)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with output_errors(self._path):
                self._file.close()
                if kind is None:
                    self._write()
        finally:
            self._matrix.unlink(missing_ok=True)
            self._temporary.unlink(missing_ok=True)

    def _write(self) -> None:
        shape = (len(self._seq_ids), len(self._names))
        rows = np.memmap(self._matrix, np.float32, "r", shape=shape) if shape[0] else np.empty(shape, np.float32)
        with self._temporary.open("wb") as file:
            np.savez(
                file,
                X=rows,
                seq_id=np.array(self._seq_ids, dtype=np.str_),
                count=np.array(self._counts, dtype=np.int64),
                feature_names=np.array(self._names, dtype=np.str_),
            )
            file.flush()
            os.fsync(file.fileno())
        self._temporary.replace(self._path)
