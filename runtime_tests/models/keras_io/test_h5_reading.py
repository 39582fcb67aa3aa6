"""Files of weights that a hostile author wrote: links, arrays that lie elsewhere, shapes and configurations without end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from inference.bundle.manifest import Size
from inference.core.errors import BundleError
from inference.core.sequences import View
from models.bundling.import_assets import import_assets
from models.keras_io.architectures import backbone, single_view_network
from models.keras_io.frozen_export import export_frozen, network_errors, traced_network
from models.keras_io.h5_file import load_keras_network, load_network
from models.keras_io.h5_weights import read_keras_file
from models.spec.kinds import Scaling
from models.spec.recipe import InputRecipe, NetworkRecipe, load_recipe
from runtime_tests.conftest import SECOND_RECIPE
from runtime_tests.models.keras2 import write_keras2

HUGE = 1 << 40
LOST = b"a canary: these bytes must never be read"


@pytest.fixture(scope="module")
def source() -> keras.Model:
    return single_view_network(backbone("tiny", "old"))


@pytest.fixture
def weights_alone(source: keras.Model, tmp_path: Path) -> Path:
    """As Keras 2 wrote them; read by our own reader."""
    path = tmp_path / "net.h5"
    write_keras2(source, path, tmp_path / "canary")
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]
    return path


@pytest.fixture
def whole_network(source: keras.Model, tmp_path: Path) -> Path:
    """As Keras 3 writes it; read by Keras."""
    path = tmp_path / "net.h5"
    source.save(path)
    return path


def first_kernel(file: h5py.File) -> tuple[h5py.Group, str]:
    """The group that a layer's weights are named in, and the name of the first."""
    group = file["model_weights/old"]
    return group, os.fsdecode(group.attrs["weight_names"][0])


def replaced(group: h5py.Group, name: str, new: Any) -> None:
    del group[name]
    group[name] = new


def external_link(group: h5py.Group, name: str, elsewhere: Path) -> None:
    with h5py.File(elsewhere.with_suffix(".h5"), "w") as other:
        other["x"] = np.zeros(group[name].shape, np.float32)
    replaced(group, name, h5py.ExternalLink(elsewhere.with_suffix(".h5"), "x"))


def external_storage(group: h5py.Group, name: str, elsewhere: Path) -> None:
    shape = group[name].shape
    elsewhere.write_bytes(LOST * 1000)
    del group[name]
    group.create_dataset(name, shape, np.float32, external=[(str(elsewhere), 0, 4 * int(np.prod(shape)))])


def virtual(group: h5py.Group, name: str, elsewhere: Path) -> None:
    shape = group[name].shape
    with h5py.File(elsewhere.with_suffix(".h5"), "w") as other:
        other["x"] = np.zeros(shape, np.float32)
    layout = h5py.VirtualLayout(shape, np.float32)
    layout[...] = h5py.VirtualSource(str(elsewhere.with_suffix(".h5")), "x", shape=shape)
    del group[name]
    group.create_virtual_dataset(name, layout)


def compressed(group: h5py.Group, name: str, _: Path) -> None:
    shape = group[name].shape
    del group[name]
    group.create_dataset(name, shape, np.float32, np.zeros(shape), compression="gzip")


def of_shape(shape: tuple[int, ...], dtype: Any = np.float32) -> Callable[[h5py.Group, str, Path], None]:
    """Nothing is written into it: its size is but a number in its header."""

    def damage(group: h5py.Group, name: str, _: Path) -> None:
        del group[name]
        group.create_dataset(name, shape, dtype)

    return damage


def soft_loop(group: h5py.Group, name: str, _: Path) -> None:
    replaced(group, name, h5py.SoftLink("loop"))
    group["loop"] = h5py.SoftLink(f"{group.name}/{name}")


def twice(group: h5py.Group, name: str, _: Path) -> None:
    group["again"] = group[name]


def group_in_itself(group: h5py.Group, _name: str, _: Path) -> None:
    group["loop"] = group


def named_twice(group: h5py.Group, name: str, _: Path) -> None:
    group.attrs["weight_names"] = [name.encode()] * 1000


def by_a_detour(group: h5py.Group, name: str, _: Path) -> None:
    group.attrs["weight_names"] = [b"./" * number + name.encode() for number in range(100)]


def type_with_a_name(group: h5py.Group, _name: str, _: Path) -> None:
    group["type"] = np.dtype("f8")


HOSTILE: dict[str, tuple[Callable[[h5py.Group, str, Path], None], str]] = {
    "external link": (external_link, "must be a hard link, got ExternalLink"),
    "soft link": (lambda group, name, _: replaced(group, name, h5py.SoftLink("/")), "must be a hard link, got SoftLink"),
    "soft links that are a loop": (soft_loop, "must be a hard link, got SoftLink"),
    "group in itself": (group_in_itself, "must occur once"),
    "one array under two names": (twice, "must occur once"),
    "external storage": (external_storage, "must be an array of numbers in this file"),
    "virtual dataset": (virtual, "must be an array of numbers in this file"),
    "compressed": (compressed, "must be an array of numbers in this file, in one piece and not compressed"),
    "huge shape": (of_shape((HUGE,)), "all arrays must fit into the [0-9]+ bytes of the file"),
    "larger than the file": (of_shape((1 << 20,)), "all arrays must fit into the [0-9]+ bytes of the file"),
    "texts": (of_shape((3,), "S9"), "must be an array of numbers .* got type"),
    "texts of any length": (of_shape((3,), h5py.string_dtype()), "must be an array of numbers .* got type object"),
    "rows": (of_shape((3,), np.dtype([("a", "f4")])), "must be an array of numbers .* got type"),
    "type with a name": (type_with_a_name, "must be a group or an array, got Datatype"),
    "one weight named often": (named_twice, "weight_names must be different names of members of the group"),
    "one weight by detours": (by_a_detour, "weight_names must be different names of members of the group"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_only_hard_links_and_plain_arrays_are_read(kind: str, weights_alone: Path, tmp_path: Path) -> None:
    damage, message = HOSTILE[kind]
    read_keras_file(weights_alone)
    with h5py.File(weights_alone, "r+") as file:
        damage(*first_kernel(file), tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=message):
        read_keras_file(weights_alone)


@pytest.mark.parametrize("kind", HOSTILE)
def test_keras_does_not_see_such_a_file_either(kind: str, whole_network: Path, tmp_path: Path) -> None:
    damage, message = HOSTILE[kind]
    with h5py.File(whole_network, "r+") as file:
        damage(*first_kernel(file), tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=message):
        load_keras_network(whole_network)


def test_an_import_of_a_file_that_leads_elsewhere_copies_nothing(
    weights_alone: Path, second_assets: Path, tmp_path: Path
) -> None:
    with h5py.File(weights_alone, "r+") as file:
        external_storage(*first_kernel(file), tmp_path / "secret")
    recipe = load_recipe(str(SECOND_RECIPE))
    first = recipe.networks[0].model_copy(update={"file": "net.h5", "backbone": "tiny"})
    for path in second_assets.iterdir():
        (tmp_path / path.name).symlink_to(path)
    one = recipe.model_copy(update={"networks": (first, *recipe.networks[1:])})
    with pytest.raises(BundleError, match=r"net.h5, /model_weights/old/\S+: must be an array of numbers in this file"):
        import_assets(tmp_path, one, tmp_path / "bundle")
    assert not list(tmp_path.glob("*bundle*"))


def changed(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Another configuration: what `change` returns, or what it left."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        new = change(config)
        file.attrs["model_config"] = new if isinstance(new, str) else json.dumps(config)


def head(config: dict[str, Any]) -> dict[str, Any]:
    """Options of the last layer."""
    return config["config"]["layers"][-1]["config"]


def many_layers(config: dict[str, Any]) -> None:
    config["config"]["layers"] += [config["config"]["layers"][-1]] * 5_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: '{"config":' * 100_000, "must hold .*RecursionError"),
        (lambda _: "[" * 17_000_000, "must have a configuration of at most 16777216 characters, got 17000000"),
        (many_layers, "must have at most 5000 layers, got 50"),
    ],
)
def test_a_configuration_without_end_is_refused(
    change: Callable[[dict[str, Any]], Any], message: str, whole_network: Path
) -> None:
    changed(whole_network, change)
    for read in (load_keras_network, read_keras_file):
        with pytest.raises(BundleError, match=message):
            read(whole_network)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (HUGE, "must hold the weights that its layers need, got a file of [0-9]+ bytes"),
        (10**400, "must hold the weights that its layers need, got a file of [0-9]+ bytes"),
        (50_000, "must hold the weights that its layers need, got a file of [0-9]+ bytes"),
        (-5, "must hold a whole Keras network"),
        ("many", "must hold a whole Keras network"),
    ],
)
def test_layers_for_which_the_file_has_no_weights_take_no_memory(
    units: object, message: str, whole_network: Path
) -> None:
    changed(whole_network, lambda config: head(config).update(units=units))
    with pytest.raises(BundleError, match=message):
        load_keras_network(whole_network)
    with keras.StatelessScope():
        pass  # at its end Keras gives a value to every variable that still has none


RECIPE = NetworkRecipe(
    name="net",
    file="net.h5",
    inputs=(InputRecipe(view=View.FRAME, scaling=Scaling.UNIT),),
    sizes=(Size(height=48, width=64),),
    flip_tta=False,
)


@pytest.mark.parametrize(
    ("padding", "kernel", "message"),
    [
        (1_000_000, 3, "layer .* at 48x64: must give at most 268,435,456 numbers for 3 images, got"),
        (0, 400, "must give an answer at the sizes of the recipe, got: "),
    ],
)
def test_answers_that_are_too_large_or_none_are_refused_before_they_are_computed(
    padding: int, kernel: int, message: str, tmp_path: Path
) -> None:
    layers = keras.layers
    network = keras.Sequential([
        keras.Input((None, None, 3)), layers.ZeroPadding2D(padding), layers.MaxPooling2D(kernel, strides=1), layers.GlobalMaxPooling2D(),
        layers.Dense(54, "sigmoid"),
    ])  # fmt: skip
    network.save(tmp_path / "net.h5")
    with pytest.raises(BundleError, match=message), network_errors(RECIPE):
        export_frozen(traced_network(load_network(tmp_path / "net.h5", RECIPE), RECIPE), RECIPE, tmp_path / "frozen")
    assert not (tmp_path / "frozen").exists()
