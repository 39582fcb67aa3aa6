"""A Keras `.h5` file -> the network in it, without ever running code that the file brings along."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import keras

from inference.domain import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALLOWED_LAYERS = frozenset(
    {
        "Activation",
        "Add",
        "AveragePooling2D",
        "BatchNormalization",
        "Concatenate",
        "Conv2D",
        "CustomScaleLayer",  # InceptionResNetV2's residual scaling in keras.applications
        "Dense",
        "DepthwiseConv2D",
        "Dropout",
        "GlobalAveragePooling2D",
        "GlobalMaxPooling2D",
        "InputLayer",
        "MaxPooling2D",
        "Multiply",
        "ReLU",
        "SeparableConv2D",
        "ZeroPadding2D",
        # Containers: a network may be used as a layer of another.
        "Functional",
        "Model",
        "Sequential",
    }
)
"""Layers that only do arithmetic. Anything else could name code: a file is a program (RELIABILITY.md "Models")."""
CONTAINERS = frozenset({"Functional", "Model", "Sequential"})
SAFE_MODULES = ("keras", "keras.layers", "keras.models", "keras.src.models", "keras.src.applications")


def load_keras_network(path: Path) -> keras.Model:
    """Load a network from an `.h5` file of Keras 3.

    Raises
    ------
    BundleError
        The file is no Keras network, or holds a layer that is not on the list of plain arithmetic, `Lambda` above all.
    """
    config = _model_config(path)
    try:
        _refuse_unknown_layers(path, config)
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path}: must hold a whole Keras network, got one without {error}") from error
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer  # noqa: PLC0415  # no public name

    try:
        return keras.models.load_model(path, compile=False, custom_objects={"CustomScaleLayer": CustomScaleLayer})
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise BundleError(f"{path}: must be a Keras network, got: {type(error).__name__}: {error}") from error


def _model_config(path: Path) -> dict[str, Any]:
    try:
        with h5py.File(path, "r") as file:
            config: dict[str, Any] = json.loads(file.attrs["model_config"])
    except OSError as error:
        raise BundleError(f"{path}: must be a readable HDF5 file, got: {error}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise BundleError(
            f"{path}: must hold a whole Keras network (attribute model_config), got: {error!r}"
        ) from error
    return config


def _refuse_unknown_layers(path: Path, config: dict[str, Any]) -> None:
    for where, node in _objects(config, "network"):
        layer = node["class_name"]
        if layer == "Lambda":
            raise BundleError(
                f"{path}, {where}: Lambda layers carry Python bytecode, which is never executed; "
                "rebuild the architecture and load the weights into it"
            )
        module = node.get("module") or "keras"
        if not (module in SAFE_MODULES or module.startswith(tuple(f"{name}." for name in SAFE_MODULES))):
            raise BundleError(f"{path}, {where}: must come from Keras, got module {module!r}")
    for where, layer in _layers(config, "network"):
        if layer not in ALLOWED_LAYERS:
            raise BundleError(f"{path}, {where}: must be a layer of plain arithmetic, got {layer!r}")


def _objects(node: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every serialized object (anything with a class name) below a configuration."""
    if isinstance(node, dict):
        if isinstance(node.get("class_name"), str):
            where = f"{where}/{node.get('name') or node['class_name']}"
            yield where, node
        for value in node.values():
            yield from _objects(value, where)
    elif isinstance(node, list):
        for value in node:
            yield from _objects(value, where)


def _layers(network: dict[str, Any], where: str) -> Iterator[tuple[str, str]]:
    """Class names of the layers, those of nested networks too."""
    yield where, network["class_name"]
    if network["class_name"] in CONTAINERS:
        for layer in network["config"]["layers"]:
            yield from _layers(layer, f"{where}/{layer.get('name') or layer['config'].get('name')}")
