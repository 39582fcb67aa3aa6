"""The probe: fixed noise that every network answers before the first photo.

The same bundle, engine and precision give the same bits on the same kind of processor; another instruction set rounds
differently. The probe also warms the networks up, so that no later call pays for a new shape. An answer that is not a
probability ends the run before its first photo.
"""

import hashlib
import math

import numpy as np

from inference.bundle.manifest import Manifest
from inference.bundle.passes import Effort, passes_for
from inference.core.labels import N_CLASSES
from inference.core.sequences import Pixels, Probabilities, Sequence, View, ViewedSequence, ViewKey
from inference.networks.forward import LoadedNetworks, forward

N_FRAMES = 2
"""The fewest frames that networks on whole sequences need, and a number of images that every call accepts."""
LARGEST_GPU_DIFFERENCE = 1e-3
"""Largest difference of a probability between runs on one GPU model. Half precision keeps 10 bits of a factor. Not
measured yet."""


def answers_to_probe(
    manifest: Manifest, networks: LoadedNetworks, effort: Effort = Effort.FULL, *, flip_tta: bool = False
) -> Probabilities:
    """Run every network at every size, or at the one of an effort: float32 (P, C). Raises BundleError like `forward`."""
    views = {key: _noise(key) for key in manifest.view_keys}
    viewed = ViewedSequence(Sequence("probe", ()), N_FRAMES, views, (), 0)
    [outputs] = forward([viewed], passes_for(manifest, effort, flip_tta=flip_tta), networks)
    answers = np.concatenate([outputs.frame_outputs.reshape(-1, N_CLASSES), outputs.sequence_outputs])
    asked: Probabilities = answers[~np.isnan(answers).any(axis=1)]  # `forward` refuses a network's NaN
    return asked


def _noise(key: ViewKey) -> Pixels:
    """Noise for a view, independent of library versions: uint8 (F, H, W, 3), or (H, W, 3)."""
    view, size = key
    shape = (N_FRAMES, *size, 3) if view is View.FRAME else (*size, 3)
    noise = hashlib.shake_128(f"{view} {size}".encode()).digest(math.prod(shape))
    return np.frombuffer(noise, np.uint8).reshape(shape)
