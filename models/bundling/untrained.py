"""Untrained networks and stackers under a recipe's file names, for running, timing and testing a whole ensemble.

Their predictions scatter around the class priors and have no meaning; bundles made of them are marked as demos.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import lightgbm
import numpy as np
import numpy.typing as npt

from inference.bundle.booster_check import booster_path
from inference.bundle.manifest import SAVED_MODEL_NAME, Network
from inference.bundle.reader import Bundle, open_bundle
from inference.core.files import output_errors
from inference.core.labels import CLASS_PRIORS, EMPTY, LABELS
from models.bundling.import_assets import SIDE_BY_SIDE, run_in_child, write_manifest
from models.bundling.openvino_files import write_openvino
from models.keras_io.architectures import TINY
from models.keras_io.frozen_export import export_frozen, traced_network
from models.keras_io.h5_file import rebuilt_network, save_network
from models.spec.kinds import EMPTY_CLASSES
from models.spec.recipe import NetworkRecipe, Recipe, manifest_of

PRIOR_FLOOR = 1e-4
"""Rarer classes start here: otherwise their logit would mask the network's contribution."""
BOOSTER_ROWS = 400
BOOSTER_ROUNDS = 5
BOOSTER_LEAVES = 4
HEAD_SPREAD = 1.0
"""Standard deviation of an untrained network's contribution to the logit of a prior."""


def write_untrained_assets(folder: Path, recipe: Recipe, seed: int, application: str = TINY) -> None:
    """Write every file named in the recipe, reproducibly.

    `application` is the backbone: the project's tiny one, or any name in keras.applications. Raises OutputError.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for position, network in enumerate(recipe.networks):
        keras.utils.set_random_seed(seed + position)
        save_network(untrained_network(network, application), folder / network.file)
        keras.backend.clear_session()
    folders = recipe.stacking.folders if recipe.stacking else {}
    for set_name, label, text in _untrained_boosters(recipe, seed):
        _write(folder / folders[set_name] / f"{label}.txt", text)


def untrained_bundle(out: Path, recipe: Recipe, seed: int, application: str = TINY) -> Bundle:
    """A bundle of such networks in the new folder `out`, in a fraction of the time of importing their files.

    Networks with the same inputs, classes and sizes have the same weights. Large ones are made side by side.
    """
    kinds = {(one.inputs, one.classes, one.sizes): one for one in recipe.networks}

    def make(kind: Any) -> tuple[int, ...]:
        given = (out, kinds[kind], seed, application)
        return _write_untrained(*given) if application == TINY else run_in_child(out, _write_untrained, *given)

    with ThreadPoolExecutor(1 if application == TINY else SIDE_BY_SIDE) as threads:
        operations = dict(zip(kinds, threads.map(make, kinds), strict=True))
    networks = []
    for network in recipe.networks:
        kind = (network.inputs, network.classes, network.sizes)
        one, same = (
            each.as_network(f"{application} {seed}", operations=operations[kind]) for each in (network, kinds[kind])
        )
        networks.append(one)
        for source, copied in zip(_files(same), _files(one), strict=True):
            if source != copied and (out / source).exists():
                with output_errors(out / copied):
                    (out / copied).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(out / source, out / copied)
    for set_name, label, text in _untrained_boosters(recipe, seed):
        _write(out / booster_path(set_name, label), text)
    write_manifest(recipe, tuple(networks), {}, out, demo=True)
    return open_bundle(out)


def _files(network: Network) -> tuple[str, ...]:
    return f"{network.folder}/{SAVED_MODEL_NAME}", *network.openvino_files


def _write_untrained(out: Path, recipe: NetworkRecipe, seed: int, application: str) -> tuple[int, ...]:
    """Write the files of a frozen untrained network; returns its operations."""
    network = recipe.as_network()
    keras.utils.set_random_seed(seed)
    traced = traced_network(untrained_network(recipe, application), recipe)
    operations = export_frozen(traced, recipe, out / network.folder)
    write_openvino(out / network.folder, out / network.openvino_files[0])
    keras.backend.clear_session()
    return operations


def _write(path: Path, text: str) -> None:
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _untrained_boosters(recipe: Recipe, seed: int) -> Iterator[tuple[str, str, str]]:
    """The set, class and text of every booster of a recipe."""
    if recipe.stacking is None:
        return
    names = manifest_of(recipe).feature_names
    random = np.random.default_rng(seed)
    features = random.uniform(0, 1, (BOOSTER_ROWS, len(names))) ** 4
    for set_name in recipe.stacking.folders:
        for label in recipe.stacking.classes:
            booster = _untrained_booster(features, names, CLASS_PRIORS[label], random)
            yield set_name, label, booster.model_to_string()


def untrained_network(recipe: NetworkRecipe, application: str = TINY) -> keras.Model:
    """A network for the recipe's inputs with random weights, whose outputs scatter around the priors."""
    network = rebuilt_network(recipe, application)
    # The last layer is scaled so that its outputs for a noisy image are close to the priors.
    head = network.layers[-1]
    features = keras.Model(network.inputs, head.input)
    random = np.random.default_rng(0)
    noise = [random.uniform(-1, 1, (1, 360, 480, 3)).astype(np.float32) for _ in network.inputs]
    activations = np.asarray(features(noise))[0]
    kernel, _ = head.get_weights()
    spread = float(np.std(activations @ kernel)) or 1.0
    kernel *= HEAD_SPREAD / spread
    empty = CLASS_PRIORS[LABELS[EMPTY]]
    shares = [1 - empty, empty] if kernel.shape[1] == EMPTY_CLASSES else [CLASS_PRIORS[label] for label in LABELS]
    priors = np.maximum(shares, PRIOR_FLOOR)
    head.set_weights([kernel, np.log(priors / (1 - priors)) - activations @ kernel])
    return network


def _untrained_booster(
    features: npt.NDArray[np.float64], names: tuple[str, ...], prior: float, random: np.random.Generator
) -> lightgbm.Booster:
    """A booster whose outputs scatter around a prior."""
    target = random.random(len(features)) < prior
    target[0], target[1] = True, False  # LightGBM needs both
    settings = {
        "objective": "binary",
        "num_leaves": BOOSTER_LEAVES,
        "learning_rate": 0.1,
        "seed": 1,
        "deterministic": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    dataset = lightgbm.Dataset(features, target.astype(np.float64), feature_name=list(names))
    return lightgbm.train(settings, dataset, num_boost_round=BOOSTER_ROUNDS)
