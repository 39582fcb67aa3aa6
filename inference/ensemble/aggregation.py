"""Records -> one estimate a sequence, by medians over networks and sizes and a weighted mean over frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.bundle.manifest import Manifest
from inference.bundle.passes import STACKABLE_EFFORT
from inference.core.labels import LABELS, N_CLASSES
from inference.core.sequences import Probabilities
from inference.records.schema import Record


@dataclass(frozen=True)
class Aggregated:
    """The estimates of N sequences that have at least one readable frame.

    Attributes
    ----------
    frame_outputs : float32 (N, O, F, C); NaN where a sequence has fewer than F frames
    frame_medians : float32 (N, F, C), over the O outputs; the first frame's where a frame does not exist
    sequence_medians : float32 (N, C) by network on the whole sequence, over its sizes;
        the estimate from the frames where a sequence has only one
    estimate : float32 (N, C), the weighted mean of the frames' medians
    n_frames : int (N,)
    hours, months : int (N,)
    is_complete : bool (N,); False where some outputs were left out because time was short
    """

    frame_outputs: Probabilities
    frame_medians: Probabilities
    sequence_medians: dict[str, Probabilities]
    estimate: Probabilities
    n_frames: npt.NDArray[np.int64]
    hours: npt.NDArray[np.int64]
    months: npt.NDArray[np.int64]
    is_complete: npt.NDArray[np.bool_]


def aggregate(records: Sequence[Record], manifest: Manifest) -> Aggregated:
    """Aggregate the outputs for N sequences, each with one to F frames, as the published program does."""
    n_frames = np.array([record.n_frames for record in records], dtype=np.int64)
    if len(n_frames) and n_frames.min() < 1:
        raise ValueError("records must have at least one frame each, got one without")
    n_outputs = sum(len(network.sizes) for network in manifest.frame_networks)
    frame_outputs = np.full((len(records), n_outputs, manifest.n_frames, N_CLASSES), np.nan, np.float32)
    for row, record in enumerate(records):
        frame_outputs[row, :, : record.n_frames] = record.frame_outputs.transpose(1, 0, 2)
    is_complete = np.array([record.effort <= STACKABLE_EFFORT for record in records], dtype=np.bool_)
    medians = np.median(frame_outputs, axis=1)  # NaN for frames that do not exist
    for row in np.flatnonzero(~is_complete):
        medians[row, : n_frames[row]] = np.nanmedian(frame_outputs[row, :, : n_frames[row]], axis=0)
    estimate = _weighted_mean(medians, n_frames, manifest.ensemble.frame_weights)
    absent = np.arange(manifest.n_frames) >= n_frames[:, None]
    return Aggregated(
        frame_outputs=frame_outputs,
        frame_medians=np.where(absent[:, :, None], medians[:, :1], medians),
        sequence_medians=_sequence_medians(records, manifest, estimate),
        estimate=estimate,
        n_frames=n_frames,
        hours=np.array([record.hour for record in records], dtype=np.int64),
        months=np.array([record.month for record in records], dtype=np.int64),
        is_complete=is_complete,
    )


def blended(aggregated: Aggregated, manifest: Manifest) -> Probabilities:
    """The estimates of N sequences, blended with the networks on whole sequences: float32 (N, C), a new array.

    A sequence with one frame keeps the estimate from it: it has no mean and no background.
    """
    estimate = aggregated.estimate.copy()
    for blend in manifest.ensemble.blends:
        columns = [LABELS.index(label) for label in blend.classes]
        stacked = np.stack([estimate, *(aggregated.sequence_medians[name] for name in blend.networks)])[..., columns]
        if blend.method == "median":
            estimate[:, columns] = np.median(stacked, axis=0)
        else:
            mean = np.average(stacked.astype(np.float64), axis=0, weights=blend.weights)
            estimate[:, columns] = np.clip(mean, 0.0, 1.0)
    one_frame = aggregated.n_frames == 1
    estimate[one_frame] = aggregated.estimate[one_frame]
    return estimate


def _weighted_mean(
    medians: Probabilities, n_frames: npt.NDArray[np.int64], weights: tuple[float, ...]
) -> Probabilities:
    """Sum of w_k median_k / sum of w_k over the frames that exist, in float64."""
    estimate = np.empty((len(medians), N_CLASSES), np.float32)
    for n in range(1, len(weights) + 1):
        rows = n_frames == n
        weight = np.array(weights[:n])
        total = np.einsum("f,nfc->nc", weight, medians[rows, :n].astype(np.float64))
        # Rounding can lift a mean of ones above one.
        estimate[rows] = np.clip(total / weight.sum(), 0.0, 1.0)
    return estimate


def _sequence_medians(
    records: Sequence[Record], manifest: Manifest, estimate: Probabilities
) -> dict[str, Probabilities]:
    medians = {}
    first = 0
    for network in manifest.sequence_networks:
        columns = slice(first, first + len(network.sizes))
        first = columns.stop
        rows = estimate.copy()
        for row, record in enumerate(records):
            outputs = record.sequence_outputs[columns]
            computed = outputs[~np.isnan(outputs).any(axis=1)]
            if len(computed):  # none with one frame
                rows[row] = np.median(computed, axis=0)
        medians[network.name] = rows
    return medians
