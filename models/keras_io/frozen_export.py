"""A Keras network -> a frozen SavedModel that takes unscaled pixels, and the check that both are the same network."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from inference.bundle.graph_check import check_operations
from inference.bundle.manifest import OUTPUT_NAME, SAVED_MODEL_NAME
from inference.core.errors import BundleError, HakunaError, OutputError
from inference.core.files import output_errors
from inference.core.labels import EMPTY, N_CLASSES
from inference.core.sequences import MAX_PIXEL, ImageSize, Probabilities
from inference.networks.tensorflow_graph import SIGNATURE
from models.keras_io.architectures import scale
from models.keras_io.batch_norm_folding import fold_batch_norms
from models.keras_io.operations import graph_operations
from models.spec.kinds import EMPTY_CLASSES, Classes
from models.spec.recipe import NetworkRecipe, input_name

CHECK_SEED = 20191216
CHECK_IMAGES = 3
READ_VARIABLE = "ReadVariableOp"
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


def traced_network(network: keras.Model, recipe: NetworkRecipe) -> Any:
    """The function from pixels, 0-255, to probabilities; the recipe's scaling is part of it.

    Raises BundleError if the network's number of inputs or classes differs from the recipe's.
    """
    n_classes = len(recipe.classes.names)
    if len(network.inputs) != len(recipe.inputs) or network.output_shape[-1] != n_classes:
        raise BundleError(
            f"network {recipe.name}: must have {len(recipe.inputs)} inputs and {n_classes} classes, "
            f"got {len(network.inputs)} and {network.output_shape[-1]}"
        )
    specs = [tf.TensorSpec([None, None, None, 3], tf.float32, name=input_name(one.view)) for one in recipe.inputs]

    def from_pixels(*pixels: tf.Tensor) -> tf.Tensor:
        return _outputs(network, recipe, pixels)

    return tf.function(from_pixels, autograph=False).get_concrete_function(*specs)


def export_frozen(traced: Any, recipe: NetworkRecipe, folder: Path) -> tuple[int, ...]:
    """Fold the weights of a traced network into constants and write the SavedModel.

    Signature `serving_default`: `images` (or `background`, `mean`) float32 (N, H, W, 3), RGB, 0-255, any N, H and W
    -> `probabilities` float32 (N, 54). Returns its operations for an image of each size.

    Raises
    ------
    BundleError
        A layer's output would be too large, or an operation is not allowed in bundles.
    OutputError
        The folder cannot be written.
    """
    names, [output] = [input_name(one.view) for one in recipe.inputs], traced.outputs
    meta_graph = MetaGraphDef()
    graph = meta_graph.graph_def  # weights are in memory once
    _freeze_into(graph, traced)
    fold_batch_norms(graph, output.op.name)
    bare = _without_weights(graph)
    operations = tuple(_checked_operations(bare, names, recipe, size.as_image_size()) for size in recipe.sizes)
    _sign(meta_graph, names, output.name)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write_saved_model(meta_graph, folder / SAVED_MODEL_NAME)
    del meta_graph, graph
    check_operations(folder)
    return operations


def _freeze_into(graph: GraphDef, traced: Any) -> None:
    """Copy the graph of a function, with the values of its variables as constants."""
    outside = {inside.op.name: one for one, inside in traced.graph.captures}
    variables = {id(one.handle): one for one in traced.variables}
    source = traced.graph.as_graph_def()
    graph.versions.CopyFrom(source.versions)
    for node in source.node:
        captured = outside.get(node.input[0].partition(":")[0] if node.op == READ_VARIABLE else node.name)
        if captured is None:
            graph.node.append(node)
        elif node.op == READ_VARIABLE or captured.dtype != tf.resource:
            value = (variables[id(captured)] if node.op == READ_VARIABLE else captured).numpy()
            constant = graph.node.add(name=node.name, op="Const")
            constant.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))


def _without_weights(graph: GraphDef) -> GraphDef:
    """The same graph with placeholders for its large constants: enough to know all shapes."""
    bare = GraphDef(versions=graph.versions)
    for node in graph.node:
        tensor = node.attr["value"].tensor if node.op == "Const" else None
        if tensor and tensor.dtype == tf.float32.as_datatype_enum:
            placeholder = bare.node.add(name=node.name, op="Placeholder")
            placeholder.attr["dtype"].type = tensor.dtype
            placeholder.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
        else:
            bare.node.append(node)
    return bare


def _sign(meta_graph: MetaGraphDef, inputs: list[str], output: str) -> None:
    """Add the tag and the signature of a network."""
    meta_graph.meta_info_def.tags.append("serve")
    meta_graph.meta_info_def.tensorflow_version = tf.__version__
    signature = meta_graph.signature_def[SIGNATURE]
    signature.method_name = "tensorflow/serving/predict"
    images, classes = tf.TensorShape([None, None, None, 3]), tf.TensorShape([None, N_CLASSES])
    described = [(signature.inputs[name], f"{name}:0", images) for name in inputs]
    for one, tensor, shape in [*described, (signature.outputs[OUTPUT_NAME], output, classes)]:
        one.name, one.dtype = tensor, tf.float32.as_datatype_enum
        one.tensor_shape.CopyFrom(shape.as_proto())


def _write_saved_model(meta_graph: MetaGraphDef, path: Path) -> None:
    """Write a SavedModel node by node: as a whole, the serialiser takes many times its size in memory.

    The same graph gives the same bytes.
    """
    nodes = list(meta_graph.graph_def.node)
    rest = MetaGraphDef()
    rest.meta_info_def.CopyFrom(meta_graph.meta_info_def)
    for name, signature in meta_graph.signature_def.items():
        rest.signature_def[name].CopyFrom(signature)
    versions = GraphDef(versions=meta_graph.graph_def.versions).SerializeToString(deterministic=True)
    tail = rest.SerializeToString(deterministic=True)
    heads = [_field(GraphDef, "node", node.ByteSize()) for node in nodes]
    n_graph = len(versions) + sum(len(head) + node.ByteSize() for head, node in zip(heads, nodes, strict=True))
    graph_head = _field(MetaGraphDef, "graph_def", n_graph)
    with path.open("wb") as file:
        file.write(SavedModel(saved_model_schema_version=1).SerializeToString())
        file.write(_field(SavedModel, "meta_graphs", len(graph_head) + n_graph + len(tail)))
        file.write(graph_head)
        for head, node in zip(heads, nodes, strict=True):
            file.write(head)
            file.write(node.SerializeToString(deterministic=True))
        file.write(versions)
        file.write(tail)


def _field(message: Any, name: str, n_bytes: int) -> bytes:
    """The start of a field of a protocol buffer that holds this many bytes: its number and its length."""
    number, length = message.DESCRIPTOR.fields_by_name[name].number, bytearray()
    while n_bytes >= 1 << 7:
        length.append(n_bytes & 127 | 128)
        n_bytes >>= 7
    return bytes([number << 3 | 2, *length, n_bytes])


def _checked_operations(bare: GraphDef, images: Iterable[str], recipe: NetworkRecipe, size: ImageSize) -> int:
    """Operations for an image of a size. Raises BundleError if a layer's output would be too large. Nothing is computed."""
    with tf.Graph().as_default() as sized:
        given = {name: tf.compat.v1.placeholder(tf.float32, (CHECK_IMAGES, *size, 3)) for name in images}
        tf.graph_util.import_graph_def(bare, given, name="")
    outputs = [output for operation in sized.get_operations() for output in operation.outputs]
    largest = max(outputs, key=lambda output: output.shape.num_elements() or 0)
    if (n_numbers := largest.shape.num_elements() or 0) > MOST_NUMBERS:
        raise BundleError(
            f"network {recipe.name} ({recipe.file}), layer {largest.op.name} at {size}: must give at most "
            f"{MOST_NUMBERS:,} numbers for {CHECK_IMAGES} images, got {n_numbers:,}"
        )
    return graph_operations(sized) // CHECK_IMAGES


def keras_outputs(network: keras.Model, recipe: NetworkRecipe) -> list[Probabilities]:
    """The outputs of a Keras network for random and photo-like images, by size: float32 (N, C) each.

    As `predict` of Keras runs it: layer by layer, all activations would be in memory at once.
    """
    answer = tf.function(_spread, autograph=False, reduce_retracing=True)
    outputs = []
    for size in recipe.sizes:
        pixels = _check_pixels(recipe, size.as_image_size()).values()
        scaled = [scale(tf.constant(one), put.scaling) for one, put in zip(pixels, recipe.inputs, strict=True)]
        outputs.append(answer(network, recipe, scaled).numpy())
    return outputs


def _outputs(network: keras.Model, recipe: NetworkRecipe, pixels: Sequence[tf.Tensor]) -> tf.Tensor:
    """Pixels 0-255 -> probabilities (N, 54)."""
    return _spread(network, recipe, [scale(one, put.scaling) for one, put in zip(pixels, recipe.inputs, strict=True)])


def _spread(network: keras.Model, recipe: NetworkRecipe, scaled: list[tf.Tensor]) -> tf.Tensor:
    """Scaled images -> probabilities (N, 54). For a network with only the empty class, the others are 0."""
    outputs = network(scaled if len(scaled) > 1 else scaled[0], training=False)
    if recipe.classes is not Classes.EMPTY:
        return outputs
    spread = np.zeros((EMPTY_CLASSES, N_CLASSES), np.float32)
    spread[EMPTY_CLASSES - 1, EMPTY] = 1.0
    return tf.matmul(outputs, spread)


def max_export_error(expected: list[Probabilities], recipe: NetworkRecipe, path: Path) -> float:
    """Largest difference between the outputs of a frozen network and those of its Keras source.

    `path` is the folder of a SavedModel, or an XML file of OpenVINO: each runs as in a prediction.
    """
    if path.suffix:
        from inference.networks.engine_openvino import FrozenNetwork
    else:
        from inference.networks.engine_tensorflow import FrozenNetwork  # type: ignore[assignment]

    frozen = FrozenNetwork(path, tuple(input_name(one.view) for one in recipe.inputs))
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
