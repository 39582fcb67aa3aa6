"""Writes `.h5` files as TensorFlow 2.0/2.1 wrote them: `Lambda` layers with bytecode, weights in groups of layers.

In those files the weights of a network inside another stand in one group, trainable ones before the others, under names
like `conv2d_3/kernel:0`; the residual scaling of InceptionResNetV2 is a `Lambda` with its factor in `arguments`.
"""

from __future__ import annotations

import base64
import json
import marshal
from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np


def evil_bytecode(canary: Path) -> str:
    """What a Lambda layer carries, and what it would do: write a file when it is called, or at once if it is unpickled."""
    code = compile(f"open({str(canary)!r}, 'w')", "<evil>", "eval")
    return base64.b64encode(marshal.dumps(code)).decode()


def write_keras2(
    network: keras.Model,
    path: Path,
    canary: Path,
    frozen: Collection[str] = (),
    *,
    lambdas_behind: Collection[str] = (),
) -> None:
    """Write a network as TensorFlow 2.1 would have.

    Parameters
    ----------
    frozen : layers inside a nested network that were not trainable: their weights stand behind the others
    lambdas_behind : nested networks that get a Lambda layer without weights at their end, where they have no scaling layer
    """
    function = [evil_bytecode(canary), None, None]
    with h5py.File(path, "w") as file:
        config = {"class_name": "Model", "config": _network_config(network, function, lambdas_behind)}
        file.attrs["model_config"] = json.dumps(config).encode()
        file.attrs["keras_version"] = b"2.2.4-tf"
        file.attrs["backend"] = b"tensorflow"
        groups = file.create_group("model_weights")
        groups.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        for layer in network.layers:
            _write_group(groups.create_group(layer.name), layer, frozen)


def _network_config(network: keras.Model, function: list[Any], lambdas_behind: Collection[str]) -> dict[str, Any]:
    layers: list[dict[str, Any]] = []
    own = {layer.name: layer for layer in network.layers}
    for config in network.get_config()["layers"]:
        name = config["config"]["name"]
        layer = own.get(name)
        sources = _sources(config.get("inbound_nodes", []))
        if isinstance(network, keras.Sequential) and layers:
            sources = [layers[-1]["name"]]
        if layer is not None and type(layer).__name__ == "CustomScaleLayer":
            entry = _lambda(name, function, {"scale": layer.get_config()["scale"]}, sources)
        else:
            inbound = [[[source, 0, 0, {}] for source in sources]] if sources else []
            entry = {"class_name": config["class_name"], "name": name, "inbound_nodes": inbound}
            entry["config"] = {"name": name, "activation": config["config"].get("activation")}
        if isinstance(layer, keras.Model):
            entry |= {"class_name": "Model", "config": _network_config(layer, function, lambdas_behind)}
            if name in lambdas_behind:
                last = entry["config"]["layers"][-1]["name"]
                entry["config"]["layers"].append(_lambda("scaled", function, {}, [last]))
        layers.append(entry)
    return {
        "name": network.name,
        "layers": layers,
        "input_layers": [[one._keras_history.operation.name, 0, 0] for one in network.inputs],
        "output_layers": [[network.layers[-1].name, 0, 0]],
    }


def _lambda(name: str, function: list[Any], arguments: dict[str, Any], sources: list[str]) -> dict[str, Any]:
    config = {"name": name, "function": function, "function_type": "lambda", "module": "keras", "arguments": arguments}
    return {
        "class_name": "Lambda",
        "name": name,
        "config": config,
        "inbound_nodes": [[[source, 0, 0, {}] for source in sources]],
    }


def _sources(node: Any) -> list[str]:
    if isinstance(node, dict):
        if "keras_history" in node:
            return [node["keras_history"][0]]
        return [name for value in node.values() for name in _sources(value)]
    return [name for value in node for name in _sources(value)] if isinstance(node, list | tuple) else []


def _write_group(group: h5py.Group, layer: keras.Layer, frozen: Collection[str]) -> None:
    leaves = _leaves(layer) if isinstance(layer, keras.Model) else [layer]
    trainable: list[tuple[str, Any]] = []
    others: list[tuple[str, Any]] = []
    for leaf in leaves:
        for variable in leaf.weights:
            is_trainable = leaf.name not in frozen and "moving" not in variable.name
            name = f"{leaf.name}/{variable.name}:0"
            (trainable if is_trainable else others).append((name, np.asarray(variable)))
    group.attrs["weight_names"] = [name.encode() for name, _ in trainable + others]
    for name, values in trainable + others:
        group[name] = values


def _leaves(network: keras.Model) -> list[keras.Layer]:
    leaves = []
    for layer in network.layers:
        leaves += _leaves(layer) if isinstance(layer, keras.Model) else [layer]
    return leaves
