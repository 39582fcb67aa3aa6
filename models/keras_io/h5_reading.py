"""Reads untrusted `.h5` files: groups, hard links and plain arrays of numbers in this file, each once.

HDF5 allows more: links and arrays in other files, arrays larger than the file, groups that contain themselves. Files of
Keras need none of these.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import h5py

from inference.core.errors import BundleError, HakunaError
from inference.core.files import is_plain_path

LARGEST_CONFIG = 16 << 20
"""Characters. InceptionResNetV2 has a million."""
MOST_LAYERS = 5_000
"""The two-branch network on InceptionResNetV2 has 1,565. Sorting time grows with the square of their number."""
MOST_OBJECTS = 100_000
"""Groups and arrays. The same network has 8,000."""
CONTAINERS = frozenset({"Functional", "Model", "Sequential"})
"""Networks used as a layer of another network."""


@contextmanager
def opened_h5(path: Path, wanted: str) -> Iterator[h5py.File]:
    """Open a file for reading, after checking its structure.

    Raises
    ------
    BundleError
        The structure is not allowed, or reading failed otherwise; the message then names `wanted`.
    """
    try:
        with h5py.File(path, "r") as file:
            _check_tree(path, file)
            yield file
    except HakunaError:
        raise
    except OSError as error:
        raise BundleError(f"{path}: must be a readable HDF5 file, got: {error}") from error
    except Exception as error:  # libraries can raise anything on untrusted files
        raise BundleError(f"{path}: must hold {wanted}, got: {error!r}") from error


def _check_tree(path: Path, file: h5py.File) -> None:
    n_bytes, seen, waiting = path.stat().st_size, set[int](), [file["/"]]
    n_bytes_left = n_bytes
    while waiting:
        node = waiting.pop()
        address = h5py.h5o.get_info(node.id).addr
        if address in seen or len(seen) == MOST_OBJECTS:
            raise BundleError(f"{path}, {node.name}: must occur once, with at most {MOST_OBJECTS:,} others")
        seen.add(address)
        for name in node.attrs:
            attribute = node.attrs.get_id(name)
            if math.prod(attribute.shape or ()) * attribute.dtype.itemsize > n_bytes:
                raise BundleError(
                    f"{path}, {node.name}: attribute {name} must fit into the {n_bytes} bytes of the file"
                )
        if isinstance(node, h5py.Dataset):
            n_bytes_left -= _checked_bytes(path, node)
            if n_bytes_left < 0:
                raise BundleError(f"{path}, {node.name}: all arrays must fit into the {n_bytes} bytes of the file")
        else:
            waiting += _checked_children(path, node)


def _checked_bytes(path: Path, node: h5py.Dataset) -> int:
    """Size of an array. Raises BundleError unless it is in this file, contiguous, and numeric."""
    properties = node.id.get_create_plist()
    is_in_one_piece = properties.get_layout() in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS)
    if not is_in_one_piece or properties.get_external_count() or node.shape is None or node.dtype.kind not in "fiu":
        raise BundleError(
            f"{path}, {node.name}: must be an array of numbers in this file, in one piece and not compressed, "
            f"got type {node.dtype}; save the network again with Keras"
        )
    return int(node.nbytes)


def _checked_children(path: Path, node: h5py.Group) -> list[Any]:
    """The members of a group. Raises BundleError for links other than hard links, and for names that lead elsewhere."""
    if not isinstance(node, h5py.Group):
        raise BundleError(f"{path}, {node.name}: must be a group or an array, got {type(node).__name__}")
    for attribute in ("layer_names", "weight_names"):
        names = names_of(node, attribute)
        if len(set(names)) < len(names) or not all(map(is_plain_path, names)):
            raise BundleError(f"{path}, {node.name}: {attribute} must be different names of members of the group")
    for name in node:
        link = node.get(name, getlink=True) if "/" not in name else None
        if not isinstance(link, h5py.HardLink):
            raise BundleError(f"{path}, {node.name}: {name!r} must be a hard link, got {type(link).__name__}")
    return [node[name] for name in node]


def names_of(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names; long ones are split into `attribute0`, `attribute1` ..."""
    parts = takewhile(group.attrs.__contains__, (f"{attribute}{number}" for number in count()))
    return [
        text_of(name) for part in ([attribute] if attribute in group.attrs else parts) for name in group.attrs[part]
    ]


def text_of(value: Any) -> str:
    """A text from h5py, as str: Keras 2 wrote bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def read_config(path: Path, file: h5py.File) -> dict[str, Any] | None:
    """The configuration of a whole network; None for weights alone.

    Raises
    ------
    BundleError
        It is longer, or has more layers, than any network of this project.
    KeyError, TypeError, ValueError, RecursionError
        It is not a configuration; see `opened_h5`.
    """
    if "model_config" not in file.attrs:
        return None
    text = file.attrs["model_config"]
    if len(text) > LARGEST_CONFIG:
        raise BundleError(f"{path}: must have a configuration of at most {LARGEST_CONFIG} characters, got {len(text)}")
    config: dict[str, Any] = json.loads(text)
    n_layers = sum(1 for _ in leaf_configs(config["config"]))
    if n_layers > MOST_LAYERS:
        raise BundleError(f"{path}: must have at most {MOST_LAYERS} layers, got {n_layers}")
    return config


def leaf_configs(network: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The configurations of a network's layers, with nested networks expanded in place."""
    for layer in network["layers"]:
        if layer["class_name"] in CONTAINERS:
            yield from leaf_configs(layer["config"])
        else:
            yield layer
