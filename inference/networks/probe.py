"""The probe: fixed noise that every network answers before the first photo.

The same bundle, engine and precision give the same bits on the same kind of processor; another instruction set rounds
differently. The probe runs at half size, in a quarter of the time. An answer that is not a probability ends the run before
its first photo.
"""

import hashlib
import math

import numpy as np

from inference.bundle.manifest import Manifest, Network, Size
from inference.bundle.passes import Effort, passes_for
from inference.core.errors import InterruptedRunError, OutOfMemoryError
from inference.core.labels import N_CLASSES
from inference.core.sequences import Pixels, Probabilities, Sequence, View, ViewedSequence, ViewKey
from inference.networks.forward import LoadedNetworks, forward

N_FRAMES = 2
"""The fewest frames that networks on whole sequences need, and a number of images that every call accepts."""
LARGEST_GPU_DIFFERENCE = 1e-3
"""Largest difference of a probability between runs on one GPU model. Half precision keeps 10 bits of a factor. Not
measured yet."""


def answers_to_probe(manifest: Manifest, networks: LoadedNetworks) -> Probabilities:
    """Run every network at half of its smallest size: float32 (P, C). Raises BundleError like `forward`.

    A network that cannot run at that size runs at the smallest one.
    """

    def answers_of(network: Network) -> Probabilities:
        smallest = min(network.sizes, key=lambda one: one.height * one.width)
        half = Size(height=-(-smallest.height // 2), width=-(-smallest.width // 2))
        try:
            return _answers(manifest, network, half, networks)
        except (InterruptedRunError, OutOfMemoryError):
            raise
        except Exception:  # noqa: BLE001  # whatever the engine raises
            return _answers(manifest, network, smallest, networks)

    return np.concatenate([answers_of(network) for network in manifest.networks])


def run_at_every_size(manifest: Manifest, networks: LoadedNetworks, *, flip_tta: bool = False) -> None:
    """Run every network at every size, so that no later call is the first. Raises BundleError like `forward`."""
    for network in manifest.networks:
        for size in network.sizes:
            _answers(manifest, network, size, networks, flip_tta=flip_tta)


def _answers(
    manifest: Manifest, network: Network, size: Size, networks: LoadedNetworks, *, flip_tta: bool = False
) -> Probabilities:
    """The answers of a network at a size to noise: float32 (P, C)."""
    alone = manifest.model_copy(update={"networks": (network.model_copy(update={"sizes": (size,)}),)})
    views = {key: _noise(key) for key in alone.view_keys}
    viewed = ViewedSequence(Sequence("probe", ()), N_FRAMES, views, (), 0)
    [outputs] = forward([viewed], passes_for(alone, Effort.FULL, flip_tta=flip_tta), networks)
    return np.concatenate([outputs.frame_outputs.reshape(-1, N_CLASSES), outputs.sequence_outputs])


def _noise(key: ViewKey) -> Pixels:
    """Noise for a view, independent of library versions: uint8 (F, H, W, 3), or (H, W, 3)."""
    view, size = key
    shape = (N_FRAMES, *size, 3) if view is View.FRAME else (*size, 3)
    noise = hashlib.shake_128(f"{view} {size}".encode()).digest(math.prod(shape))
    return np.frombuffer(noise, np.uint8).reshape(shape)
