"""Views of a batch of sequences -> what each network says about them, mirror images averaged in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from inference.domain import N_CLASSES, ImageSize, OutOfMemoryError, View

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from inference.bundle import Network
    from inference.domain import Probabilities, ViewedSequence
    from inference.passes import Pass

    Image = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    """(H, W, 3), RGB, 0-255."""

MAX_CALL_IMAGES = 32
"""Most images, mirror images included, in one call of a network: bounds memory. Full-size InceptionResNetV2 gains
less than 5 % from 8 to 32 images on a CPU."""
MIN_CALL_IMAGES = 2
"""Fewest images in one call, padded with zeros. TensorFlow multiplies a single row of the last layer with another
kernel, which rounds differently (1.2e-7); from two rows on a row does not depend on the others (measured)."""


class CallableNetwork(Protocol):
    """An engine's loaded network: float32 (N, H, W, 3) by input name, RGB, 0-255 -> float32 (N, C)."""

    def __call__(self, inputs: Mapping[str, npt.NDArray[np.float32]], /) -> Probabilities:
        """Ask about N images."""


@dataclass
class LoadedNetworks:
    """The networks of a bundle in memory, and how many images they take at once.

    Attributes
    ----------
    by_name : the networks
    fixed_shapes : pad every call to `max_call_images`, because each new shape costs time (GPUs)
    max_call_images : most images in one call, mirror images included; halved when memory runs out
    before_call : called before every call, which may take seconds; what it raises ends the batch
    """

    by_name: Mapping[str, CallableNetwork]
    fixed_shapes: bool = False
    max_call_images: int = MAX_CALL_IMAGES
    before_call: Callable[[], None] | None = None


@dataclass(frozen=True)
class Answers:
    """What the networks said about one sequence.

    Attributes
    ----------
    frame_outputs : float32 (F, O, C), O per-frame outputs in the order of the manifest
    sequence_outputs : float32 (S, C), S outputs on the whole sequence; S is 0 when F < 2
    """

    frame_outputs: Probabilities
    sequence_outputs: Probabilities


def ask_networks(batch: Sequence[ViewedSequence], passes: Sequence[Pass], networks: LoadedNetworks) -> list[Answers]:
    """Ask the networks about a batch of sequences; frames and views that do not exist cost nothing.

    Parameters
    ----------
    batch : sequences with their views, any number of frames, none included
    passes : every output of the bundle; those not asked answer NaN
    networks : the bundle's; `max_call_images` becomes smaller where memory runs out
    """
    frame_columns: list[Probabilities] = []
    sequence_columns: list[Probabilities] = []
    for one in passes:
        images = _gather(batch, one.network, one.size.as_image_size())
        if one.is_asked:
            answers = _call_in_parts(networks, one.network.name, images, mirror=one.mirror)
        else:
            answers = np.full((len(next(iter(images.values()))), N_CLASSES), np.nan, np.float32)
        (frame_columns if one.network.per_frame else sequence_columns).append(answers)
    by_frame = np.stack(frame_columns, axis=1)  # (frames of all sequences, O, C)
    by_sequence = np.stack(sequence_columns, axis=1) if sequence_columns else None  # (sequences with F > 1, S, C)
    return _hand_out(batch, by_frame, by_sequence)


def _gather(batch: Sequence[ViewedSequence], network: Network, size: ImageSize) -> dict[str, list[Image]]:
    """Single images (H, W, 3) by input name: all frames of all sequences, or one view of each that has it."""
    if network.per_frame:
        frames = [frame for viewed in batch if viewed.n_frames for frame in viewed.views[View.FRAME, size]]
        return {network.inputs[0].name: frames}
    moving = [viewed for viewed in batch if viewed.n_frames > 1]
    return {
        network_input.name: [viewed.views[network_input.view, size] for viewed in moving]
        for network_input in network.inputs
    }


def _call_in_parts(
    networks: LoadedNetworks, name: str, images: dict[str, list[Image]], *, mirror: bool
) -> Probabilities:
    """Probabilities (N, C) of N images, each averaged with its mirror image if asked for."""
    n_images = len(next(iter(images.values())))
    parts = [np.empty((0, N_CLASSES), np.float32)]
    start = 0
    while start < n_images:
        step = networks.max_call_images // 2 if mirror else networks.max_call_images
        if networks.before_call:
            networks.before_call()
        part = {key: np.stack(stack[start : start + step]).astype(np.float32) for key, stack in images.items()}
        try:
            parts.append(_call_once(networks, name, part, mirror=mirror))
        except OutOfMemoryError:
            if networks.max_call_images <= MIN_CALL_IMAGES:
                raise
            networks.max_call_images //= 2
            continue
        start += step
    return np.concatenate(parts)


def _call_once(
    networks: LoadedNetworks, name: str, part: dict[str, npt.NDArray[np.float32]], *, mirror: bool
) -> Probabilities:
    n_part = len(next(iter(part.values())))
    n_padded = networks.max_call_images if networks.fixed_shapes else MIN_CALL_IMAGES
    if mirror:
        part = {key: np.concatenate([stack, stack[:, :, ::-1]]) for key, stack in part.items()}
    answers = networks.by_name[name]({key: _padded(stack, n_padded) for key, stack in part.items()})
    return (answers[:n_part] + answers[n_part : 2 * n_part]) / 2 if mirror else answers[:n_part]


def _padded(stack: npt.NDArray[np.float32], n_images: int) -> npt.NDArray[np.float32]:
    missing = n_images - len(stack)
    return stack if missing <= 0 else np.pad(stack, ((0, missing), (0, 0), (0, 0), (0, 0)))


def _hand_out(
    batch: Sequence[ViewedSequence], by_frame: Probabilities, by_sequence: Probabilities | None
) -> list[Answers]:
    answers = []
    frame = moving = 0
    for viewed in batch:
        frame_outputs = by_frame[frame : frame + viewed.n_frames]
        frame += viewed.n_frames
        sequence_outputs = np.empty((0, N_CLASSES), np.float32)
        if viewed.n_frames > 1 and by_sequence is not None:
            sequence_outputs = by_sequence[moving]
            moving += 1
        answers.append(Answers(frame_outputs, sequence_outputs))
    return answers
