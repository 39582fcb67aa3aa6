"""Operations of a pass: counted from graphs, compared with counts made elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.capacity.flops import bundle_operations, frozen_operations, keras_operations, recipe_operations
from inference.bundle.reader import Bundle
from inference.core.errors import BundleError
from inference.core.sequences import ImageSize
from models.spec.recipe import Recipe

SMALL = ImageSize(360, 480)
TINY_PASS = 2 * (90 * 120 * 8 * 7 * 7 * 3 + 23 * 30 * 16 * 7 * 7 * 8 + 16 * 54)
"""By hand: two convolutions, 7x7 at stride 4 with 8 and 16 filters, then 54 classes."""
TINY_BRANCH = 2 * (90 * 120 * 8 * 7 * 7 * 3 + 23 * 30 * 16 * 7 * 7 * 8)
TINY_TWO_BRANCH_PASS = 2 * TINY_BRANCH + 2 * (21 * 28 * 32 * 3 * 3 * 32 + 32 * 54)
"""By hand: two such branches, a 3x3 convolution without padding to as many filters as channels, then 54 classes."""


def test_operations_of_a_frozen_network_are_those_counted_by_hand(tiny_bundle: Bundle) -> None:
    operations = bundle_operations(tiny_bundle)
    assert operations["v1", SMALL] == TINY_PASS
    assert operations["two_branch", SMALL] == TINY_TWO_BRANCH_PASS
    assert len(operations) == 9


def test_a_recipe_has_the_operations_of_its_bundle(tiny_bundle: Bundle, recipe: Recipe) -> None:
    assert recipe_operations(recipe, "tiny") == bundle_operations(tiny_bundle)


def test_depthwise_convolutions_are_counted_by_hand() -> None:
    import keras

    network = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.DepthwiseConv2D(3, padding="valid"),
            keras.layers.Conv2D(6, 1),
        ]
    )
    assert keras_operations(network, ImageSize(10, 12)) == 2 * (8 * 10 * 3 * 9 + 8 * 10 * 6 * 3)


def test_a_network_whose_shapes_do_not_follow_from_its_input_is_refused() -> None:
    import keras
    import tensorflow as tf

    class Unknown(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        def call(self, x: tf.Tensor) -> tf.Tensor:
            return tf.nn.conv2d(tf.compat.v1.placeholder_with_default(x, None), tf.ones((1, 1, 3, 2)), 1, "SAME")

    images = keras.Input((None, None, 3))
    network = keras.Model(images, Unknown()(images))
    with pytest.raises(BundleError, match="must have a shape that follows from the input's"):
        keras_operations(network, ImageSize(4, 4))


def test_a_saved_model_without_the_signature_of_a_network_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(BundleError, match="must have the signature serving_default"):
        frozen_operations(tmp_path, SMALL)


@pytest.mark.slow
def test_operations_of_the_published_backbone_agree_with_an_independent_count() -> None:
    """Counted independently, in GFLOP; InceptionResNetV2 without its top."""
    import keras

    network = keras.applications.InceptionResNetV2(include_top=False, weights=None, input_shape=(None, None, 3))
    for size, giga in ((SMALL, 50.9), (ImageSize(384, 512), 59.4), (ImageSize(299, 299), 26.3)):
        assert keras_operations(network, size) / 1e9 == pytest.approx(giga, rel=0.01)
