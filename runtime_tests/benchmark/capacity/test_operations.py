"""Operations of a pass: counted from graphs, compared with counts made elsewhere."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest
import tensorflow as tf
from pydantic import ValidationError

from benchmark.capacity import operations
from benchmark.capacity.device_profiles import LOW, load_profile
from benchmark.capacity.operations import counted_manifest, needs_tensorflow
from benchmark.capacity.rates import profile_rates
from inference.bundle.manifest import Manifest
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.errors import BundleError
from inference.core.sequences import ImageSize
from models.keras_io.operations import graph_operations
from models.spec.recipe import RECIPES_FOLDER, Recipe, load_recipe, manifest_of

SMALL = ImageSize(360, 480)
TINY_PASS = 2 * (90 * 120 * 8 * 7 * 7 * 3 + 23 * 30 * 16 * 7 * 7 * 8 + 16 * 54)
"""By hand: two convolutions, 7x7 at stride 4 with 8 and 16 filters, then 54 classes."""
TINY_BRANCH = 2 * (90 * 120 * 8 * 7 * 7 * 3 + 23 * 30 * 16 * 7 * 7 * 8)
TINY_TWO_BRANCH_PASS = 2 * TINY_BRANCH + 2 * (21 * 28 * 32 * 3 * 3 * 32 + 32 * 54)
"""By hand: two such branches, a 3x3 convolution without padding to as many filters as channels, then 54 classes."""


def operations_of(manifest: Manifest) -> dict[tuple[str, ImageSize], int]:
    return {
        (network.name, size.as_image_size()): one
        for network in manifest.networks
        for size, one in zip(network.sizes, network.operations, strict=True)
    }


def graph_of(network: keras.Model, size: ImageSize) -> tf.Graph:
    images = tf.TensorSpec([1, *size, 3], tf.float32)
    return tf.function(network, autograph=False).get_concrete_function(images).graph


def test_a_bundle_has_the_operations_counted_by_hand(tiny_bundle: Bundle) -> None:
    operations = operations_of(tiny_bundle.manifest)
    assert operations["v1", SMALL] == TINY_PASS
    assert operations["two_branch", SMALL] == TINY_TWO_BRANCH_PASS
    assert len(operations) == 9


def test_a_recipe_has_the_operations_of_its_bundle(tiny_bundle: Bundle, recipe: Recipe) -> None:
    assert needs_tensorflow(recipe, "tiny")
    assert operations_of(counted_manifest(recipe, "tiny")) == operations_of(tiny_bundle.manifest)


@pytest.mark.parametrize("path", sorted(RECIPES_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_operations_of_the_published_recipes_are_known(path: Path) -> None:
    """Counted independently, in GFLOP, without the top: 50.9 and 59.4 for one branch."""
    recipe = load_recipe(path.stem)
    assert not needs_tensorflow(recipe)
    for (name, size), one in operations_of(counted_manifest(recipe)).items():
        n_branches = next(len(network.inputs) for network in recipe.networks if network.name == name)
        assert one / 1e9 / n_branches == pytest.approx(
            50.9 if size == SMALL else 59.4, rel=0.01 + 0.05 * (n_branches - 1)
        )


def test_a_bundle_without_operations_cannot_be_projected(recipe: Recipe) -> None:
    with pytest.raises(BundleError, match="network v1: its operations must be known, got none"):
        profile_rates(load_profile("v100"), manifest_of(recipe), Precision.FLOAT32, LOW)


def test_as_many_operations_as_sizes(recipe: Recipe) -> None:
    with pytest.raises(ValidationError, match=r"operations must be one number for each size, got \(1, 2, 3\)"):
        recipe.networks[0].as_network(operations=(1, 2, 3))


def test_depthwise_convolutions_are_counted_by_hand() -> None:
    network = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.DepthwiseConv2D(3, padding="valid"),
            keras.layers.Conv2D(6, 1),
        ]
    )
    assert graph_operations(graph_of(network, ImageSize(10, 12))) == 2 * (8 * 10 * 3 * 9 + 8 * 10 * 6 * 3)


def test_a_network_whose_shapes_do_not_follow_from_its_input_is_refused() -> None:
    graph = tf.Graph()
    with graph.as_default():
        tf.nn.conv2d(tf.compat.v1.placeholder(tf.float32, None), tf.ones((1, 1, 3, 2)), 1, "SAME")
    with pytest.raises(BundleError, match="must have a shape that follows from the input's"):
        graph_operations(graph)


@pytest.mark.slow
def test_known_operations_are_those_of_new_networks() -> None:
    recipe = load_recipe("third_place")
    known = operations_of(counted_manifest(recipe))
    for position in (0, -1):  # one input and two
        network = recipe.networks[position]
        one_recipe = recipe.model_copy(update={"networks": (network,)})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(operations, "PUBLISHED_OPERATIONS", {})
            counted = operations_of(counted_manifest(one_recipe))
        assert counted == {key: one for key, one in known.items() if key[0] == network.name}
