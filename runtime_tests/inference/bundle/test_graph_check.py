"""A network that does anything but arithmetic is refused before an engine sees it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from inference.bundle import graph_check
from inference.bundle.graph_check import ALLOWED_OPERATIONS, check_networks, check_operations
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import EngineName, Precision
from inference.core.errors import BundleError
from inference.networks import engine_openvino, engine_tensorflow
from inference.networks.engine import find_engine, load_networks
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
    """Leave what the network itself consists of."""
    from models.keras_io.frozen_export import _remove_saver

    _remove_saver(folder / "saved_model.pb")


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
    return Path(shutil.copytree(second_bundle.folder, tmp_path / "bundle"))


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
            load_networks(bundle, find_engine(engine), Precision.FLOAT32, lambda: None)
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


def node(**fields: str) -> Any:
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
        "NASNetMobile",
        "ConvNeXtTiny",
        "InceptionV3",
        "VGG16",
    ],
)
def test_backbones_of_keras_consist_of_allowed_operations(application: str, tmp_path: Path) -> None:
    from models.keras_io.architectures import backbone, single_view_network
    from models.keras_io.frozen_export import export_frozen

    network = single_view_network(backbone(application, "backbone"))
    export_frozen(network, load_recipe(str(SECOND_RECIPE)).networks[0], tmp_path)
    check_operations(tmp_path)
