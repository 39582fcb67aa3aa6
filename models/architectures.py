"""The networks of the published ensemble: fully convolutional, one sigmoid a class."""

from __future__ import annotations

import keras

from inference.domain import N_CLASSES

DROPOUT = 0.05
TWO_BRANCH_FILTERS = 1024
TWO_BRANCH_KERNEL = 3
"""REFERENCE.md sections 3.2 and 3.6."""


def backbone(application: str, name: str) -> keras.Model:
    """A network of keras.applications without its top and with random weights, for any height and width.

    InceptionResNetV2: (N, H, W, 3) -> (N, h, w, 1536), h = 10 for H = 384, 9 for 360; about H / 32.
    """
    builder = getattr(keras.applications, application)
    network: keras.Model = builder(include_top=False, weights=None, input_shape=(None, None, 3), name=name)
    return network


def single_view_network(features: keras.Model) -> keras.Model:
    """Frame or background network: features -> what stands out anywhere in the image -> 54 probabilities."""
    images = keras.Input((None, None, 3))
    # (N, H, W, 3) -> (N, h, w, K)
    x = features(images)
    # (N, h, w, K) -> (N, K)
    x = keras.layers.GlobalMaxPooling2D()(x)
    x = keras.layers.Dropout(DROPOUT)(x)
    # (N, K) -> (N, 54)
    return keras.Model(images, keras.layers.Dense(N_CLASSES, activation="sigmoid")(x))


def two_branch_network(background_features: keras.Model, mean_features: keras.Model) -> keras.Model:
    """Background and mean image side by side: the background tells where to look in the mean image."""
    background, mean = keras.Input((None, None, 3)), keras.Input((None, None, 3))
    # 2 x (N, H, W, 3) -> (N, h, w, 2 K)
    x = keras.layers.Concatenate()([background_features(background), mean_features(mean)])
    # (N, h, w, 2 K) -> (N, h - 2, w - 2, 1024)
    x = keras.layers.Conv2D(TWO_BRANCH_FILTERS, TWO_BRANCH_KERNEL, padding="valid")(x)
    # (N, h - 2, w - 2, 1024) -> (N, 1024)
    x = keras.layers.GlobalMaxPooling2D()(x)
    # (N, 1024) -> (N, 54)
    return keras.Model([background, mean], keras.layers.Dense(N_CLASSES, activation="sigmoid")(x))
