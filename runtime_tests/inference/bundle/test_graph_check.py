"""A network that does anything but bounded arithmetic is refused before an engine sees it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from inference.bundle import graph_check
from inference.bundle.graph_check import ALLOWED_OPERATIONS, PLAN_OPERANDS, check_networks, check_operations
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import EngineName, Precision
from inference.core.errors import BundleError
from inference.networks import engine_openvino, engine_tensorflow
from inference.networks.engine import find_engine, load_known_networks
from models.bundling.import_assets import import_assets
from models.spec.recipe import load_recipe
from runtime_tests.conftest import SECOND_RECIPE
from runtime_tests.damage import rewrite_manifest

Change = Callable[[tf.Tensor, Path], tf.Tensor]


def write_network(folder: Path, canary: Path, change: Change) -> None:
    """A SavedModel with the signature of a bundle's network that does one thing more."""
    module = tf.Module()

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.sigmoid(tf.tile(tf.reduce_mean(images, [1, 2, 3])[:, None], [1, 54]))
        return {"probabilities": change(probabilities, canary)}

    module.serve = tf.function(serve)
    signature = module.serve.get_concrete_function(tf.TensorSpec([None, None, None, 3], tf.float32, name="images"))
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    (folder / "fingerprint.pb").unlink()
    remove_saver(folder)


def remove_saver(folder: Path) -> None:
    """Leave what the network itself consists of: without the nodes that read and write checkpoints."""
    path = folder / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    [meta_graph] = saved_model.meta_graphs
    saver, graph = meta_graph.saver_def, meta_graph.graph_def
    names = {saver.filename_tensor_name.partition(":")[0], saver.save_tensor_name.partition(":")[0]}
    names.add(saver.restore_op_name)
    functions = {node.attr["f"].func.name for node in graph.node if node.name in names and "f" in node.attr}
    nodes = [node for node in graph.node if node.name not in names]
    kept = [function for function in graph.library.function if function.signature.name not in functions]
    for field, left in ((graph.node, nodes), (graph.library.function, kept)):
        del field[:]
        field.extend(left)
    meta_graph.ClearField("saver_def")
    path.write_bytes(saved_model.SerializeToString(deterministic=True))


def writes(probabilities: tf.Tensor, canary: Path) -> tf.Tensor:
    tf.io.write_file(str(canary), "it ran")
    return probabilities


def reads(probabilities: tf.Tensor, canary: Path) -> tf.Tensor:  # noqa: ARG001
    return probabilities + 0 * tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32)


def prints(probabilities: tf.Tensor, canary: Path) -> tf.Tensor:
    tf.print("it ran", output_stream=f"file://{canary}")
    return probabilities


def calls_python(probabilities: tf.Tensor, canary: Path) -> tf.Tensor:
    def touch(values: tf.Tensor) -> tf.Tensor:
        canary.touch()
        return values

    answer = tf.py_function(touch, [probabilities], tf.float32)
    answer.set_shape(probabilities.shape)
    return answer


def loops(probabilities: tf.Tensor, canary: Path) -> tf.Tensor:  # noqa: ARG001
    return tf.while_loop(lambda p: tf.reduce_sum(p) > 1e9, lambda p: [p + 1], [probabilities])[0]


def looks_up(probabilities: tf.Tensor, canary: Path) -> tf.Tensor:  # noqa: ARG001
    table = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, 0, -1, -2)
    return probabilities + 0 * tf.cast(table.lookup(tf.constant(3, tf.int64)), tf.float32)


def draws(probabilities: tf.Tensor, canary: Path) -> tf.Tensor:  # noqa: ARG001
    return probabilities + 0 * tf.random.uniform([])


HOSTILE: dict[str, tuple[Change, str]] = {
    "write": (writes, "WriteFile"),
    "read": (reads, "ReadFile|StringLength"),
    "print": (prints, "StringFormat|PrintV2"),
    "python": (calls_python, "EagerPyFunc"),
    "loop": (loops, "While|StatelessWhile"),
    "table": (looks_up, "MutableDenseHashTableV2|LookupTableFindV2"),
    "chance": (draws, "RandomUniform"),
}


@pytest.fixture
def copy(second_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle of SavedModels, one of them with functions."""
    folder = Path(shutil.copytree(second_bundle.folder, tmp_path / "bundle"))
    shutil.rmtree(folder / "openvino")
    shutil.rmtree(folder / "networks" / "small")
    write_network(folder / "networks" / "small", tmp_path, lambda probabilities, _: probabilities)
    rewrite_manifest(folder)
    return folder


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_network_is_refused_by_every_engine_and_nothing_of_it_ran(
    name: str, copy: Path, tmp_path: Path
) -> None:
    change, operations = HOSTILE[name]
    canary = tmp_path / "canary"
    folder = copy / "networks" / "small"
    shutil.rmtree(folder)
    write_network(folder, canary, change)
    rewrite_manifest(copy)
    canary.unlink(missing_ok=True)
    bundle = open_bundle(copy)
    message = rf"small/saved_model.pb, (function|main graph).* node '.+': must be .*, got '({operations})'"
    for engine in (EngineName.TENSORFLOW, EngineName.OPENVINO):
        with pytest.raises(BundleError, match=message) as error:
            load_known_networks(bundle, find_engine(engine), Precision.FLOAT32, lambda: None)
        assert error.value.exit_code == 4
    with pytest.raises(BundleError, match=message):
        check_networks(bundle)
    assert not canary.exists()


def test_the_hostile_networks_would_have_run_and_harmless_ones_pass(tmp_path: Path) -> None:
    """The control: the same network without the extra operation passes, with it TensorFlow does what it says."""
    pixels = np.full((2, 8, 8, 3), 100, np.float32)
    write_network(tmp_path / "good", tmp_path / "canary", lambda probabilities, _: probabilities)
    check_operations(tmp_path / "good")
    answers = [
        engine_tensorflow.FrozenNetwork(tmp_path / "good", ("images",))({"images": pixels}),
        engine_openvino.FrozenNetwork(tmp_path / "good", ("images",))({"images": pixels}),
    ]
    np.testing.assert_allclose(answers[0], answers[1], rtol=0, atol=1e-6)
    for change in (writes, calls_python):
        write_network(tmp_path / change.__name__, tmp_path / "canary", change)
        (tmp_path / "canary").unlink(missing_ok=True)
        tf.saved_model.load(str(tmp_path / change.__name__)).signatures["serving_default"](images=tf.constant(pixels))
        assert (tmp_path / "canary").exists()


def change_model(folder: Path, change: Callable[[Any], None]) -> None:
    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(model)
    path.write_bytes(model.SerializeToString())


def node(**fields: Any) -> Any:
    return saved_model_pb2.SavedModel().meta_graphs.add().graph_def.node.add(**fields)


PLACES: dict[str, tuple[Callable[[Any], None], str]] = {
    "main graph": (
        lambda model: model.meta_graphs[0].graph_def.node.append(node(name="evil", op="ReadFile")),
        "saved_model.pb, main graph, node 'evil': must be an operation of a plain network, got 'ReadFile'",
    ),
    "second meta graph": (
        lambda model: model.meta_graphs.add().graph_def.node.append(node(name="evil", op="ReadFile")),
        "main graph, node 'evil': must be .*, got 'ReadFile'",
    ),
    "function": (
        lambda model: model.meta_graphs[0].graph_def.library.function[0].node_def.append(node(name="evil", op="X")),
        "function '__inference.*', node 'evil': must be .*, got 'X'",
    ),
    "new function": (
        lambda model: (
            model.meta_graphs[0].graph_def.library.function.add().node_def.append(node(name="evil", op="PyFunc"))
        ),
        "function '', node 'evil': must be .*, got 'PyFunc'",
    ),
    "function called by its name": (
        lambda model: model.meta_graphs[0].graph_def.node.append(node(name="evil", op="__inference_serve_1")),
        "got '__inference_serve_1'",
    ),
    "no operation": (lambda model: model.meta_graphs[0].graph_def.node.append(node(name="evil", op=" ")), "got ' '"),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_operation_is_found_wherever_it_hides(place: str, copy: Path) -> None:
    change, message = PLACES[place]
    change_model(copy / "networks" / "small", change)
    with pytest.raises(BundleError, match=message):
        check_operations(copy / "networks" / "small")


def test_a_field_that_is_written_twice_is_seen_twice(copy: Path) -> None:
    """Another reader takes the last of two operations of a node, or puts the nodes of two graphs together."""
    path = copy / "networks" / "small" / "saved_model.pb"
    op_twice = b"\x0a\x04evil" + b"\x12\x08ReadFile" + b"\x12\x05Const"
    graph = b"\x0a" + bytes([len(op_twice)]) + op_twice
    meta_graph = b"\x12" + bytes([len(graph)]) + graph
    path.write_bytes(path.read_bytes() + b"\x12" + bytes([len(meta_graph)]) + meta_graph)
    with pytest.raises(BundleError, match="node 'evil': must be .*, got 'ReadFile'"):
        check_operations(path.parent)


def function(model: Any, name: str) -> Any:
    """A new function without nodes."""
    new = model.meta_graphs[0].graph_def.library.function.add()
    new.signature.name = name
    return new


def call(of: str, name: str = "call", op: str = "PartitionedCall") -> Any:
    made = node(name=name, op=op)
    made.attr["f"].func.name = of
    return made


def calls_itself(model: Any) -> None:
    body = model.meta_graphs[0].graph_def.library.function[0]
    body.node_def.append(call(body.signature.name, op="StatefulPartitionedCall"))


def calls_in_a_circle(model: Any) -> None:
    for name, other in (("f", "g"), ("g", "h"), ("h", "f")):
        function(model, name).node_def.append(call(other))


def calls_twice_each(model: Any) -> None:
    """Twenty functions of two calls each are three million nodes when they are written out."""
    for level in range(20):
        function(model, f"f{level}").node_def.extend([call(f"f{level + 1}", "a"), call(f"f{level + 1}", "b")])
    function(model, "f20").node_def.append(node(name="x", op="NoOp"))


def feeds_itself(model: Any) -> None:
    functions = model.meta_graphs[0].graph_def.library.function
    one = next(one for function in functions for one in function.node_def if one.op == "Sigmoid")
    one.input[0] = f"{one.name}:y:0"


def feed_each_other(model: Any) -> None:
    graph = model.meta_graphs[0].graph_def
    graph.node.extend([node(name=name, op="Identity", input=[other]) for name, other in (("a", "b:0"), ("b", "a"))])


def waits_for_itself(model: Any) -> None:
    graph = model.meta_graphs[0].graph_def
    graph.node.extend([node(name=name, op="NoOp", input=[other]) for name, other in (("a", "^b"), ("b", "^a"))])


def spread_constant(*sizes: int) -> Callable[[Any], None]:
    """A constant of any size whose file holds one number."""

    def change(model: Any) -> None:
        made = node(name="large", op="Const")
        made.attr["value"].tensor.float_val.append(1.0)
        for size in sizes:
            made.attr["value"].tensor.tensor_shape.dim.add(size=size)
        model.meta_graphs[0].graph_def.node.append(made)

    return change


def append(**fields: Any) -> Callable[[Any], None]:
    return lambda model: model.meta_graphs[0].graph_def.node.append(node(**fields))


DEADLY: dict[str, tuple[Callable[[Any], None], str]] = {
    "function calls itself": (
        calls_itself,
        "saved_model.pb: must not have cycles, got function '(.*)' -> function '\\1'$",
    ),
    "functions in a circle": (
        calls_in_a_circle,
        "must not have cycles, got function '[fgh]' -> function '[fgh]' -> .*",
    ),
    "calls that multiply": (calls_twice_each, r"function 'f5': must have 65536 nodes at most, .*, got 9.83e\+04"),
    "call of nothing": (
        lambda model: function(model, "f").node_def.append(call("nobody")),
        "function 'nobody': must be in the file because it is called, got none",
    ),
    "node feeds itself": (feeds_itself, "saved_model.pb, function '.*': must not have cycles, got (.*) -> \\1$"),
    "nodes feed each other": (feed_each_other, "main graph: must not have cycles, got (.*) -> .* -> \\1$"),
    "nodes wait for each other": (waits_for_itself, "main graph: must not have cycles, got (.*) -> .* -> \\1$"),
    "large constant": (
        spread_constant(2**20, 2**10),
        r"main graph: must have \d+ elements .* at most, .*, got 1.07e\+09",
    ),
    "endless constant": (
        spread_constant(*[2**62] * 1000),
        "main graph: must have .* elements of constants .*, got inf",
    ),
    "two nodes of one name": (
        lambda model: model.meta_graphs[0].graph_def.node.extend([node(name="a", op="NoOp")] * 2),
        "main graph: must have nodes of different names, got 'a' twice",
    ),
    "node without operation": (
        append(name="a"),
        "main graph, node 'a': must be an operation of a plain network, got ''",
    ),
}


@pytest.mark.parametrize("name", DEADLY)
def test_what_engines_die_of_or_never_come_back_from_is_refused(name: str, copy: Path) -> None:
    change, message = DEADLY[name]
    change_model(copy / "networks" / "small", change)
    with pytest.raises(BundleError, match=message) as error:
        check_operations(copy / "networks" / "small")
    assert error.value.exit_code == 4


def write_nodes(folder: Path, nodes: list[Any]) -> None:
    model = saved_model_pb2.SavedModel()
    model.meta_graphs.add().graph_def.node.extend(nodes)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())


def test_operations_without_their_operands_are_left_to_the_engine(tmp_path: Path) -> None:
    constants = [node(name=f"c{k}", op="Const") for k in range(4)]
    for operation in PLAN_OPERANDS:
        for n_operands in range(5):
            inputs = [f"c{k}" for k in range(n_operands)]
            write_nodes(tmp_path, [*constants, node(name="a", op=operation, input=inputs)])
            check_operations(tmp_path)


def count(p: tf.Tensor) -> tf.Tensor:
    """A number that a photo decides: 0 to 100."""
    return tf.cast(100 * p[0, 0], tf.int32)


SIZES: dict[str, Callable[[tf.Tensor, Any], tf.Tensor]] = {
    "Fill": lambda _, n: tf.fill([n], 1.0),
    "Range": lambda _, n: tf.cast(tf.range(n), tf.float32),
    "Tile": lambda p, n: tf.tile(p, [1, n]),
    "BroadcastTo": lambda p, n: tf.broadcast_to(p[0, 0], [n]),
    "Reshape": lambda p, n: tf.reshape(p, [n, -1]),
    "PadV2": lambda p, n: tf.pad(p, [[0, 0], [0, n]], constant_values=1.0),
    "Pad": lambda p, n: tf.pad(p, [[n, 0], [0, 0]]),
    "MirrorPad": lambda p, n: tf.pad(p, [[0, 0], [0, n]], mode="REFLECT"),
}
POSITIONS: dict[str, Callable[[tf.Tensor, Any], tf.Tensor]] = {
    "GatherV2": lambda p, n: tf.gather(p, n, axis=1),
    "Slice": lambda p, n: tf.slice(p, [0, n], [-1, 1]),
    "StridedSlice": lambda p, n: p[:, n],
}


def with_size(name: str, size: Callable[[tf.Tensor], Any]) -> Change:
    """Compute something of a size, or at a position, that is computed from the probabilities."""
    made = {**SIZES, **POSITIONS}[name]
    return lambda p, _: p + 0 * tf.reduce_sum(made(p, size(p)))


@pytest.mark.parametrize("name", [*SIZES, *POSITIONS])
def test_sizes_and_positions_that_a_photo_decides_are_refused(name: str, tmp_path: Path) -> None:
    write_network(tmp_path, tmp_path, with_size(name, count))
    with pytest.raises(
        BundleError, match=r"sizes and positions must be computed from .*, got 'images' \(an argument\)"
    ):
        check_operations(tmp_path)


@pytest.mark.parametrize("name", SIZES)
def test_absurd_sizes_are_refused(name: str, tmp_path: Path) -> None:
    sizes: dict[str, Callable[[tf.Tensor], Any]] = {
        "constant": lambda _: 2**27,
        "computed": lambda _: tf.constant(2**9) * tf.constant(2**9) * tf.constant(2**9),
        "from fractions": lambda _: tf.cast(1 / tf.constant(2.0**-27), tf.int32),
    }
    for kind, size in sizes.items():
        write_network(tmp_path / kind, tmp_path, with_size(name, size))
        with pytest.raises(BundleError, match=rf"node '.*': {name} must make 2\^26 elements at most, got about 2\^2\d"):
            check_operations(tmp_path / kind)


@pytest.mark.parametrize("name", [*SIZES, *POSITIONS])
def test_sizes_and_positions_from_constants_and_shapes_are_accepted(name: str, tmp_path: Path) -> None:
    for kind, size in {"constant": lambda _: 1, "shape": lambda p: tf.shape(p)[0]}.items():
        write_network(tmp_path / kind, tmp_path, with_size(name, size))
        check_operations(tmp_path / kind)


def test_a_network_within_every_bound_is_checked_in_no_time(tmp_path: Path) -> None:
    """What is checked takes time in proportion to the file, however its nodes hang together."""
    ranges = [node(name=f"n{k}", op="Range", input=[f"n{k - 1}", f"n{k // 2}", f"n{k // 3}"]) for k in range(1, 9999)]
    write_nodes(tmp_path, [node(name="n0", op="Const"), *ranges])
    start = time.process_time()
    check_operations(tmp_path)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a SavedModel, got one without operations"),
        (b"\x12\xff\xff\xff", "must be a SavedModel, got: .*"),
        (b"this is no network", "must be a SavedModel, got"),
    ],
)
def test_a_file_that_is_no_saved_model_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(BundleError, match=message):
        check_operations(tmp_path)


def test_a_folder_without_a_saved_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="saved_model.pb: must be a SavedModel, got: No such file"):
        check_operations(tmp_path)


def test_our_own_networks_have_no_operation_that_touches_files(tiny_bundle: Bundle, second_bundle: Bundle) -> None:
    for bundle in (tiny_bundle, second_bundle):
        check_networks(bundle)
    never = [
        "ReadFile",
        "WriteFile",
        "PrintV2",
        "PyFunc",
        "EagerPyFunc",
        "ImmutableConst",
        "While",
        "If",
        "RestoreV2",
        "SaveV2",
        "HashTableV2",
    ]
    assert not ALLOWED_OPERATIONS.intersection(never)


def test_an_import_whose_network_has_another_operation_fails_and_leaves_nothing(
    second_assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_check, "ALLOWED_OPERATIONS", ALLOWED_OPERATIONS - {"Sigmoid"})
    with pytest.raises(BundleError, match="must be an operation of a plain network, got 'Sigmoid'"):
        import_assets(second_assets, load_recipe(str(SECOND_RECIPE)), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "application",
    [
        "InceptionResNetV2",
        "MobileNetV2",
        "MobileNetV3Small",
        "EfficientNetB0",
        "ResNet50",
        "ResNet50V2",
        "Xception",
        "DenseNet121",
        "ConvNeXtTiny",
        "InceptionV3",
        "VGG16",
    ],
)
def test_backbones_of_keras_consist_of_allowed_operations(application: str, tmp_path: Path) -> None:
    from models.keras_io.architectures import backbone, single_view_network
    from models.keras_io.frozen_export import export_frozen, traced_network

    network = single_view_network(backbone(application, "backbone"))
    recipe = load_recipe(str(SECOND_RECIPE)).networks[0]
    export_frozen(traced_network(network, recipe), recipe, tmp_path)
    check_operations(tmp_path)
