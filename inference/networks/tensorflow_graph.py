"""A frozen SavedModel -> one flat graph for TensorFlow: weights apart, factors folded, convolutions in half precision."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.framework import op_def_registry

from inference.bundle.graph_check import CALLS, CONSTANT
from inference.bundle.manifest import OUTPUT_NAME, SAVED_MODEL_NAME
from inference.core.errors import BundleError
from inference.core.files import os_errors

SIGNATURE = "serving_default"
FEWEST_WEIGHTS = 16
"""Smaller constants stay in the graph: factors, axes and sizes."""
CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2dNative"})
IN_HALF = CONVOLUTIONS | frozenset(["AddV2", "AvgPool", "BiasAdd", "ConcatV2", "MaxPool", "Mul", "Relu", "Relu6"])
"""Operations that may run in half precision. The head of a network, behind the others, stays in float32."""


@dataclass
class FlatNetwork:
    """A graph without function calls.

    Attributes
    ----------
    graph : nodes, each after its inputs; names of tensors have their position (`node:0`)
    inputs : its float32 images by the names of the signature; they are no nodes
    weights : its large constants by the name of their tensor; they are no nodes
    half : the type of half precision, if any
    in_half : the weights in that type
    output : the tensor with the probabilities
    """

    graph: GraphDef
    inputs: dict[str, str]
    weights: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    half: tf.DType | None = None
    in_half: frozenset[str] = frozenset()
    output: str = ""

    def answer(self, images: Mapping[str, tf.Tensor], weights: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The probabilities in the current graph; images and weights by their names.

        Each weight goes through a `Reshape` to its own shape. Otherwise the optimiser does not know the shapes of the
        kernels, and fuses no convolution with its bias and activation.
        """
        given = {self.inputs[name]: one for name, one in images.items()}
        given |= {name: tf.reshape(one, one.shape) for name, one in weights.items()}
        [output] = tf.graph_util.import_graph_def(self.graph, given, return_elements=[self.output], name="")
        return output

    def kind(self, weight: str) -> tf.DType:
        """The type of a weight."""
        return self.half if weight in self.in_half else tf.float32


def read_saved_model(folder: Path) -> MetaGraphDef:
    """The only graph of a SavedModel. Raises BundleError unless it has the signature of a network."""
    path = folder / SAVED_MODEL_NAME
    try:
        with os_errors(BundleError, f"{path}: must be a SavedModel"):
            saved = SavedModel.FromString(path.read_bytes())
    except DecodeError as error:
        raise BundleError(f"{folder}: must be a SavedModel that TensorFlow loads, got: {error}") from error
    if len(saved.meta_graphs) != 1 or SIGNATURE not in saved.meta_graphs[0].signature_def:
        raise BundleError(f"{folder}: must have the signature {SIGNATURE}, once")
    return saved.meta_graphs[0]


def efficient_network(saved: MetaGraphDef, half: tf.DType | None = None) -> FlatNetwork:
    """The network of a SavedModel for fast calls, with its convolutions in half precision if that is given.

    Raises ValueError or LookupError if the file is not that of a frozen network.
    """
    network = _flat(saved)
    _fold_factors(network)
    return _in_half_precision(network, half) if half else network


def _flat(saved: MetaGraphDef) -> FlatNetwork:
    """The network of the signature, with every function call expanded."""
    signature, library = (
        saved.signature_def[SIGNATURE],
        {one.signature.name: one for one in saved.graph_def.library.function},
    )
    inputs = {name: _tensor(one.name) for name, one in signature.inputs.items()}
    network = FlatNetwork(GraphDef(versions=saved.graph_def.versions), inputs)
    places = _expand(saved.graph_def.node, {one: one for one in inputs.values()}, library, "", network)
    network.output = places[_tensor(signature.outputs[OUTPUT_NAME].name)]
    read = {network.output, *(one for node in network.graph.node for one in node.input)}
    network.weights = {name: value for name, value in network.weights.items() if name in read}
    return network


def _expand(
    nodes: Any, inputs: Mapping[str, str], library: Mapping[str, Any], prefix: str, network: FlatNetwork
) -> dict[str, str]:
    """Append some nodes to a network; returns its tensor for each of theirs. `inputs` has those that exist already."""
    by_name, places = {node.name: node for node in nodes}, dict(inputs)
    sources = {name: [one.partition(":")[0] for one in _data(node)] for name, node in by_name.items()}
    for name in TopologicalSorter(sources).static_order():
        node = by_name.get(name)
        if node is None or _tensor(name) in places or node.op == "NoOp":
            continue  # an argument, or a node that only orders others
        operands = [places[_tensor(one, by_name)] for one in _data(node)]
        if node.op in CALLS:
            function = library[node.attr["f"].func.name]
            arguments = zip(function.signature.input_arg, operands, strict=True)
            given = {_tensor(one.name): place for one, place in arguments}
            inner = _expand(function.node_def, given, library, f"{prefix}{name}/", network)
            own = {one.name: one for one in function.node_def}
            for position, one in enumerate(function.signature.output_arg):
                places[f"{name}:{position}"] = inner[_tensor(function.ret[one.name], own)]
        elif node.op == "Identity":
            places[f"{name}:0"] = operands[0]
        else:
            places |= {f"{name}:{position}": f"{prefix}{name}:{position}" for position in range(_n_outputs(node))}
            _append(node, f"{prefix}{name}", operands, network)
    return places


def _append(node: NodeDef, name: str, operands: list[str], network: FlatNetwork) -> None:
    """Append a node, or the weights that it is."""
    value = None
    if node.op == CONSTANT and node.attr["dtype"].type == tf.float32.as_datatype_enum:
        value = tf.make_ndarray(node.attr["value"].tensor)
    elif operands and operands[0] in network.weights and node.op == "Squeeze":
        value = np.squeeze(network.weights[operands[0]], tuple(node.attr["squeeze_dims"].list.i) or None)
    elif operands and operands[0] in network.weights and node.op == "Reshape":
        shapes = [one for one in network.graph.node if f"{one.name}:0" == operands[1] and one.op == CONSTANT]
        value = (
            network.weights[operands[0]].reshape(tf.make_ndarray(shapes[0].attr["value"].tensor)) if shapes else None
        )
    if value is not None and value.size >= FEWEST_WEIGHTS:
        network.weights[f"{name}:0"] = value
        return
    made = network.graph.node.add(op=node.op, name=name, input=operands)
    for key, attribute in node.attr.items():
        made.attr[key].CopyFrom(attribute)


def _data(node: NodeDef) -> list[str]:
    """The inputs of a node except those that only order nodes."""
    return [one for one in node.input if not one.startswith("^")]


def _tensor(name: str, nodes: Mapping[str, NodeDef] | None = None) -> str:
    """`node:0` for `node`; in functions also `node:2` for `node:output:2`, by the outputs of its operation."""
    node, *rest = name.split(":")
    if len(rest) < 2:  # noqa: PLR2004
        return name if rest else f"{name}:0"
    outputs = _output_names((nodes or {})[node])
    return f"{node}:{outputs.index(rest[0]) + int(rest[1])}"


def _output_names(node: NodeDef) -> list[str]:
    return [one.name for one in op_def_registry.get(node.op).output_arg]


def _n_outputs(node: NodeDef) -> int:
    """The number of a node's tensors, or more."""
    listed = [int(node.attr[key].i) for key in ("N", "num", "num_split") if key in node.attr]
    return max([len(_output_names(node)), *listed])


def _fold_factors(network: FlatNetwork) -> None:
    """Multiply the factors behind convolutions, as in the residual blocks of InceptionResNetV2, into kernel and bias."""
    nodes = {f"{node.name}:0": node for node in network.graph.node}
    n_readers = Counter(one for node in network.graph.node for one in node.input)
    replaced: dict[str, str] = {}
    for name, node in nodes.items():
        if node.op != "Mul":
            continue
        bias, factor = (nodes.get(one) for one in node.input)
        convolution = nodes.get(bias.input[0]) if bias and bias.op == "BiasAdd" else None
        if not (bias and convolution and convolution.op in CONVOLUTIONS and factor and factor.op == CONSTANT):
            continue
        value = tf.make_ndarray(factor.attr["value"].tensor)
        weights = (convolution.input[1], bias.input[1])
        alone = (node.input[0], bias.input[0], *weights)
        if value.size != 1 or any(n_readers[one] != 1 for one in alone) or not network.weights.keys() >= {*weights}:
            continue
        for one in weights:
            network.weights[one] = (network.weights[one] * np.float64(value.item())).astype(np.float32)
        replaced[name] = node.input[0]
    graph = GraphDef(versions=network.graph.versions)
    for node in network.graph.node:
        if f"{node.name}:0" not in replaced:
            made = graph.node.add()
            made.CopyFrom(node)
            made.input[:] = [replaced.get(one, one) for one in node.input]
    network.graph, network.output = graph, replaced.get(network.output, network.output)


def _in_half_precision(network: FlatNetwork, half: tf.DType) -> FlatNetwork:
    """The same network with its convolutions, and the operations behind them up to its head, in half precision."""
    low: set[str] = set()
    """Tensors in half precision."""
    for node in network.graph.node:
        if node.op in CONVOLUTIONS or (node.op in IN_HALF and not low.isdisjoint(node.input)):
            low.add(f"{node.name}:0")
    readers: dict[str, set[bool]] = defaultdict(set)
    for node in network.graph.node:
        for one in node.input:
            readers[one].add(f"{node.name}:0" in low)
    in_half = frozenset(name for name in network.weights if readers[name] == {True})
    graph, casts = GraphDef(versions=network.graph.versions), set[str]()

    def in_kind(tensor: str, kind: tf.DType) -> str:
        """The tensor in this type, cast once for all readers."""
        now = half if tensor in low | in_half else tf.float32
        name = f"{tensor.replace(':', '_')}_{kind.name}"
        if now != kind and name not in casts:
            casts.add(name)
            node = graph.node.add(op="Cast", name=name, input=[tensor])
            node.attr["SrcT"].type, node.attr["DstT"].type = now.as_datatype_enum, kind.as_datatype_enum
        return tensor if now == kind else f"{name}:0"

    for node in network.graph.node:
        made = graph.node.add()
        made.CopyFrom(node)
        if f"{node.name}:0" in low:
            n_images = len(node.input) - (node.op == "ConcatV2")  # the last operand is the axis
            made.input[:] = [*(in_kind(one, half) for one in node.input[:n_images]), *node.input[n_images:]]
            made.attr["T"].type = half.as_datatype_enum
        else:
            made.input[:] = [in_kind(one, tf.float32) if one in low else one for one in node.input]
    output = in_kind(network.output, tf.float32) if network.output in low else network.output
    return FlatNetwork(graph, network.inputs, network.weights, half, in_half, output)
