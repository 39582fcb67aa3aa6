"""One frozen SavedModel -> a callable, with TensorFlow. The only module of `inference` that imports it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
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

from inference.bundle.graph_check import CALLS, CONSTANT, check_operations, check_signature
from inference.bundle.manifest import OUTPUT_NAME, SAVED_MODEL_NAME
from inference.core.errors import BundleError, OutOfMemoryError
from inference.core.files import os_errors
from inference.core.labels import N_CLASSES
from inference.core.sequences import Probabilities

VERSION = str(tf.__version__)
SIGNATURE = "serving_default"
FEWEST_WEIGHTS = 16
"""Smaller constants stay in the graph: factors, axes and sizes."""
CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2dNative"})
IN_HALF = CONVOLUTIONS | frozenset("AddV2 AvgPool BiasAdd ConcatV2 Identity MaxPool Mul Relu Relu6".split())
"""Operations that may run in half precision. The head of a network, behind the others, stays in float32."""
WITH_TENSOR_CORES = (7, 0)
"""Compute capability of the first GPUs with tensor cores (Volta)."""
Array = npt.NDArray[np.float32]
Images = Array | npt.NDArray[np.uint8]


class FrozenNetwork:
    """A frozen network in memory.

    Its weights are tensors that all its functions share: as constants of a graph, TensorFlow keeps many copies of them.
    Each goes through a `Reshape` to its own shape. Otherwise the optimiser does not know the shapes of the kernels, and
    fuses no convolution with its bias and activation.
    """

    def __init__(self, folder: Path, input_names: tuple[str, ...], *, mixed: bool = False) -> None:
        """Load a SavedModel. Raises BundleError if its operations or its signature are not those of a bundle's network.

        `mixed` multiplies in float16 on a GPU and in bfloat16 on a CPU; otherwise everything is float32.
        """
        check_operations(folder)
        self._folder = folder
        saved = _read(folder)
        self._inputs = _checked_inputs(folder, saved, input_names)
        try:
            network = _flat(saved)
        except (ValueError, LookupError) as error:
            raise self._unusable(error) from error
        del saved  # as large as the weights
        _fold_factors(network)
        if mixed:
            network = _lowered(network, tf.float16 if _gpus() else tf.bfloat16)
        self._graph, self._output = network.graph, network.output
        self._weights = {name: tf.constant(value, network.kinds.get(name)) for name, value in network.weights.items()}
        self._function = cache(self._traced)

    def __call__(self, inputs: Mapping[str, Images], /) -> Probabilities:
        """Probabilities of a batch: uint8 or float32 (N, H, W, 3) by input name, RGB, 0-255 -> float32 (N, C)."""
        return self._run(inputs, with_mirror_images=False)

    def with_mirror_images(self, inputs: Mapping[str, Images], /) -> Probabilities:
        """The same followed by the mirror images, which are made on the device: float32 (2 N, C)."""
        return self._run(inputs, with_mirror_images=True)

    def _run(self, inputs: Mapping[str, Images], *, with_mirror_images: bool) -> Probabilities:
        tensors = [tf.constant(inputs[name]) for name in self._inputs]
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

    def _traced(self, kinds: tuple[tf.DType, ...], with_mirror_images: bool) -> Callable[..., tf.Tensor]:  # noqa: FBT001  # a key
        """The function for inputs of these types, of any size."""

        def run(*images: tf.Tensor) -> tf.Tensor:
            pixels = [tf.cast(one, tf.float32) for one in images]
            if with_mirror_images:
                pixels = [tf.concat([one, tf.reverse(one, [2])], 0) for one in pixels]
            given = dict(zip(self._inputs.values(), pixels, strict=True))
            given |= {name: tf.reshape(weight, weight.shape) for name, weight in self._weights.items()}
            [output] = tf.graph_util.import_graph_def(self._graph, given, return_elements=[self._output], name="")
            return output

        specs = [tf.TensorSpec([None, None, None, 3], kind) for kind in kinds]
        try:
            function: Callable[..., tf.Tensor] = tf.function(run).get_concrete_function(*specs)
        except (ValueError, tf.errors.OpError) as error:
            raise self._unusable(error) from error
        return function

    def _unusable(self, error: Exception) -> BundleError:
        return BundleError(f"{self._folder}: must be a SavedModel that TensorFlow loads, got: {error}")


def _read(folder: Path) -> MetaGraphDef:
    path = folder / SAVED_MODEL_NAME
    try:
        with os_errors(BundleError, f"{path}: must be a SavedModel"):
            saved = SavedModel.FromString(path.read_bytes())
    except DecodeError as error:
        raise BundleError(f"{folder}: must be a SavedModel that TensorFlow loads, got: {error}") from error
    if len(saved.meta_graphs) != 1 or SIGNATURE not in saved.meta_graphs[0].signature_def:
        raise BundleError(f"{folder}: must have the signature {SIGNATURE}, once")
    return saved.meta_graphs[0]


def _checked_inputs(folder: Path, saved: MetaGraphDef, input_names: tuple[str, ...]) -> dict[str, str]:
    """The placeholder of each input of the signature. Raises BundleError unless it is that of a bundle's network."""
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
    return {name: _tensor(signature.inputs[name].name) for name in input_names}


@dataclass
class _Network:
    """A graph without function calls.

    Attributes
    ----------
    graph : nodes, each after its inputs; names of tensors have their position (`node:0`)
    weights : its large constants by the name of their tensor; they are no nodes
    kinds : the types of those that are not float32
    output : the tensor with the probabilities
    """

    graph: GraphDef
    weights: dict[str, Array] = field(default_factory=dict)
    kinds: dict[str, tf.DType] = field(default_factory=dict)
    output: str = ""


def _flat(saved: MetaGraphDef) -> _Network:
    """The network of the signature, with every function call expanded. Raises ValueError or LookupError for another file."""
    network, signature = _Network(GraphDef(versions=saved.graph_def.versions)), saved.signature_def[SIGNATURE]
    library = {one.signature.name: one for one in saved.graph_def.library.function}
    inputs = {_tensor(one.name): _tensor(one.name) for one in signature.inputs.values()}
    places = _expand(saved.graph_def.node, inputs, library, "", network)
    network.output = places[_tensor(signature.outputs[OUTPUT_NAME].name)]
    return network


def _expand(
    nodes: Any, inputs: Mapping[str, str], library: Mapping[str, Any], prefix: str, network: _Network
) -> dict[str, str]:
    """Append some nodes to a network; returns its tensor for each of theirs. `inputs` has those that exist already."""
    by_name, places = {node.name: node for node in nodes}, dict(inputs)
    sources = {name: [one.partition(":")[0] for one in _data(node)] for name, node in by_name.items()}
    for name in TopologicalSorter(sources).static_order():
        node = by_name.get(name)
        if node is None or _tensor(name) in places or node.op == "NoOp":
            continue  # an argument, or what only orders others
        operands = [places[_tensor(one, by_name)] for one in _data(node)]
        if node.op in CALLS:
            function = library[node.attr["f"].func.name]
            given = {_tensor(one.name): place for one, place in zip(function.signature.input_arg, operands, strict=True)}
            inner = _expand(function.node_def, given, library, f"{prefix}{name}/", network)
            own = {one.name: one for one in function.node_def}
            for position, one in enumerate(function.signature.output_arg):
                places[f"{name}:{position}"] = inner[_tensor(function.ret[one.name], own)]
        else:
            places |= {f"{name}:{position}": f"{prefix}{name}:{position}" for position in range(_n_outputs(node))}
            _append(node, f"{prefix}{name}", operands, network)
    return places


def _append(node: NodeDef, name: str, operands: list[str], network: _Network) -> None:
    if node.op == CONSTANT and node.attr["dtype"].type == tf.float32.as_datatype_enum:
        value = tf.make_ndarray(node.attr["value"].tensor)
        if value.size >= FEWEST_WEIGHTS:
            network.weights[f"{name}:0"] = value
            return
    made = network.graph.node.add(op=node.op, name=name, input=operands)
    for key, value in node.attr.items():
        made.attr[key].CopyFrom(value)


def _data(node: NodeDef) -> list[str]:
    """The inputs of a node except those that only order nodes."""
    return [one for one in node.input if not one.startswith("^")]


def _tensor(name: str, nodes: Mapping[str, NodeDef] | None = None) -> str:
    """`node:0` for `node`; in functions also `node:2` for `node:output:2`, by the outputs of its operation."""
    node, *rest = name.split(":")
    if len(rest) < 2:  # noqa: PLR2004
        return name if rest else f"{name}:0"
    outputs = [one.name for one in op_def_registry.get((nodes or {})[node].op).output_arg]
    return f"{node}:{outputs.index(rest[0]) + int(rest[1])}"


def _n_outputs(node: NodeDef) -> int:
    """The number of a node's tensors, or more."""
    listed = [node.attr[key].i for key in ("N", "num", "num_split") if key in node.attr]
    return max([len(op_def_registry.get(node.op).output_arg), *listed])


def _fold_factors(network: _Network) -> None:
    """Multiply the factors behind convolutions, as in the residual blocks of InceptionResNetV2, into kernel and bias."""
    nodes = {f"{node.name}:0": node for node in network.graph.node}
    n_readers = Counter(one for node in network.graph.node for one in node.input)
    replaced: dict[str, str] = {}
    for name, node in nodes.items():
        bias = nodes.get(node.input[0]) if node.op == "Mul" else None
        factor = nodes.get(node.input[1]) if node.op == "Mul" else None
        kernel_of = nodes.get(bias.input[0]) if bias is not None and bias.op == "BiasAdd" else None
        if factor is None or factor.op != CONSTANT or kernel_of is None or kernel_of.op not in CONVOLUTIONS:
            continue
        value = tf.make_ndarray(factor.attr["value"].tensor)
        weights = (kernel_of.input[1], bias.input[1])
        alone = (node.input[0], bias.input[0], *weights)
        if value.size != 1 or any(n_readers[one] != 1 for one in alone) or not network.weights.keys() >= {*weights}:
            continue
        for one in weights:
            network.weights[one] = (network.weights[one] * np.float64(value.item())).astype(np.float32)
        replaced[name] = node.input[0]
    _without(network, replaced)


def _without(network: _Network, replaced: Mapping[str, str]) -> None:
    """Remove nodes with one output; their readers read another tensor."""
    graph = GraphDef(versions=network.graph.versions)
    for node in network.graph.node:
        if f"{node.name}:0" not in replaced:
            made = graph.node.add()
            made.CopyFrom(node)
            made.input[:] = [replaced.get(one, one) for one in node.input]
    network.graph, network.output = graph, replaced.get(network.output, network.output)


def _lowered(network: _Network, half: tf.DType) -> _Network:
    """The same network with its convolutions, and what follows them up to its head, in half precision."""
    low: set[str] = set()
    """Tensors in half precision."""
    for node in network.graph.node:
        if node.op in CONVOLUTIONS or (node.op in IN_HALF and not low.isdisjoint(node.input)):
            low.add(f"{node.name}:0")
    readers: dict[str, set[bool]] = defaultdict(set)
    for node in network.graph.node:
        for one in node.input:
            readers[one].add(f"{node.name}:0" in low)
    kinds = {name: half for name in network.weights if readers[name] == {True}}
    graph, casts = GraphDef(versions=network.graph.versions), set[str]()

    def in_kind(tensor: str, kind: tf.DType) -> str:
        """The tensor in this type, cast once for all readers."""
        now = half if tensor in low or tensor in kinds else tf.float32
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
    return _Network(graph, network.weights, kinds, in_kind(network.output, tf.float32) if network.output in low else network.output)


def prepare_devices() -> None:
    """Allocate GPU memory on demand instead of all at once, and multiply with all bits of a float32. Call once, first."""
    tf.config.experimental.enable_tensor_float_32_execution(False)
    for gpu in _gpus():
        tf.config.experimental.set_memory_growth(gpu, True)


def device() -> str:
    """Name of the GPU that runs the networks, or CPU."""
    gpus = _gpus()
    return str(_details(gpus[0]).get("device_name", gpus[0].name)) if gpus else "CPU"


def supports_mixed() -> bool:
    """Whether the GPU multiplies in float16 faster than in float32, or the processor in bfloat16."""
    if gpus := _gpus():
        return tuple(_details(gpus[0]).get("compute_capability", (0, 0))) >= WITH_TENSOR_CORES
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _details(gpu: tf.config.PhysicalDevice) -> dict[str, Any]:
    details: dict[str, Any] = tf.config.experimental.get_device_details(gpu)
    return details


def _gpus() -> list[tf.config.PhysicalDevice]:
    return list(tf.config.list_physical_devices("GPU"))
