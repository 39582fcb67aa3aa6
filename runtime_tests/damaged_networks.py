"""What a hostile author can do to a network: change a few bytes, or its graph, and the manifest with it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2

from inference.bundle.graph_check import ALLOWED_OPERATIONS

HUGE = (2**31 - 1, -(2**31), 2**30, -1, 0, 7)
SOME_BYTES = bytes(range(256))


def _bodies(model: Any) -> list[Any]:
    """The node lists of the main graph and of all functions."""
    graph = model.meta_graphs[0].graph_def
    return [graph.node, *(function.node_def for function in graph.library.function)]


def _some_node(model: Any, random: Random, *, op: str = "") -> tuple[Any, Any]:
    """A node, of an operation where that is asked for, and its graph."""
    found = [(node, body) for body in _bodies(model) for node in body if op in ("", node.op)]
    return random.choice(found)


def _rewire(model: Any, random: Random) -> None:
    found = [(node, body) for body in _bodies(model) for node in body if node.input]
    node, body = random.choice(found)
    node.input[random.randrange(len(node.input))] = f"{random.choice(body).name}:0"


def _feed_itself(model: Any, random: Random) -> None:
    node, _ = random.choice([(node, body) for body in _bodies(model) for node in body if node.input])
    node.input[random.randrange(len(node.input))] = f"{node.name}:0"


def _drop_input(model: Any, random: Random) -> None:
    node, _ = random.choice([(node, body) for body in _bodies(model) for node in body if node.input])
    del node.input[random.randrange(len(node.input))]


def _add_input(model: Any, random: Random) -> None:
    node, body = _some_node(model, random)
    node.input.insert(random.randint(0, len(node.input)), f"{random.choice(body).name}:0")


def _other_operation(model: Any, random: Random) -> None:
    node, _ = _some_node(model, random)
    node.op = random.choice(sorted(ALLOWED_OPERATIONS))


def _forbidden_operation(model: Any, random: Random) -> None:
    node, _ = _some_node(model, random)
    node.op = random.choice(("ReadFile", "While", "PyFunc", "RestoreV2", ""))


def _other_numbers(model: Any, random: Random) -> None:
    """Whole numbers of a constant, as axes, sizes and strides are, become others."""
    constants = [
        node for body in _bodies(model) for node in body if node.op == "Const" and node.attr["dtype"].type in (3, 9)
    ]
    tensor = random.choice(constants).attr["value"].tensor
    kind, field = (4, tensor.int_val) if tensor.dtype == 3 else (8, tensor.int64_val)
    n = max(1, len(tensor.tensor_content) // kind, len(field))
    tensor.tensor_content = b""
    field[:] = [random.choice(HUGE) for _ in range(n)]


def _other_shape(model: Any, random: Random) -> None:
    node, _ = _some_node(model, random, op="Const")
    shape = node.attr["value"].tensor.tensor_shape
    shape.dim.add(size=random.choice((0, 1, 2, -1, 2**20, 2**62)))


def _endless_constant(model: Any, random: Random) -> None:
    node, _ = _some_node(model, random, op="Const")
    for _ in range(3):
        node.attr["value"].tensor.tensor_shape.dim.add(size=2**30)
    del node.attr["value"].tensor.tensor_shape.dim[:-3]


def _delete_node(model: Any, random: Random) -> None:
    node, body = _some_node(model, random)
    body.remove(node)


def _double_node(model: Any, random: Random) -> None:
    node, body = _some_node(model, random)
    body.add().CopyFrom(node)


def _drop_attribute(model: Any, random: Random) -> None:
    node, _ = random.choice([(node, body) for body in _bodies(model) for node in body if node.attr])
    del node.attr[random.choice(sorted(node.attr))]


def _other_attribute(model: Any, random: Random) -> None:
    nodes = [node for body in _bodies(model) for node in body if node.attr]
    node, other = random.choice(nodes), random.choice(nodes)
    node.attr[random.choice(sorted(node.attr))].CopyFrom(other.attr[random.choice(sorted(other.attr))])


def _other_whole_numbers_in_attributes(model: Any, random: Random) -> None:
    """Strides, windows and paddings."""
    values = [
        node.attr[key].list.i
        for body in _bodies(model) for node in body for key in sorted(node.attr) if node.attr[key].list.i
    ]  # fmt: skip
    chosen = random.choice(values)
    chosen[random.randrange(len(chosen))] = random.choice((*HUGE, 2**62))


def _recursive_call(model: Any, random: Random) -> None:
    functions = model.meta_graphs[0].graph_def.library.function
    if not functions:
        functions.add().signature.name = "itself"
    function = random.choice(functions)
    added = function.node_def.add(name="again", op=random.choice(("PartitionedCall", "StatefulPartitionedCall")))
    added.attr["f"].func.name = function.signature.name


Mutation = Callable[[Any, Random], None]
KINDS: dict[str, tuple[Mutation | None, bool]] = {
    "flip a byte": (None, False),
    "insert bytes": (None, False),
    "cut the file": (None, False),
    "feed a node with another": (_rewire, False),
    "feed a node with itself": (_feed_itself, True),
    "drop an input": (_drop_input, False),
    "add an input": (_add_input, False),
    "other operation": (_other_operation, False),
    "forbidden operation": (_forbidden_operation, True),
    "other numbers": (_other_numbers, False),
    "other shape": (_other_shape, False),
    "endless constant": (_endless_constant, True),
    "delete a node": (_delete_node, False),
    "double a node": (_double_node, True),
    "drop an attribute": (_drop_attribute, False),
    "other attribute": (_other_attribute, False),
    "other numbers in attributes": (_other_whole_numbers_in_attributes, False),
    "recursive call": (_recursive_call, True),
}
"""Mutations of a SavedModel, and whether the file alone shows what is wrong with it."""


def mutated_network(data: bytes, seed: int) -> tuple[str, bytes]:
    """One mutation of a SavedModel, the same for the same seed."""
    random = Random(seed)  # noqa: S311  # reproducible, not secret
    kind = list(KINDS)[seed % len(KINDS)]
    mutation, _ = KINDS[kind]
    where = random.randrange(len(data))
    if kind == "cut the file":
        return kind, data[:where]
    if mutation is None:
        some = bytes(random.choice(SOME_BYTES) for _ in range(random.randrange(1, 4)))
        return kind, data[:where] + (some + data[where:] if kind == "insert bytes" else some[:1] + data[where + 1 :])
    model = saved_model_pb2.SavedModel.FromString(data)
    mutation(model, random)
    return kind, model.SerializeToString(deterministic=True)


ANSWER_MANY = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
import numpy as np
from inference.core.errors import BundleError
if sys.argv[1] == "openvino":
    from inference.networks.engine_openvino import FrozenNetwork
else:
    from inference.networks.engine_tensorflow import FrozenNetwork
images = np.random.default_rng(1).uniform(0, 255, (2, 48, 64, 3)).astype(np.float32)
untouched = FrozenNetwork(Path(sys.argv[2]), ("images",))({"images": images})
for folder in map(Path, sys.argv[3:]):
    print(folder.name, flush=True)
    try:
        answers = FrozenNetwork(folder, ("images",))({"images": images})
    except BundleError:
        outcome = "refused by the engine"
    except Exception as error:
        outcome = "failed in the engine"
    else:
        outcome = "same answer" if np.array_equal(answers, untouched) else "another network"
    print(outcome, flush=True)
"""
"""A child that loads and calls the networks in its arguments after the untouched one; it may die of any."""
