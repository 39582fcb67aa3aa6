"""Folds the batch normalisations of a frozen graph into the preceding convolutions, in float64.

Keras writes a batch normalisation as `x * s + (offset - mean * s)` with `s = scale / sqrt(variance + epsilon)`. Engines
Engines that fold this themselves do so in float32; the others pass over every activation twice more.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

Array = npt.NDArray[np.float64]

CONVOLUTION, SHIFT, ADDITION, PRODUCT = "Conv2D", "BiasAdd", "AddV2", "Mul"
ARITHMETIC: dict[str, Callable[..., Array]] = {
    "Identity": lambda value: value,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Rsqrt": lambda value: 1 / np.sqrt(value),
    "Squeeze": np.squeeze,
    "Reshape": lambda value, shape: value.reshape(shape.astype(int)),
}
"""Operations in the constants of a batch normalisation."""


def fold_batch_norms(graph: GraphDef, output: str) -> int:
    """Fold every batch normalisation that directly follows a convolution that no other node reads.

    Parameters
    ----------
    graph : frozen: its weights are constants, its images NHWC. It is changed in place, as it may be large, and keeps only
        the nodes that the output needs
    output : name of the output node

    Returns
    -------
    The number of batch normalisations folded: each has become the bias of its convolution.
    """
    reading = _Reading(graph)
    n_folded = 0
    for addition in [node for node in graph.node if node.op == ADDITION]:
        found = reading.normalised_convolution(addition)
        if found is None:
            continue
        convolution, kernel, bias = found
        convolution.input[1] = _add_constant(graph, f"{addition.name}/folded_kernel", kernel)
        _become_bias(addition, convolution.name, _add_constant(graph, f"{addition.name}/folded_bias", bias))
        n_folded += 1
    _keep_needed(graph, output)
    return n_folded


def _keep_needed(graph: GraphDef, output: str) -> None:
    """Remove the nodes that an output is not computed from. A frozen graph has no other dependencies."""
    nodes = {node.name: node for node in graph.node}
    needed, waiting = set[str](), [output]
    while waiting:
        node = nodes[waiting.pop().partition(":")[0]]
        if node.name not in needed:
            needed.add(node.name)
            operands = [name for name in node.input if not name.startswith("^")]
            del node.input[:]
            node.input.extend(operands)
            waiting.extend(operands)
    for position in reversed(range(len(graph.node))):
        if graph.node[position].name not in needed:
            del graph.node[position]


class _Reading:
    """Lookups in a graph."""

    def __init__(self, graph: GraphDef) -> None:
        self._nodes = {node.name: node for node in graph.node}
        self._n_readers = Counter(name for node in graph.node for name in node.input)

    def normalised_convolution(self, addition: NodeDef) -> tuple[NodeDef, Array, Array] | None:
        """The convolution whose normalisation ends in this addition, with the folded kernel and bias."""
        product, shift = self._split(addition)
        if product is None or shift is None or product.op != PRODUCT:
            return None
        convolution, factor = self._split(product)
        if convolution is None or factor is None:
            return None
        bias: Array | None = np.zeros(factor.size)
        if convolution.op in (SHIFT, ADDITION):
            convolution, bias = self._split(convolution)
        if convolution is None or bias is None or convolution.op != CONVOLUTION:
            return None
        kernel = self._value(convolution.input[1])
        n_channels = kernel.shape[-1] if kernel is not None else 0
        if kernel is None or any(value.size != n_channels for value in (factor, shift, bias)):
            return None
        return convolution, kernel * factor.ravel(), bias.ravel() * factor.ravel() + shift.ravel()

    def _split(self, node: NodeDef) -> tuple[NodeDef | None, Array | None]:
        """The computed operand, if no other node reads it, and the constant operand."""
        first, second = node.input[:2]
        value = self._value(second)
        if value is None:
            first, value = second, self._value(first)
        operand = self._nodes.get(first)
        return (operand if self._n_readers[first] == 1 else None), value

    def _value(self, name: str) -> Array | None:
        """A constant, or a value computed from constants; None if it depends on the images."""
        node = self._nodes.get(name)
        if node is None:
            return None
        if node.op == "Const":
            value: Array = tf.make_ndarray(node.attr["value"].tensor).astype(np.float64)
            return value
        if node.op not in ARITHMETIC:
            return None
        operands = [self._value(one) for one in node.input if not one.startswith("^")]
        known = [operand for operand in operands if operand is not None]
        return ARITHMETIC[node.op](*known) if len(known) == len(operands) else None


def _add_constant(graph: GraphDef, name: str, value: Array) -> str:
    """Add a float32 constant; returns its name."""
    node = graph.node.add(name=name, op="Const")
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.astype(np.float32)))
    return name


def _become_bias(node: NodeDef, images: str, bias: str) -> None:
    """Turn a node into the addition of a bias, under the same name."""
    name = node.name
    node.Clear()
    node.name, node.op = name, SHIFT
    node.input.extend([images, bias])
    node.attr["T"].type = tf.float32.as_datatype_enum
