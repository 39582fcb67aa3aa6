"""One frozen SavedModel -> a callable, with TensorFlow."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from inference.bundle.graph_check import check_operations, check_signature
from inference.bundle.manifest import OUTPUT_NAME
from inference.core.choices import Precision
from inference.core.errors import BundleError, OutOfMemoryError
from inference.core.labels import N_CLASSES
from inference.core.sequences import Probabilities
from inference.networks.engine import has_fast_bfloat16
from inference.networks.tensorflow_graph import SIGNATURE, efficient_network, read_saved_model

VERSION = str(tf.__version__)
WITH_TENSOR_CORES = (7, 0)
"""Compute capability of the first GPUs with tensor cores (Volta)."""
Images = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


class FrozenNetwork:
    """A frozen network in memory.

    Its weights are tensors that all its functions share: as constants of a graph, TensorFlow keeps many copies of them.
    """

    def __init__(self, path: Path, input_names: tuple[str, ...], precision: Precision = Precision.FLOAT32) -> None:
        """Load a SavedModel. Raises BundleError if its operations or its signature are not those of a bundle's network.

        Mixed precision multiplies in float16 on a GPU and in bfloat16 on a CPU.
        """
        check_operations(path)
        self._folder = path
        saved = read_saved_model(path)
        _check_signature(path, saved, input_names)
        try:
            half = (tf.float16 if _gpus() else tf.bfloat16) if precision is Precision.MIXED else None
            self._network = efficient_network(saved, half)
        except (ValueError, LookupError) as error:
            raise self._unusable(error) from error
        del saved  # as large as the weights
        arrays, self._network.weights = self._network.weights, {}
        self._weights = {name: tf.constant(value, self._network.kind(name)) for name, value in arrays.items()}
        self._function = cache(self._traced)

    def __call__(self, inputs: Mapping[str, Images], /) -> Probabilities:
        """Probabilities of a batch: uint8 or float32 (N, H, W, 3) by input name, RGB, 0-255 -> float32 (N, C)."""
        return self._run(inputs, with_mirror_images=False)

    def with_mirror_images(self, inputs: Mapping[str, Images], /) -> Probabilities:
        """The same followed by the mirror images, which are made on the device: float32 (2 N, C)."""
        return self._run(inputs, with_mirror_images=True)

    def _run(self, inputs: Mapping[str, Images], *, with_mirror_images: bool) -> Probabilities:
        tensors = [tf.constant(inputs[name]) for name in self._network.inputs]
        try:
            run = self._function(tuple(one.dtype for one in tensors), with_mirror_images)
            probabilities: Probabilities = run(*tensors).numpy()
        except tf.errors.ResourceExhaustedError as error:
            raise OutOfMemoryError(str(error)) from error
        except (tf.errors.InternalError, tf.errors.UnknownError, tf.errors.NotFoundError) as error:
            if not _gpus():
                raise
            raise OutOfMemoryError(str(error)) from error  # cuDNN reports a lack of memory in each of these ways
        return probabilities

    def _traced(self, kinds: tuple[tf.DType, ...], with_mirror_images: bool) -> Callable[..., tf.Tensor]:  # a key
        """The function for inputs of these types, of any size."""

        def run(*images: tf.Tensor) -> tf.Tensor:
            pixels = [tf.cast(one, tf.float32) for one in images]
            if with_mirror_images:
                pixels = [tf.concat([one, tf.reverse(one, [2])], 0) for one in pixels]
            return self._network.answer(dict(zip(self._network.inputs, pixels, strict=True)), self._weights)

        specs = [tf.TensorSpec([None, None, None, 3], kind) for kind in kinds]
        try:
            function: Callable[..., tf.Tensor] = tf.function(run).get_concrete_function(*specs)
        except (ValueError, tf.errors.OpError) as error:
            raise self._unusable(error) from error
        return function

    def _unusable(self, error: Exception) -> BundleError:
        return BundleError(f"{self._folder}: must be a SavedModel that TensorFlow loads, got: {error}")


def _check_signature(folder: Path, saved: MetaGraphDef, input_names: tuple[str, ...]) -> None:
    """Raise BundleError unless the signature is that of a bundle's network."""
    signature = saved.signature_def[SIGNATURE]
    check_signature(folder, input_names, signature.inputs, signature.outputs)
    for name, one in signature.inputs.items():
        shape = tf.TensorShape(one.tensor_shape)
        if one.dtype != tf.float32.as_datatype_enum or shape.rank is None or shape.as_list() != [None, None, None, 3]:
            kind = tf.dtypes.as_dtype(one.dtype).name
            raise BundleError(f"{folder}, input {name}: must be float32 (?, ?, ?, 3), got {kind} {shape}")
    shape = tf.TensorShape(signature.outputs[OUTPUT_NAME].tensor_shape)
    if not shape.rank or shape[-1] != N_CLASSES:
        raise BundleError(f"{folder}: must give {N_CLASSES} classes, got {shape}")


def prepare_devices(*, use_gpu: bool = True) -> list[str]:
    """Make products of float32 exact (TensorFloat-32 is off), and GPU memory allocated on demand. Call once, first.

    Returns the names of the GPUs; none without `use_gpu`.
    """
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if not use_gpu and tf.config.list_physical_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
    allocate_on_demand()
    return [_name(gpu) for gpu in _gpus()]


def allocate_on_demand() -> None:
    """Allocate GPU memory on demand instead of all at once: enough for a training, which may use TensorFloat-32."""
    for gpu in _gpus():
        tf.config.experimental.set_memory_growth(gpu, True)


def device() -> str:
    """Name of the GPU that runs the networks, or CPU."""
    gpus = _gpus()
    return _name(gpus[0]) if gpus else "CPU"


def lower_precisions() -> tuple[Precision, ...]:
    """Mixed precision, if the GPU multiplies in float16 faster than in float32, or the processor in bfloat16."""
    if gpus := _gpus():
        is_faster = tuple(_details(gpus[0]).get("compute_capability", (0, 0))) >= WITH_TENSOR_CORES
    else:
        is_faster = has_fast_bfloat16()
    return (Precision.MIXED,) if is_faster else ()


def _name(gpu: tf.config.PhysicalDevice) -> str:
    return str(_details(gpu).get("device_name", gpu.name))


def _details(gpu: tf.config.PhysicalDevice) -> dict[str, Any]:
    details: dict[str, Any] = tf.config.experimental.get_device_details(gpu)
    return details


def _gpus() -> list[tf.config.PhysicalDevice]:
    return list(tf.config.get_visible_devices("GPU"))
