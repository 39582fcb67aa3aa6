"""A Keras network -> a frozen SavedModel that takes unscaled pixels, and the check that both are the same network."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from inference.bundle.graph_check import check_operations
from inference.bundle.manifest import OUTPUT_NAME, SAVED_MODEL_NAME
from inference.core.errors import BundleError, HakunaError, OutputError
from inference.core.labels import EMPTY, N_CLASSES
from inference.core.sequences import MAX_PIXEL, ImageSize, Probabilities
from models.keras_io.architectures import scale
from models.keras_io.batch_norm_folding import fold_batch_norms
from models.keras_io.operations import graph_operations
from models.spec.kinds import EMPTY_CLASSES, Classes
from models.spec.recipe import NetworkRecipe, input_name

CHECK_SEED = 20191216
CHECK_IMAGES = 3
MOST_NUMBERS = 1 << 28
"""Limit for one layer on the check images: 1 GB. InceptionResNetV2 at 384x512 gives 15 million."""


@contextmanager
def tensorflow_output_errors(path: Path) -> Iterator[None]:
    """Turn a failed write of TensorFlow, whose errors are not OSErrors, into an OutputError that names the file."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OutputError(f"{path} must be writable, got: {error.message}") from error


@contextmanager
def network_errors(recipe: NetworkRecipe) -> Iterator[None]:
    """Turn a failed computation into a BundleError that names the network."""
    try:
        yield
    except (HakunaError, OSError):
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise BundleError(
            f"network {recipe.name} ({recipe.file}): must give an answer at the sizes of the recipe, got: {reason}"
        ) from error


def export_frozen(network: keras.Model, recipe: NetworkRecipe, folder: Path) -> tuple[int, ...]:
    """Fold the weights into constants and write the SavedModel. Returns its operations for an image of each size.

    Signature `serving_default`: `images` (or `background`, `mean`) float32 (N, H, W, 3), RGB, 0-255, any N, H and W
    -> `probabilities` float32 (N, 54). The recipe's scaling is part of the graph.

    Raises
    ------
    BundleError
        The network's number of inputs or classes differs from the recipe's, a layer's output would be too large, or an
        operation is not allowed in bundles.
    OutputError
        The folder cannot be written.
    """
    n_classes = len(recipe.classes.names)
    if len(network.inputs) != len(recipe.inputs) or network.output_shape[-1] != n_classes:
        raise BundleError(
            f"network {recipe.name}: must have {len(recipe.inputs)} inputs and {n_classes} classes, "
            f"got {len(network.inputs)} and {network.output_shape[-1]}"
        )
    names = [input_name(one.view) for one in recipe.inputs]
    specs = [tf.TensorSpec([None, None, None, 3], tf.float32, name=name) for name in names]

    def from_pixels(*pixels: tf.Tensor) -> tf.Tensor:
        return _outputs(network, recipe, pixels)

    frozen = _folded(convert_variables_to_constants_v2(tf.function(from_pixels).get_concrete_function(*specs)), specs)
    operations = tuple(_checked_operations(frozen, recipe, size.as_image_size()) for size in recipe.sizes)
    module = tf.Module()

    def serve(**pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT_NAME: frozen(*[pixels[name] for name in names])}

    module.serve = tf.function(serve)
    signature = module.serve.get_concrete_function(**dict(zip(names, specs, strict=True)))
    # A frozen network is not trained further; the gradients of some activations (swish) cannot be written.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with tensorflow_output_errors(folder):
        tf.saved_model.save(module, str(folder), signatures={"serving_default": signature}, options=options)
    # Holds only a random identifier. Without it the same network gives the same files.
    (folder / "fingerprint.pb").unlink(missing_ok=True)
    _remove_saver(folder / SAVED_MODEL_NAME)
    check_operations(folder)
    return operations


def _remove_saver(path: Path) -> None:
    """Remove the nodes that read and write checkpoints: a frozen network does not need them."""
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    [meta_graph] = saved_model.meta_graphs
    saver, graph = meta_graph.saver_def, meta_graph.graph_def
    names = {saver.filename_tensor_name.partition(":")[0], saver.save_tensor_name.partition(":")[0]}
    names.add(saver.restore_op_name)
    functions = {node.attr["f"].func.name for node in graph.node if node.name in names and "f" in node.attr}
    _keep(graph.node, lambda node: node.name not in names)
    _keep(graph.library.function, lambda function: function.signature.name not in functions)
    meta_graph.ClearField("saver_def")
    path.write_bytes(saved_model.SerializeToString(deterministic=True))


def _keep(field: Any, is_kept: Callable[[Any], bool]) -> None:
    """Remove the items of a repeated field that `is_kept` rejects."""
    kept = [one for one in field if is_kept(one)]
    del field[:]
    field.extend(kept)


def _folded(frozen: Any, specs: list[tf.TensorSpec]) -> Any:
    """The same function with its batch normalisations folded."""
    [output] = frozen.outputs
    graph, _ = fold_batch_norms(frozen.graph.as_graph_def(), output.op.name)

    def run(*pixels: tf.Tensor) -> tf.Tensor:
        inputs = {placeholder.name: images for placeholder, images in zip(frozen.inputs, pixels, strict=True)}
        return tf.graph_util.import_graph_def(graph, inputs, return_elements=[output.name], name="")[0]

    return tf.compat.v1.wrap_function(run, specs)


def _checked_operations(frozen: Any, recipe: NetworkRecipe, size: ImageSize) -> int:
    """Operations for an image of a size. Raises BundleError if a layer's output would be too large. Nothing is computed."""
    with tf.Graph().as_default() as sized:
        images = {one.name: tf.compat.v1.placeholder(tf.float32, (CHECK_IMAGES, *size, 3)) for one in frozen.inputs}
        tf.graph_util.import_graph_def(frozen.graph.as_graph_def(), images, name="")
    outputs = [output for operation in sized.get_operations() for output in operation.outputs]
    largest = max(outputs, key=lambda output: output.shape.num_elements() or 0)
    if (n_numbers := largest.shape.num_elements() or 0) > MOST_NUMBERS:
        raise BundleError(
            f"network {recipe.name} ({recipe.file}), layer {largest.op.name} at {size}: must give at most "
            f"{MOST_NUMBERS:,} numbers for {CHECK_IMAGES} images, got {n_numbers:,}"
        )
    return graph_operations(sized) // CHECK_IMAGES


def keras_outputs(network: keras.Model, recipe: NetworkRecipe) -> list[Probabilities]:
    """The outputs of a Keras network for random and photo-like images, by size: float32 (N, C) each."""
    by_size = [list(map(tf.constant, _check_pixels(recipe, size.as_image_size()).values())) for size in recipe.sizes]
    return [_outputs(network, recipe, images).numpy() for images in by_size]


def _outputs(network: keras.Model, recipe: NetworkRecipe, pixels: Sequence[tf.Tensor]) -> tf.Tensor:
    """Pixels 0-255 -> probabilities (N, 54). For a network with only the empty class, the others are 0."""
    scaled = [scale(images, one.scaling) for images, one in zip(pixels, recipe.inputs, strict=True)]
    outputs = network(scaled if len(scaled) > 1 else scaled[0], training=False)
    if recipe.classes is not Classes.EMPTY:
        return outputs
    spread = np.zeros((EMPTY_CLASSES, N_CLASSES), np.float32)
    spread[EMPTY_CLASSES - 1, EMPTY] = 1.0
    return tf.matmul(outputs, spread)


def max_export_error(expected: list[Probabilities], recipe: NetworkRecipe, folder: Path) -> float:
    """Largest difference between the outputs of a frozen network and those of its Keras source."""
    # The frozen network runs as in a prediction.
    from inference.networks.engine_tensorflow import FrozenNetwork

    frozen = FrozenNetwork(folder, tuple(input_name(one.view) for one in recipe.inputs))
    largest = 0.0
    for size, outputs in zip(recipe.sizes, expected, strict=True):
        answers = frozen(_check_pixels(recipe, size.as_image_size()))
        if not ((outputs >= 0) & (outputs <= 1) & (answers >= 0) & (answers <= 1)).all():  # also True for NaN
            raise BundleError(f"network {recipe.name}: must give probabilities, finite and in [0, 1], got {answers}")
        largest = max(largest, float(np.abs(answers - outputs).max()))
    return largest


def _check_pixels(recipe: NetworkRecipe, size: ImageSize) -> dict[str, npt.NDArray[np.float32]]:
    return {
        input_name(one.view): check_images(size, seed=CHECK_SEED + position)
        for position, one in enumerate(recipe.inputs)
    }


def check_images(size: ImageSize, seed: int) -> npt.NDArray[np.float32]:
    """Noise, a smooth scene with a horizon and grain, and the same in the dark: float32 (3, H, W, 3), RGB, 0-255."""
    random = np.random.default_rng(seed)
    noise = random.uniform(0, MAX_PIXEL, (*size, 3))
    rows, columns = np.mgrid[0 : size.height, 0 : size.width] / max(size)
    waves = sum(
        np.sin(2 * np.pi * (frequency * (rows * np.sin(angle) + columns * np.cos(angle)) + phase)) / frequency
        for frequency, angle, phase in random.uniform([1, 0, 0], [24, np.pi, 1], (24, 3))
    )
    sky = np.where(rows < rows.max() / 3, 190.0, 110.0)
    scene = sky[..., None] + 25.0 * waves[..., None] * random.uniform(0.7, 1.3, 3) + random.normal(0, 4, (*size, 3))
    images: npt.NDArray[np.float32] = np.clip([noise, scene, scene / 6], 0, MAX_PIXEL).astype(np.float32)
    return images
