"""TensorFlow's engine: frames as bytes, mirror images on the device, shared weights, one efficient graph a network."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from inference.bundle.passes import Effort, passes_for
from inference.bundle.reader import Bundle
from inference.core.choices import EngineName, Precision
from inference.core.errors import OutOfMemoryError
from inference.core.sequences import Sequence, View, ViewedSequence
from inference.networks import engine_tensorflow
from inference.networks.engine import find_engine, load_known_networks
from inference.networks.engine_tensorflow import FrozenNetwork
from inference.networks.forward import LoadedNetworks, forward
from inference.networks.tensorflow_graph import efficient_network, read_saved_model
from inference.settings.environment import library_defaults
from models.bundling.untrained import untrained_network
from models.keras_io.frozen_export import export_frozen, traced_network
from models.spec.recipe import load_recipe
from runtime_tests.running import environment

Bytes = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def networks(quick_bundle: Bundle) -> LoadedNetworks:
    return load_known_networks(quick_bundle, find_engine(EngineName.TENSORFLOW), Precision.FLOAT32, lambda: None)


def on_frames(bundle: Bundle, precision: Precision = Precision.FLOAT32) -> FrozenNetwork:
    return FrozenNetwork(bundle.path(bundle.manifest.networks[0].folder), ("images",), precision)


def frames(random: np.random.Generator, n: int = 3) -> Bytes:
    return random.integers(0, 256, (n, 96, 128, 3), dtype=np.uint8)


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.MIXED])
def test_bytes_and_mirror_images_give_the_bits_of_float32(
    precision: Precision, quick_bundle: Bundle, random: np.random.Generator
) -> None:
    network, images = on_frames(quick_bundle, precision), frames(random)
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    expected = [network({"images": one.astype(np.float32)}) for one in (images, mirrored)]
    np.testing.assert_array_equal(network({"images": images}), expected[0])
    np.testing.assert_array_equal(network.with_mirror_images({"images": images}), np.concatenate(expected))


@pytest.mark.parametrize("fixed_shapes", [False, True])
def test_a_batch_gets_the_bits_of_mirror_images_made_on_the_host(
    fixed_shapes: bool, networks: LoadedNetworks, quick_bundle: Bundle, random: np.random.Generator
) -> None:
    batch = []
    for number, n_frames in enumerate((1, 3, 0, 2)):
        views = {
            (view, size): random.integers(0, 256, (n_frames, *size, 3), dtype=np.uint8)
            if view is View.FRAME
            else random.uniform(0, 255, (*size, 3)).astype(np.float32)
            for view, size in quick_bundle.manifest.view_keys
        }
        batch.append(ViewedSequence(Sequence(str(number), ()), n_frames, views if n_frames else {}, (), 0))
    passes = passes_for(quick_bundle.manifest, Effort.FULL, flip_tta=True)
    by_engine = forward(batch, passes, replace(networks, fixed_shapes=fixed_shapes))
    on_host = forward(batch, passes, replace(networks, fixed_shapes=fixed_shapes, mirrored={}))
    for one, other in zip(by_engine, on_host, strict=True):
        np.testing.assert_array_equal(one.frame_outputs, other.frame_outputs)
        np.testing.assert_array_equal(one.sequence_outputs, other.sequence_outputs)
    assert {kind for _, kind in networks.memory} == {np.dtype(np.uint8), np.dtype(np.float32)}


def test_float32_is_tensorflows_own_answer(quick_bundle: Bundle, random: np.random.Generator) -> None:
    for network in quick_bundle.manifest.networks:
        folder, names = quick_bundle.path(network.folder), tuple(one.name for one in network.inputs)
        inputs = {name: frames(random).astype(np.float32) for name in names}
        plain = tf.saved_model.load(str(folder)).signatures["serving_default"]
        expected = plain(**{name: tf.constant(one) for name, one in inputs.items()})["probabilities"].numpy()
        np.testing.assert_allclose(FrozenNetwork(folder, names)(inputs), expected, rtol=0, atol=1e-6)


def test_weights_are_apart_from_the_graph(quick_bundle: Bundle) -> None:
    network = efficient_network(read_saved_model(quick_bundle.path(quick_bundle.manifest.networks[0].folder)))
    assert sum(value.size for value in network.weights.values()) > 1000
    assert network.graph.ByteSize() < 20_000


class Failing:
    """In the place of a traced function."""

    def __init__(self, error: type[tf.errors.OpError]) -> None:
        self._error = error

    def __call__(self, *_: object) -> None:
        raise self._error(None, None, "cuDNN could not make a plan")


@pytest.mark.parametrize("name", ["ResourceExhaustedError", "InternalError", "UnknownError", "NotFoundError"])
def test_cudnn_reports_a_lack_of_memory_in_many_ways(
    name: str, quick_bundle: Bundle, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, error = on_frames(quick_bundle), getattr(tf.errors, name)
    monkeypatch.setattr(FrozenNetwork, "_traced", lambda *_: Failing(error))
    without_gpu = OutOfMemoryError if name == "ResourceExhaustedError" else error
    network = on_frames(quick_bundle)
    with pytest.raises(without_gpu, match="cuDNN"):
        network({"images": frames(random)})
    monkeypatch.setattr(engine_tensorflow, "_gpus", lambda: ["a GPU"])
    with pytest.raises(OutOfMemoryError, match="cuDNN"):
        network({"images": frames(random)})


@pytest.mark.parametrize(("capability", "expected"), [((6, 1), False), ((7, 0), True), ((9, 0), True), (None, False)])
def test_half_precision_needs_tensor_cores(
    capability: tuple[int, int] | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    details = {"device_name": "a GPU"} | ({"compute_capability": capability} if capability else {})
    monkeypatch.setattr(engine_tensorflow, "_gpus", lambda: [SimpleNamespace(name="GPU:0")])
    monkeypatch.setattr("tensorflow.config.experimental.get_device_details", lambda _: details)
    assert engine_tensorflow.lower_precisions() == ((Precision.MIXED,) if expected else ())
    assert engine_tensorflow.device() == "a GPU"


def test_float32_has_all_its_bits() -> None:
    engine_tensorflow.prepare_devices()
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


@pytest.mark.e2e
def test_the_optimiser_of_a_v100_fuses_every_square_kernel(tmp_path: Path) -> None:
    recipe = load_recipe("third_place").networks[0]
    export_frozen(traced_network(untrained_network(recipe, "InceptionResNetV2"), recipe), recipe, tmp_path)
    keras.backend.clear_session()
    done = subprocess.run(
        [sys.executable, "-m", "runtime_tests.optimised_graph", str(tmp_path)],
        env=environment(**library_defaults(has_gpu=True)),
        capture_output=True,
        text=True,
        check=True,
    )
    # Residual blocks add before they activate, all but the last. No factor, cast or normalisation is left there.
    expected = {
        "kernels": 244,
        "square kernels": 44,
        "fused": {"BiasAdd Relu": 44},
        "between convolution and activation": {"BiasAdd": 199, "AddV2": 39},
    }
    assert json.loads(done.stdout) == {"float32": expected, "float16": expected}
