"""Keras files and boosters -> a bundle that is proven, or nothing."""

from __future__ import annotations

import base64
import json
import marshal
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from inference.bundle.manifest import MANIFEST_NAME
from inference.bundle.reader import Bundle, open_bundle
from inference.core.errors import BundleError
from inference.core.files import sha256_of_file
from inference.networks.engine_tensorflow import FrozenNetwork
from models.bundling import import_assets as importing
from models.bundling.import_assets import import_assets, run_in_child
from models.keras_io import architectures, frozen_export
from models.keras_io.frozen_export import export_frozen, keras_outputs, max_export_error, traced_network
from models.keras_io.h5_file import load_keras_network
from models.spec.recipe import Recipe, load_recipe
from runtime_tests.conftest import SECOND_RECIPE

pytestmark = pytest.mark.e2e


@pytest.fixture
def assets(second_assets: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(second_assets, tmp_path / "assets"))


@pytest.fixture
def second() -> Recipe:
    return load_recipe(str(SECOND_RECIPE))


def change_config(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)


def test_frozen_networks_answer_as_their_sources(second_bundle: Bundle, second_assets: Path, second: Recipe) -> None:
    for entry in second.networks:
        source = keras.models.load_model(second_assets / entry.file)
        folder = second_bundle.path(f"networks/{entry.name}")
        name = second_bundle.manifest.networks[second.networks.index(entry)].inputs[0].name
        pixels = np.random.default_rng(1).uniform(0, 255, (3, 61, 83, 3)).astype(np.float32)
        scaled = pixels / 255 if entry.inputs[0].scaling == "unit" else pixels / 127.5 - 1
        expected = source.predict(scaled, verbose=0)
        np.testing.assert_allclose(FrozenNetwork(folder, (name,))({name: pixels}), expected, rtol=0, atol=1e-6)


def test_the_largest_difference_is_kept(second_bundle: Bundle) -> None:
    differences = [network.max_export_error for network in second_bundle.manifest.networks]
    assert all(0 <= difference < 1e-5 for difference in differences)
    assert max(differences) > 0


def test_the_same_assets_make_networks_of_the_same_identity(
    second_bundle: Bundle, second_assets: Path, second: Recipe, tmp_path: Path
) -> None:
    again = import_assets(second_assets, second, tmp_path / "again", demo=True)
    assert again.manifest.networks == second_bundle.manifest.networks
    assert len({network.identity for network in again.manifest.networks}) == 3
    for path, entry in second_bundle.manifest.files.items():
        if path.startswith("stackers"):
            assert again.manifest.files[path] == entry


def test_provenance_names_every_source_with_its_hash(second_bundle: Bundle, second_assets: Path) -> None:
    sources = second_bundle.manifest.provenance.sources
    assert sorted(sources) == ["boosters/empty.txt", "boosters/zebra.txt", "large.h5", "mean_net.h5", "small.h5"]
    for name, entry in sources.items():
        assert entry.sha256 == sha256_of_file(second_assets / name)


def test_a_frozen_network_that_differs_too_much_fails_and_leaves_nothing(
    assets: Path, second: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def wrong_in_the_graph(pixels: Any, scaling: Any) -> Any:
        calls.append(1)
        # The first call builds the graph; the later ones feed the source network.
        return architectures.scale(pixels, scaling) * (1.01 if len(calls) == 1 else 1.0)

    monkeypatch.setattr(frozen_export, "scale", wrong_in_the_graph)
    with pytest.raises(BundleError, match=r"network small \(small.h5\): frozen and source must agree within 0.0001"):
        import_assets(assets, second, tmp_path / "bundle")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["assets"]


@pytest.mark.parametrize("factor", [np.nan, 1e3])
def test_a_network_whose_answers_are_no_probabilities_fails(
    factor: float, assets: Path, second: Recipe, tmp_path: Path
) -> None:
    network = keras.models.load_model(assets / "small.h5")
    network.layers[-1].activation = keras.activations.linear
    network.layers[-1].set_weights([1 + weights * factor for weights in network.layers[-1].get_weights()])
    export_frozen(traced_network(network, second.networks[0]), second.networks[0], tmp_path / "frozen")
    with pytest.raises(BundleError, match=r"must give probabilities, finite and in \[0, 1\]"):
        max_export_error(
            keras_outputs(network, second.networks[0]),
            second.networks[0],
            tmp_path / "frozen",
        )


def test_a_lambda_layer_is_refused_and_its_bytecode_never_runs(assets: Path, second: Recipe, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    code = compile(f"open({str(canary)!r}, 'w')", "<evil>", "eval")
    bytecode = base64.b64encode(marshal.dumps(code)).decode()

    def evil(config: dict[str, Any]) -> None:
        layer = config["config"]["layers"][-1]
        layer["class_name"] = "Lambda"
        layer["config"] = {"name": layer["config"]["name"], "function": [bytecode, None, None]}

    change_config(assets / "small.h5", evil)
    with pytest.raises(BundleError, match="Lambda layers carry Python bytecode, which is never executed"):
        import_assets(assets, second, tmp_path / "bundle")
    assert not canary.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config["config"]["layers"][-1].update(class_name="TFOpLambda"), "plain arithmetic"),
        (lambda config: config["config"]["layers"][-1].update(module="os"), "must come from Keras, got module 'os'"),
        (
            lambda config: config["config"]["layers"][-1]["config"].update(
                kernel_initializer={"class_name": "system", "module": "os", "config": {}}
            ),
            "must come from Keras, got module 'os'",
        ),
        (
            lambda config: config["config"]["layers"][-1]["config"].update(
                kernel_initializer={"class_name": "get_file", "module": "keras.utils", "config": {}}
            ),
            "must come from Keras, got module 'keras.utils'",
        ),
        (lambda config: config["config"].pop("layers"), "must hold a whole Keras network"),
    ],
)
def test_a_file_that_names_other_code_is_refused(
    change: Callable[[dict[str, Any]], None], message: str, assets: Path
) -> None:
    change_config(assets / "small.h5", change)
    with pytest.raises(BundleError, match=message):
        load_keras_network(assets / "small.h5")


@pytest.mark.parametrize("content", [b"", b"not hdf5", b"\x89HDF\r\n\x1a\n"])
def test_a_file_that_is_no_network_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "network.h5"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="network.h5"):
        load_keras_network(path)


def test_weights_without_an_architecture_are_refused(assets: Path, tmp_path: Path) -> None:
    keras.models.load_model(assets / "small.h5").save_weights(tmp_path / "only.weights.h5")
    with pytest.raises(BundleError, match="whole Keras network"):
        load_keras_network(tmp_path / "only.weights.h5")


def test_a_network_with_other_inputs_is_refused(second_assets: Path, recipe: Recipe) -> None:
    two_branch = recipe.networks[4]
    network = keras.models.load_model(second_assets / "small.h5")
    with pytest.raises(BundleError, match="network two_branch: must have 2 inputs and 54 classes, got 1 and 54"):
        traced_network(network, two_branch)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tree\n", "bush\n", "starts with 'tree'"),
        ("feature_names=month ", "feature_names=hour ", "feature 0 must be month, got hour"),
        ("feature_names=", "names=", "must be a line of a LightGBM header, each once, got b'names=month"),
    ],
)
def test_a_booster_for_something_else_is_refused(
    old: str, new: str, message: str, assets: Path, second: Recipe, tmp_path: Path
) -> None:
    path = assets / "boosters" / "zebra.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BundleError, match=message):
        import_assets(assets, second, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_an_existing_folder_is_not_overwritten(second_bundle: Bundle, assets: Path, second: Recipe) -> None:
    with pytest.raises(BundleError, match="must not exist yet"):
        import_assets(assets, second, second_bundle.folder)
    assert open_bundle(second_bundle.folder).id == second_bundle.id


def test_a_bundle_is_replaced_with_force_and_nothing_else_is(
    second_bundle: Bundle, assets: Path, second: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "photo.jpg").touch()
    with pytest.raises(BundleError, match="must not exist yet"):
        import_assets(assets, second, out, force=True)
    (out / MANIFEST_NAME).write_text('{"files": {"network": {}}}')  # an older bundle
    (out / "network").touch()
    with pytest.raises(
        BundleError, match=r"bundle: must have only the files of a bundle to be replaced, got photo.jpg"
    ):
        import_assets(assets, second, out, force=True)
    (out / "photo.jpg").unlink()
    progress: list[tuple[int, int]] = []
    bundle = import_assets(
        assets, second, out, demo=True, force=True, on_progress=lambda done, total: progress.append((done, total))
    )
    assert [one.identity for one in bundle.manifest.networks] == [
        one.identity for one in second_bundle.manifest.networks
    ]
    assert sorted(tmp_path.iterdir()) == [assets, out]
    n_networks = len(second.networks)
    assert progress == [(n, n_networks) for n in range(n_networks)]


def test_a_graph_with_another_signature_is_refused(second_bundle: Bundle) -> None:
    folder = second_bundle.path("networks/small")
    with pytest.raises(BundleError, match=r"must map \['background', 'mean'\] to probabilities, got \['images'\]"):
        FrozenNetwork(folder, ("background", "mean"))
    with pytest.raises(BundleError, match="must be a SavedModel"):
        FrozenNetwork(second_bundle.path("stackers"), ("images",))


@pytest.mark.slow  # each network starts a TensorFlow of its own
def test_a_large_network_is_frozen_in_processes_of_its_own(
    assets: Path, second: Recipe, second_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importing, "LARGE_SOURCE_BYTES", 0)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    bundle = import_assets(assets, second, tmp_path / "bundle")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before + 3 * len(second.networks)
    assert [network.identity for network in bundle.manifest.networks] == [
        network.identity for network in second_bundle.manifest.networks
    ]


def test_a_process_that_dies_is_reported_with_the_network_it_worked_on() -> None:
    """Not with its arguments, which may be gigabytes of outputs."""
    with pytest.raises(BundleError, match="^net.h5: must fit into memory, but the process that worked on it died$"):
        run_in_child(Path("net.h5"), os._exit, 1)


def exact_products() -> bool:
    """Whether devices were prepared: by default TensorFlow allows TensorFloat-32."""
    import tensorflow as tf

    return not tf.config.experimental.tensor_float_32_execution_enabled()


def test_a_child_prepares_its_devices_before_it_works(tmp_path: Path) -> None:
    """Two at once would each take the whole memory of a GPU; `prepare_devices` is tested with the engine."""
    assert run_in_child(tmp_path, exact_products)
