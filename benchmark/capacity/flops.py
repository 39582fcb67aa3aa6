"""Operations of a pass, counted from a network's graph without running it.

A multiply-add counts as two operations. Only convolutions and matrix products are counted; they dominate.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

from inference.bundle.reader import Bundle
from inference.core.errors import BundleError
from inference.core.sequences import ImageSize
from inference.networks.tensorflow_graph import efficient_network, read_saved_model
from models.bundling.untrained import untrained_network
from models.spec.recipe import Recipe

OPERATIONS_OF_A_MULTIPLY_ADD = 2
CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})

Operations = dict[tuple[str, "ImageSize"], int]
"""Operations for one image, by network and size. A network with two branches runs both for one image."""


def bundle_operations(bundle: Bundle) -> Operations:
    """Count every network of a bundle at each of its sizes, from its frozen graph."""
    return {
        (network.name, size.as_image_size()): frozen_operations(bundle.path(network.folder), size.as_image_size())
        for network in bundle.manifest.networks
        for size in network.sizes
    }


def recipe_operations(recipe: Recipe, application: str) -> Operations:
    """Count every network of a recipe at each of its sizes, from the graph that would be frozen.

    Weights do not matter, so networks with the same number of inputs are built once.
    """
    operations: Operations = {}
    by_shape: dict[tuple[int, ImageSize], int] = {}
    networks: dict[int, keras.Model] = {}
    for network in recipe.networks:
        n_inputs = len(network.inputs)
        if n_inputs not in networks:
            networks[n_inputs] = untrained_network(network, application)
        for size in (one.as_image_size() for one in network.sizes):
            if (n_inputs, size) not in by_shape:
                by_shape[n_inputs, size] = keras_operations(networks[n_inputs], size)
            operations[network.name, size] = by_shape[n_inputs, size]
    keras.backend.clear_session()
    return operations


def keras_operations(network: keras.Model, size: ImageSize) -> int:
    """Operations of one image of a size in a Keras network, all inputs of the same size."""
    specs = [tf.TensorSpec([1, *size, 3], tf.float32) for _ in network.inputs]

    def answer(*images: tf.Tensor) -> tf.Tensor:
        return network(list(images) if len(images) > 1 else images[0], training=False)

    graph = tf.function(answer, autograph=False).get_concrete_function(*specs).graph
    return _operations(graph, {one.signature.name: one for one in graph.as_graph_def().library.function})


def frozen_operations(folder: Path, size: ImageSize) -> int:
    """Operations of one image of a size in a frozen SavedModel. Raises BundleError if it lacks the signature."""
    network, graph = efficient_network(read_saved_model(folder)), tf.Graph()
    with graph.as_default():
        images = {name: tf.compat.v1.placeholder(tf.float32, [1, *size, 3]) for name in network.inputs}
        weights = {name: tf.compat.v1.placeholder(tf.float32, one.shape) for name, one in network.weights.items()}
        network.answer(images, weights)
    return _operations(graph, {})


def _operations(graph: tf.Graph, functions: Mapping[str, Any]) -> int:
    """Operations of a graph with known shapes, and of the functions that it calls."""
    total = 0
    for node in graph.get_operations():
        if node.type in CALLS:
            shapes = [one.shape for one in node.inputs]
            called = functions[node.get_attr("f").name]
            with graph.as_default():
                body = function_def_to_graph(called, input_shapes=shapes, include_library_functions=True)
            total += _operations(body, functions)
        elif node.type in MULTIPLY_ADDS:
            total += OPERATIONS_OF_A_MULTIPLY_ADD * MULTIPLY_ADDS[node.type](node)
    return total


def _convolution(node: tf.Operation) -> int:
    """Each output value sums over a kernel with all input channels of its group; with one, if it is depthwise."""
    height, width, n_in, _ = _shape(node.inputs[1])
    return math.prod(_shape(node.outputs[0])) * height * width * (n_in if node.type == "Conv2D" else 1)


def _matrix_product(node: tf.Operation) -> int:
    """Each output value sums over a row of the first matrix."""
    rows, columns = _shape(node.inputs[0])
    return math.prod(_shape(node.outputs[0])) * (rows if node.get_attr("transpose_a") else columns)


MULTIPLY_ADDS = {"Conv2D": _convolution, "DepthwiseConv2dNative": _convolution, "MatMul": _matrix_product}


def _shape(tensor: tf.Tensor) -> list[int]:
    if not tensor.shape.is_fully_defined():
        raise BundleError(
            f"operation {tensor.op.name}: must have a shape that follows from the input's, got {tensor.shape}"
        )
    shape: list[int] = tensor.shape.as_list()
    return shape
