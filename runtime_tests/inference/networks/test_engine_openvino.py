"""Networks in OpenVINO's own format: the bits of the SavedModel, the same bytes each time, nothing but arithmetic."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import EngineName, Precision
from inference.core.errors import BundleError
from inference.networks.engine import Engine, load_known_networks, network_path
from inference.networks.engine_openvino import FrozenNetwork, save_model, write_network
from models.bundling.openvino_files import check_formats, write_openvino
from runtime_tests.damage import rewrite_manifest

openvino = pytest.importorskip("openvino")  # after the engine, which keeps it from reporting to a web service
opset = openvino.opset13
OPENVINO = Engine(EngineName.OPENVINO, "", "CPU", ())


def test_both_formats_of_a_network_give_the_same_bits(tiny_bundle: Bundle, random: np.random.Generator) -> None:
    for network in tiny_bundle.manifest.networks:
        names = tuple(one.name for one in network.inputs)
        xml = network_path(tiny_bundle, network, EngineName.OPENVINO)
        assert xml == tiny_bundle.path(network.openvino_files[0])
        for precision in (Precision.FLOAT32, Precision.MIXED):
            for n_images in (2, 5):
                shape = (n_images, *network.sizes[0].as_image_size(), 3)
                images = {name: random.uniform(0, 255, shape).astype(np.float32) for name in names}
                paths = (tiny_bundle.path(network.folder), xml)
                saved, own = (FrozenNetwork(path, names, precision)(images) for path in paths)
                np.testing.assert_array_equal(saved, own)


def test_tensorflow_reads_the_saved_model(tiny_bundle: Bundle) -> None:
    [network, *_] = tiny_bundle.manifest.networks
    assert network_path(tiny_bundle, network, EngineName.TENSORFLOW) == tiny_bundle.path(network.folder)


def test_a_network_is_written_with_the_same_bytes_each_time(tiny_bundle: Bundle, tmp_path: Path) -> None:
    network = tiny_bundle.manifest.networks[-1]
    for name in ("one", "two"):
        write_network(tiny_bundle.path(network.folder), tmp_path / name / "network.xml")
    for suffix in (".xml", ".bin"):
        one, two = ((tmp_path / name / f"network{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two
    assert (tmp_path / "one" / "network.xml").read_bytes() == tiny_bundle.path(network.openvino_files[0]).read_bytes()


def test_layers_without_names_give_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        images = opset.parameter([2, 3], np.float32, name="images")
        result = opset.result(opset.relu(images), name="probabilities")
        save_model(openvino.Model([result], [images], "network"), tmp_path / name / "network.xml")
    assert (tmp_path / "one" / "network.xml").read_bytes() == (tmp_path / "two" / "network.xml").read_bytes()


def resized(images: Any, sizes: Any) -> Any:
    return opset.interpolate(images, sizes, "nearest", "sizes", axes=opset.constant([0, 1, 2, 3]))


def padded(images: Any, sizes: Any) -> Any:
    return opset.pad(images, sizes, sizes, "constant")


def written(path: Path, make: Callable[[Any, Any], Any], *, from_pixels: bool) -> Path:
    """A network with a layer whose size comes from a constant or, as no network's may, from a pixel."""
    images = opset.parameter([2, 8, 8, 3], np.float32, "images")
    sizes = opset.constant(np.array([0, 1, 1, 0]))
    if from_pixels:
        brightest = opset.reduce_max(images, opset.constant([0, 1, 2, 3]), keep_dims=False)
        sizes = opset.multiply(sizes, opset.convert(brightest, "i64"))
    openvino.save_model(openvino.Model([make(images, sizes)], [images]), str(path), compress_to_fp16=False)
    return path


@pytest.mark.parametrize(
    ("make", "from_pixels", "message"),
    [
        (resized, False, "must have layers of plain arithmetic, got Interpolate"),
        (padded, True, "sizes must be constants, got Pad with one from Multiply"),
    ],
)
def test_anything_but_arithmetic_is_refused(
    make: Callable[[Any, Any], Any], from_pixels: bool, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "network.xml", make, from_pixels=from_pixels)
    with pytest.raises(BundleError, match=message):
        FrozenNetwork(path, ("images",))


def test_layers_are_those_that_openvino_reads(tmp_path: Path) -> None:
    """A decoy elsewhere in the file hides no layer, other numbers of ports hide no size."""
    path = written(tmp_path / "network.xml", padded, from_pixels=True)
    text = path.read_text()
    [number] = re.findall(r'<layer id="(\d+)"[^>]* type="Pad"', text)
    decoy = f'<x><layer id="{number}" type="Relu" /></x></net>'
    path.write_text(text.replace("</net>", decoy))
    with pytest.raises(BundleError, match="sizes must be constants, got Pad"):
        FrozenNetwork(path, ("images",))
    path.write_text(re.sub(rf'(to-layer="{number}" to-port=)"(\d)"', lambda one: f'{one[1]}"{int(one[2]) + 7}"', text))
    with pytest.raises(BundleError):
        FrozenNetwork(path, ("images",))


def test_constant_sizes_are_no_reason_to_refuse(tmp_path: Path) -> None:
    path = written(tmp_path / "network.xml", padded, from_pixels=False)
    with pytest.raises(BundleError, match="must map"):  # after the layers: it has no probabilities
        FrozenNetwork(path, ("images",))


@pytest.mark.parametrize("text", [None, "<net>", "<!DOCTYPE net><net/>", ""])
def test_a_file_that_is_no_network_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "network.xml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BundleError, match=r"network\.xml: must be a network that OpenVINO reads"):
        FrozenNetwork(path, ("images",))


def test_a_network_that_is_not_plain_enough_is_left_as_a_saved_model(tmp_path: Path) -> None:
    module = tf.Module()

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        mean = tf.reduce_mean(images, [1, 2, 3])[:, None]
        return {"probabilities": tf.sigmoid(tf.tile(mean, tf.cast(images[0, 0, 0, :2], tf.int32)))}

    images = tf.TensorSpec([None, None, None, 3], tf.float32, name="images")
    signature = tf.function(serve).get_concrete_function(images)
    tf.saved_model.save(module, str(tmp_path / "network"), signatures={"serving_default": signature})
    assert not write_openvino(tmp_path / "network", tmp_path / "openvino" / "network.xml")
    assert not (tmp_path / "openvino").exists()


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
@pytest.mark.parametrize("is_listed", [False, True])
def test_a_damaged_file_is_refused(suffix: str, is_listed: bool, tiny_bundle: Bundle, tmp_path: Path) -> None:
    """By its hash; where the manifest was changed too, when it is loaded."""
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle.folder, folder)
    path = folder / f"openvino/v1{suffix}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if is_listed:
        rewrite_manifest(folder)
        bundle = open_bundle(folder)
        with pytest.raises(BundleError, match=r"openvino/v1\.xml"):
            load_known_networks(bundle, OPENVINO, Precision.FLOAT32, lambda: None)
    else:
        with pytest.raises(BundleError, match=rf"v1\{suffix}: must have \d+ bytes, got"):
            open_bundle(folder)


def test_formats_of_different_networks_are_found(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """A hostile author changes one format of a network and the manifest with it."""
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle.folder, folder)
    check_formats(open_bundle(folder))
    for suffix in (".xml", ".bin"):
        shutil.copyfile(folder / f"openvino/v2{suffix}", folder / f"openvino/v1{suffix}")
    rewrite_manifest(folder)
    with pytest.raises(BundleError, match=r"openvino/v1\.xml: must be the network in .*networks/v1, got answers that"):
        check_formats(open_bundle(folder))
