"""Batch normalisation folded into convolutions: the same function with fewer steps."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from models.keras_io.batch_norm_folding import fold_batch_norms


def frozen_graph(network: keras.Model) -> Any:
    spec = tf.TensorSpec([None, None, None, 3], tf.float32, name="images")
    function = tf.function(lambda images: network(images, training=False))
    return convert_variables_to_constants_v2(function.get_concrete_function(spec))


def run(frozen: Any, graph: Any, images: Any) -> Any:
    with tf.Graph().as_default() as empty:
        tf.graph_util.import_graph_def(graph, name="")
        with tf.compat.v1.Session(graph=empty) as session:
            return session.run(frozen.outputs[0].name, {frozen.inputs[0].name: images})


def folded_graph(frozen: Any) -> tuple[Any, int]:
    graph = frozen.graph.as_graph_def()
    return graph, fold_batch_norms(graph, frozen.outputs[0].op.name)


def randomise(network: keras.Model, seed: int) -> None:
    random = np.random.default_rng(seed)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.2, 3, weight.shape) for weight in layer.get_weights()])
        elif isinstance(layer, keras.layers.Conv2D) and layer.use_bias:  # Keras begins with zeros
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, random.uniform(-2, 2, bias.shape)])


@pytest.mark.parametrize("has_scale", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_folded_network_is_the_same_function_without_normalisation(has_scale: bool, has_bias: bool) -> None:
    images = keras.Input((None, None, 3))
    hidden = keras.layers.Conv2D(7, 3, strides=2, use_bias=False)(images)
    hidden = keras.layers.BatchNormalization(scale=has_scale)(hidden)
    hidden = keras.layers.ReLU()(hidden)
    hidden = keras.layers.Conv2D(5, 1, use_bias=has_bias)(hidden)
    network = keras.Model(images, keras.layers.BatchNormalization()(hidden))
    randomise(network, seed=3)
    frozen = frozen_graph(network)
    folded, n_folded = folded_graph(frozen)
    assert n_folded == 2
    remaining = [node.op for node in folded.node]
    assert "Mul" not in remaining
    assert remaining.count("Conv2D") == remaining.count("BiasAdd") == 2
    pixels = np.random.default_rng(4).uniform(0, 1, (2, 17, 12, 3)).astype(np.float32)
    np.testing.assert_allclose(run(frozen, folded, pixels), network(pixels).numpy(), rtol=1e-5, atol=1e-5)


def test_a_convolution_that_somebody_else_reads_is_left_alone() -> None:
    images = keras.Input((None, None, 3))
    hidden = keras.layers.Conv2D(4, 3, use_bias=False)(images)
    both = keras.layers.Add()([hidden, keras.layers.BatchNormalization()(hidden)])
    network = keras.Model(images, both)
    randomise(network, seed=5)
    frozen = frozen_graph(network)
    folded, n_folded = folded_graph(frozen)
    assert n_folded == 0
    pixels = np.random.default_rng(4).uniform(0, 1, (1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(run(frozen, folded, pixels), run(frozen, frozen.graph.as_graph_def(), pixels))


def test_folding_multiplies_in_float64() -> None:
    # Expected values from NumPy in float64; in float32 the product w * s would be rounded twice.
    images = keras.Input((None, None, 3))
    hidden = keras.layers.Conv2D(6, 1, use_bias=False)(images)
    network = keras.Model(images, keras.layers.BatchNormalization(epsilon=1e-3)(hidden))
    randomise(network, seed=6)
    kernel = network.layers[1].get_weights()[0].astype(np.float64)
    gamma, beta, mean, variance = (weight.astype(np.float64) for weight in network.layers[2].get_weights())
    factor = gamma / np.sqrt(variance + np.float64(np.float32(1e-3)))
    folded, _ = folded_graph(frozen_graph(network))
    values = {
        node.name.rpartition("/")[2]: tf.make_ndarray(node.attr["value"].tensor)
        for node in folded.node
        if "/folded_" in node.name
    }
    # One unit in the last place: the order of the float64 operations is free.
    np.testing.assert_array_max_ulp(values["folded_kernel"], (kernel * factor).astype(np.float32), 1)
    np.testing.assert_array_max_ulp(values["folded_bias"], (beta - mean * factor).astype(np.float32), 1)
    assert np.mean(values["folded_kernel"] == (kernel * factor).astype(np.float32)) > 0.9
