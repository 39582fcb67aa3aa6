"""What a frozen network is made of: arithmetic on images, nothing that reads, writes, prints or calls Python.

A SavedModel is a program. Its operations are read here without TensorFlow, before any engine sees the file.
"""

from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from inference.bundle.manifest import OUTPUT_NAME, SAVED_MODEL_NAME
from inference.bundle.reader import Bundle
from inference.core.errors import BundleError
from inference.core.files import os_errors

MESSAGES: dict[str, tuple[tuple[str, int, str | None], ...]] = {
    "SavedModel": (("meta_graphs", 2, "MetaGraph"),),
    "MetaGraph": (("graphs", 2, "Graph"),),
    "Graph": (("nodes", 1, "Node"), ("libraries", 2, "Library")),
    "Library": (("functions", 1, "Function"),),
    "Function": (("signatures", 1, "Signature"), ("nodes", 3, "Node")),
    "Signature": (("names", 1, None),),
    "Node": (("names", 1, None), ("operations", 2, None)),
}
"""The part of TensorFlow's saved_model.proto that names operations: field, number, type; None is bytes. All of them are
read as repeated: a field that is written twice is seen twice, whatever another reader makes of it."""

OPERATIONS = {
    "frame of a frozen network": "Const Placeholder NoOp Identity IdentityN StopGradient PartitionedCall "
    "StatefulPartitionedCall",
    "layers": "AvgPool BiasAdd Conv2D DepthwiseConv2dNative FusedBatchNorm FusedBatchNormV3 MatMul MaxPool",
    "activations": "Elu Erf Erfc LeakyRelu Relu Relu6 Selu Sigmoid Softmax Softplus Softsign Tanh",
    "arithmetic": "Abs Add AddN AddV2 Exp Log Log1p Maximum Minimum Mul Neg Pow RealDiv Reciprocal Rsqrt Sqrt Square "
    "SquaredDifference Sub",
    "over axes": "Max Mean Min Prod Sum",
    "shapes": "BroadcastTo Cast ConcatV2 ExpandDims Fill GatherV2 MirrorPad Pack Pad PadV2 Range Reshape Shape Slice Split SplitV "
    "Squeeze StridedSlice Tile Transpose Unpack",
    "comparisons": "Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual SelectV2",
}
"""What networks like those of keras.applications need to answer: pure functions of their inputs, without loops."""
ALLOWED_OPERATIONS = frozenset(" ".join(OPERATIONS.values()).split())


def check_networks(bundle: Bundle) -> None:
    """Check the operations of every network of a bundle. Raises BundleError as `check_operations` does."""
    for network in bundle.manifest.networks:
        check_operations(bundle.path(network.folder))


def check_operations(folder: Path) -> None:
    """Refuse a SavedModel that has an operation outside `ALLOWED_OPERATIONS`, in any graph or function.

    Raises
    ------
    BundleError
        An operation is not allowed, or the file cannot be read; the message names file, node and operation.
    """
    path = folder / SAVED_MODEL_NAME
    try:
        with os_errors(BundleError, f"{path}: must be a SavedModel"):
            saved_model = _saved_model_type().FromString(path.read_bytes())
    except message.DecodeError as error:
        raise BundleError(f"{path}: must be a SavedModel, got: {error}") from error
    n_nodes = 0
    for place, node in _nodes(saved_model):
        n_nodes += 1
        for operation in node.operations:
            if operation.decode(errors="replace") not in ALLOWED_OPERATIONS:
                raise BundleError(
                    f"{path}, {place}, node {_text(node.names)}: must be an operation of a plain network, "
                    f"got {_text([operation])}"
                )
    if not n_nodes:
        raise BundleError(f"{path}: must be a SavedModel, got one without operations")


def _nodes(saved_model: Any) -> Iterator[tuple[str, Any]]:
    """Every node of every graph and function, and which that is."""
    for meta_graph in saved_model.meta_graphs:
        for graph in meta_graph.graphs:
            yield from (("main graph", node) for node in graph.nodes)
            for library in graph.libraries:
                for function in library.functions:
                    name = _text([one for signature in function.signatures for one in signature.names])
                    yield from ((f"function {name}", node) for node in function.nodes)


def _text(names: list[bytes]) -> str:
    """Names as they are written in a message: printable, in quotes."""
    return repr(b"".join(names[-1:]).decode(errors="replace"))


@cache
def _saved_model_type() -> Any:
    """The message type that `MESSAGES` describes."""
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="hakuna_saved_model.proto", package="hakuna", syntax="proto3")
    for name, fields in MESSAGES.items():
        described = file.message_type.add(name=name)
        for field_name, number, type_name in fields:
            described.field.add(
                name=field_name,
                number=number,
                label=field_type.LABEL_REPEATED,
                type=field_type.TYPE_MESSAGE if type_name else field_type.TYPE_BYTES,
                type_name=f".hakuna.{type_name}" if type_name else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("hakuna.SavedModel"))


def check_signature(
    folder: Path, input_names: Collection[str], inputs: Collection[str], outputs: Collection[str]
) -> None:
    """Raise BundleError where a network that an engine loaded maps other inputs to other outputs than it must."""
    if set(inputs) != set(input_names) or OUTPUT_NAME not in outputs:
        raise BundleError(
            f"{folder}: must map {sorted(input_names)} to {OUTPUT_NAME}, got {sorted(inputs)} to {sorted(outputs)}"
        )
