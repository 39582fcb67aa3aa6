"""Views of a batch of sequences -> the outputs of each network, averaged with those of the mirror images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from inference.bundle.manifest import Network
from inference.bundle.passes import Pass
from inference.core.errors import BundleError, OutOfMemoryError
from inference.core.labels import LABELS, N_CLASSES
from inference.core.sequences import ImageSize, Probabilities, View, ViewedSequence

Image = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
"""(H, W, 3), RGB, 0-255."""

MAX_CALL_IMAGES = 32
"""Most images, mirror images included, that a network is given at once. Limits memory."""
MIN_CALL_IMAGES = 2
"""Fewest images in one call, padded with zeros. TensorFlow uses another kernel for a single row of the last layer,
which rounds differently (1.2e-7). From two rows up, a row does not depend on the others (measured). Their number is even:
OpenVINO's networks cut it into small calls."""


class CallableNetwork(Protocol):
    """An engine's loaded network: float32 (N, H, W, 3) by input name, RGB, 0-255 -> float32 (N, C)."""

    def __call__(self, inputs: Mapping[str, Any], /) -> Probabilities:
        """Run the network on N images."""


@dataclass
class LoadedNetworks:
    """The loaded networks of a bundle, and how many images they take at once.

    Attributes
    ----------
    by_name : the networks
    mirrored : where the engine makes the mirror images: the networks on N images and then on their mirror images. Such an
        engine takes images as they are: frames are uint8, a quarter of the bytes
    fixed_shapes : pad every call to `max_call_images`, because each new shape costs time on GPUs
    max_call_images : most images that a network is given at once, mirror images included; halved when memory runs out
    before_call : called before every call, which may take seconds; raises to end the batch
    in_float32 : returns a network in float32 by name; None unless the networks are in half precision
    n_repeated : calls repeated in float32 because their answers overflowed half precision
    probe : the networks' answers to the probe, float32 (P, C)
    memory : reused input buffers by input number and type; allocating 100 MB takes as long as filling them
    """

    by_name: Mapping[str, CallableNetwork]
    mirrored: Mapping[str, CallableNetwork] = field(default_factory=dict)
    fixed_shapes: bool = False
    max_call_images: int = MAX_CALL_IMAGES
    before_call: Callable[[], None] | None = None
    in_float32: Callable[[str], CallableNetwork] | None = None
    n_repeated: int = 0
    probe: Probabilities = field(default_factory=lambda: np.empty((0, N_CLASSES), np.float32), repr=False)
    memory: dict[tuple[int, np.dtype[Any]], npt.NDArray[Any]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class NetworkOutputs:
    """The networks' outputs for one sequence.

    Attributes
    ----------
    frame_outputs : float32 (F, O, C), O per-frame outputs in the order of the manifest
    sequence_outputs : float32 (S, C), S outputs on the whole sequence; S is 0 when F < 2
    """

    frame_outputs: Probabilities
    sequence_outputs: Probabilities


def forward(batch: Sequence[ViewedSequence], passes: Sequence[Pass], networks: LoadedNetworks) -> list[NetworkOutputs]:
    """Run the networks on a batch of sequences. Missing frames and views cost nothing.

    Parameters
    ----------
    batch : sequences with their views and any number of frames, including none
    passes : all outputs of the bundle; skipped ones hold NaN and must not be used
    networks : the bundle's; `max_call_images` shrinks when memory runs out

    Raises
    ------
    BundleError
        An answer of a network is not a probability, even in float32.
    """
    frame_columns: list[Probabilities] = []
    sequence_columns: list[Probabilities] = []
    for one in passes:
        images = images_of(batch, one.network, one.size.as_image_size())
        if one.is_asked:
            answers = _forward_in_chunks(networks, one.network.name, images, mirror=one.mirror)
        else:
            answers = np.full((len(next(iter(images.values()))), N_CLASSES), np.nan, np.float32)
        (frame_columns if one.network.per_frame else sequence_columns).append(answers)
    n_frames = sum(viewed.n_frames for viewed in batch)
    # (frames of all sequences, O, C); O is 0 when a network on whole sequences is tested alone.
    by_frame = np.stack(frame_columns, axis=1) if frame_columns else np.empty((n_frames, 0, N_CLASSES), np.float32)
    by_sequence = np.stack(sequence_columns, axis=1) if sequence_columns else None  # (sequences with F > 1, S, C)
    return _scatter(batch, by_frame, by_sequence)


def images_of(batch: Sequence[ViewedSequence], network: Network, size: ImageSize) -> dict[str, list[Image]]:
    """Single images (H, W, 3) by input name: all frames of all sequences, or the view of each sequence that has it."""
    if network.per_frame:
        frames = [frame for viewed in batch if viewed.n_frames for frame in viewed.views[View.FRAME, size]]
        return {network.inputs[0].name: frames}
    moving = [viewed for viewed in batch if viewed.n_frames > 1]
    return {
        network_input.name: [viewed.views[network_input.view, size] for viewed in moving]
        for network_input in network.inputs
    }


def _forward_in_chunks(
    networks: LoadedNetworks, name: str, images: dict[str, list[Image]], *, mirror: bool
) -> Probabilities:
    """Probabilities (N, C) of N images, each averaged with its mirror image if `mirror` is set."""
    n_images = len(next(iter(images.values())))
    parts = [np.empty((0, N_CLASSES), np.float32)]
    start = 0
    while start < n_images:
        step = networks.max_call_images // 2 if mirror else networks.max_call_images
        if networks.before_call:
            networks.before_call()
        part = {key: one[start : start + step] for key, one in images.items()}
        try:
            parts.append(_call_once(networks, name, part, mirror=mirror))
        except OutOfMemoryError:
            if networks.max_call_images <= MIN_CALL_IMAGES:
                raise
            networks.max_call_images //= 2
            continue
        start += step
    return np.concatenate(parts)


def _call_once(networks: LoadedNetworks, name: str, part: dict[str, list[Image]], *, mirror: bool) -> Probabilities:
    n_part, by_engine = len(next(iter(part.values()))), bool(networks.mirrored)
    n_call = networks.max_call_images if networks.fixed_shapes else MIN_CALL_IMAGES
    n_filled = n_part if by_engine or not mirror else 2 * n_part
    n_rows = max(n_filled, n_call // 2) if by_engine and mirror else max(n_filled + n_filled % 2, n_call)
    inputs = {
        key: _filled(networks, number, images, n_rows, mirror=mirror and not by_engine)
        for number, (key, images) in enumerate(part.items())
    }
    used = np.arange(n_part)
    if mirror:
        used = np.concatenate([used, used + (n_rows if by_engine else n_part)])
    answers = _probabilities(networks, name, inputs, used, mirror=mirror and by_engine)
    return (answers[:n_part] + answers[n_part:]) / 2 if mirror else answers


def _probabilities(
    networks: LoadedNetworks,
    name: str,
    inputs: dict[str, npt.NDArray[Any]],
    used: npt.NDArray[np.int64],
    *,
    mirror: bool,
) -> Probabilities:
    """A network's answers for some rows, checked to be probabilities: float32 (len(used), C).

    `mirror`: the engine makes the mirror images. Half precision can overflow. Only the rows that overflow are answered in
    float32: no row depends on its neighbours.
    """
    answers = (networks.mirrored if mirror else networks.by_name)[name](inputs)[used]
    is_sound = (answers >= 0) & (answers <= 1)  # False for NaN
    if networks.in_float32 and not is_sound.all():
        networks.n_repeated += 1
        if mirror:
            inputs = {key: np.concatenate([one, one[:, :, ::-1]]) for key, one in inputs.items()}
        exact = networks.in_float32(name)(inputs)[used]
        answers = np.where(is_sound.all(axis=1, keepdims=True), answers, exact)
        is_sound = (answers >= 0) & (answers <= 1)
    if not is_sound.all():
        row, column = np.argwhere(~is_sound)[0]
        _, height, width, _ = next(iter(inputs.values())).shape
        raise BundleError(
            f"network {name} at {ImageSize(height, width)}, class {LABELS[column]}: must answer with a probability, "
            f"finite and in [0, 1], got {answers[row, column]}; its weights are damaged or were never valid; use another bundle"
        )
    return answers


def _filled(
    networks: LoadedNetworks, number: int, images: list[Image], n_rows: int, *, mirror: bool
) -> npt.NDArray[Any]:
    """Images, mirror images if `mirror`, then zeros: (n_rows, H, W, 3), valid until input `number` is filled again.

    float32, or as they are for an engine that takes them so.
    """
    kind = images[0].dtype if networks.mirrored else np.dtype(np.float32)
    shape, memory, key = (n_rows, *images[0].shape), networks.memory, (number, kind)
    size = math.prod(shape)
    if key not in memory or memory[key].size < size:
        memory[key] = np.empty(size, kind)
    rows = memory[key][:size].reshape(shape)
    for row, image in enumerate(images):
        rows[row] = image
        if mirror:
            rows[len(images) + row] = image[:, ::-1]
    rows[len(images) * (1 + mirror) :] = 0
    return rows


def _scatter(
    batch: Sequence[ViewedSequence], by_frame: Probabilities, by_sequence: Probabilities | None
) -> list[NetworkOutputs]:
    answers = []
    frame = moving = 0
    for viewed in batch:
        frame_outputs = by_frame[frame : frame + viewed.n_frames]
        frame += viewed.n_frames
        sequence_outputs = np.empty((0, N_CLASSES), np.float32)
        if viewed.n_frames > 1 and by_sequence is not None:
            sequence_outputs = by_sequence[moving]
            moving += 1
        answers.append(NetworkOutputs(frame_outputs, sequence_outputs))
    return answers
