"""One frozen SavedModel -> a callable, with TensorFlow. The only module of `inference` that imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from inference.domain import N_CLASSES, BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from inference.domain import Probabilities

SIGNATURE = "serving_default"
OUTPUT = "probabilities"


class TensorFlowNetwork:
    """A frozen network in memory."""

    def __init__(self, folder: Path, input_names: tuple[str, ...]) -> None:
        """Load a SavedModel. Raises BundleError where it has not the signature of a bundle's network."""
        try:
            loaded = tf.saved_model.load(str(folder))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise BundleError(f"{folder}: must be a SavedModel that TensorFlow loads, got: {error}") from error
        if SIGNATURE not in loaded.signatures:
            raise BundleError(f"{folder}: must have the signature {SIGNATURE}, got {list(loaded.signatures)}")
        self._owner = loaded  # signatures hold their variables and tables weakly
        self._function = loaded.signatures[SIGNATURE]
        self._check_signature(folder, input_names)

    def _check_signature(self, folder: Path, input_names: tuple[str, ...]) -> None:
        inputs = self._function.structured_input_signature[1]
        outputs = self._function.structured_outputs
        if set(inputs) != set(input_names) or OUTPUT not in outputs:
            raise BundleError(
                f"{folder}: must map {sorted(input_names)} to {OUTPUT}, got {sorted(inputs)} to {sorted(outputs)}"
            )
        for name, spec in inputs.items():
            if spec.dtype != tf.float32 or spec.shape.as_list() != [None, None, None, 3]:
                raise BundleError(f"{folder}, input {name}: must be float32 (?, ?, ?, 3), got {spec}")
        if outputs[OUTPUT].shape.as_list()[-1] != N_CLASSES:
            raise BundleError(f"{folder}: must give {N_CLASSES} classes, got {outputs[OUTPUT].shape}")

    def __call__(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Probabilities:
        """Probabilities of a batch: float32 (N, H, W, 3) by input name, RGB, 0-255 -> float32 (N, C)."""
        tensors = {name: tf.constant(images) for name, images in inputs.items()}
        probabilities: Probabilities = self._function(**tensors)[OUTPUT].numpy()
        return probabilities


def describe() -> dict[str, str]:
    """Version and device that the numbers come from."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return {"engine": f"tensorflow {tf.__version__}", "device": "CPU"}
    details = tf.config.experimental.get_device_details(gpus[0])
    return {"engine": f"tensorflow {tf.__version__}", "device": str(details.get("device_name", gpus[0].name))}


def prepare_devices() -> None:
    """Take GPU memory as it is needed instead of all of it. Call once, before the first network."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
