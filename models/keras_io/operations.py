"""Operations of a network, counted from its graph without running it.

A multiply-add counts as two operations. Only convolutions and matrix products are counted; they dominate.
"""

import math

import tensorflow as tf

from inference.core.errors import BundleError

OPERATIONS_OF_A_MULTIPLY_ADD = 2


def graph_operations(graph: tf.Graph) -> int:
    """Operations of a graph whose shapes are known. Raises BundleError if one does not follow from the inputs'."""
    counted = ((MULTIPLY_ADDS[node.type], node) for node in graph.get_operations() if node.type in MULTIPLY_ADDS)
    return OPERATIONS_OF_A_MULTIPLY_ADD * sum(count(node) for count, node in counted)


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
