"""Trainings and stackers -> a bundle: what fits, what is refused, networks that only tell empty sequences."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from inference.bundle.manifest import Blend
from inference.core.errors import BundleError
from inference.core.files import sha256_of_file
from inference.core.labels import EMPTY, LABELS, N_CLASSES
from inference.ensemble.aggregation import aggregate, blended
from inference.networks.engine_tensorflow import FrozenNetwork
from inference.records.schema import Record
from models.bundling.build import build_bundle, found_networks
from models.keras_io.architectures import backbone, single_view_network
from models.spec.kinds import EMPTY_CLASSES
from models.spec.recipe import Recipe, load_recipe, manifest_of
from runtime_tests.conftest import SECOND_RECIPE

PUBLISHED_ROWS = ("row4_empty_blend", "row5_mean", "row5_median")


@pytest.fixture
def second() -> Recipe:
    return load_recipe(str(SECOND_RECIPE))


@pytest.fixture
def runs(second_assets: Path, second: Recipe, tmp_path: Path) -> Path:
    """The networks of the second recipe as `hakuna train` leaves them."""
    for network in second.networks:
        folder = tmp_path / "runs" / network.name
        folder.mkdir(parents=True)
        shutil.copy(second_assets / network.file, folder / "network.h5")
        write_report(folder, [(one.view, one.scaling) for one in network.inputs])
    return tmp_path / "runs"


def write_report(folder: Path, inputs: list, classes: str = "all", preprocessing: str = "quarter+jpeg") -> None:
    report = {
        "inputs": [{"view": view, "scaling": scaling} for view, scaling in inputs],
        "classes": classes,
        "fingerprint": {"preprocessing": preprocessing},
    }
    (folder / "training.json").write_text(json.dumps(report))


@pytest.mark.e2e
def test_trainings_and_stackers_become_a_bundle(
    runs: Path, second_assets: Path, second: Recipe, tmp_path: Path
) -> None:
    bare = build_bundle(second, runs, None, tmp_path / "bare")
    whole = build_bundle(second, runs, second_assets, tmp_path / "whole")
    assert not bare.manifest.demo
    assert bare.manifest.ensemble.stacking is None
    assert bare.manifest.feature_names == ()
    assert whole.manifest.feature_names
    assert [one.identity for one in bare.manifest.networks] == [one.identity for one in whole.manifest.networks], (
        "records of the one are records of the other"
    )


def test_networks_from_elsewhere_lie_under_their_file_names(
    second_assets: Path, second: Recipe, tmp_path: Path
) -> None:
    assert build_bundle(second, second_assets, second_assets, tmp_path / "bundle").manifest.name == "second"


def test_networks_of_one_file_name_stay_different_ones(runs: Path, second: Recipe) -> None:
    networks = tuple(network.model_copy(update={"file": "network.h5"}) for network in second.networks)
    found = found_networks(second.model_copy(update={"networks": networks}), runs)
    assert [network.file for network in found] == [f"{network.name}/network.h5" for network in second.networks]


def test_a_recipe_says_which_of_the_sizes_of_a_training_it_takes(runs: Path, second: Recipe, tmp_path: Path) -> None:
    smaller = runs / "large" / "network_48x64.h5"
    (runs / "large" / "network.h5").rename(smaller)
    with pytest.raises(BundleError, match=r"needs 3 networks, got 1 missing: large \(large/network.h5 or \S+.h5\)"):
        build_bundle(second, runs, None, tmp_path / "bundle")
    taken = tuple(
        network.model_copy(update={"trained": "large/network_48x64.h5"} if network.name == "large" else {})
        for network in second.networks
    )
    bundle = build_bundle(second.model_copy(update={"networks": taken}), runs, None, tmp_path / "bundle")
    assert bundle.manifest.provenance.sources["large/network_48x64.h5"].sha256 == sha256_of_file(smaller)


@pytest.mark.parametrize(
    ("inputs", "classes", "preprocessing", "message"),
    [
        (
            [("frame", "symmetric")],
            "all",
            "quarter+jpeg",
            r"network small must be trained with inputs .*'unit'.*, got .*'symmetric'",
        ),
        ([("mean", "unit")], "all", "quarter+jpeg", "network small must be trained with inputs"),
        ([("frame", "unit")], "empty", "quarter+jpeg", "must be trained with classes all, got empty"),
        ([("frame", "unit")], "all", "quarter", r"must be trained with preprocessing quarter\+jpeg, got quarter"),
    ],
)
def test_a_network_that_was_trained_for_something_else_is_refused(
    inputs: list, classes: str, preprocessing: str, message: str, runs: Path, second: Recipe, tmp_path: Path
) -> None:
    write_report(runs / "small", inputs, classes, preprocessing)
    with pytest.raises(BundleError, match=message):
        build_bundle(second, runs, None, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_report_that_is_none_and_missing_files_are_refused(runs: Path, second: Recipe, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"5 files, got 2 missing: boosters/zebra.txt, boosters/empty.txt"):
        build_bundle(second, runs, tmp_path, tmp_path / "bundle")
    for text, problem in (("{}", "KeyError"), ("[" * 100_000, "RecursionError")):
        (runs / "large" / "training.json").write_text(text)
        with pytest.raises(BundleError, match=f"must be the report of a training, got: {problem}"):
            build_bundle(second, runs, None, tmp_path / "bundle")


def small(name: str) -> Recipe:
    """A recipe of the project with small views and the tiny backbone."""
    recipe = load_recipe(name)
    size = {"height": 48, "width": 64}
    networks = tuple(network.model_copy(update={"backbone": "tiny"}) for network in recipe.networks)
    content = recipe.model_copy(update={"networks": networks}).model_dump()
    for network in content["networks"]:
        network["sizes"] = [size]
    return Recipe.model_validate(content)


def test_a_network_that_only_tells_empty_sequences_has_a_say_in_empty_alone(
    tmp_path: Path, random: np.random.Generator
) -> None:
    recipe = small("row4_empty_blend")
    teller = single_view_network(backbone("tiny", "teller"), EMPTY_CLASSES)
    teller.save(tmp_path / "background_empty.h5")
    single_view_network(backbone("tiny", "frames")).save(tmp_path / "insres_480_360.h5")
    bundle = build_bundle(recipe, tmp_path, None, tmp_path / "bundle")
    images = random.uniform(0, 255, (3, 48, 64, 3)).astype(np.float32)
    answers = FrozenNetwork(bundle.path("networks/background"), ("background",))({"background": images})
    np.testing.assert_allclose(answers[:, EMPTY], np.asarray(teller(images / 255))[:, 1], atol=1e-6)
    assert not np.delete(answers, EMPTY, axis=1).any()
    teller.save(tmp_path / "insres_480_360.h5")
    with pytest.raises(BundleError, match="network v1: must have 1 inputs and 54 classes, got 1 and 2"):
        build_bundle(recipe, tmp_path, None, tmp_path / "again")


def records(recipe: Recipe, random: np.random.Generator) -> list[Record]:
    n_sequence = sum(not network.as_network().per_frame for network in recipe.networks)
    return [
        Record(
            f"s{n}",
            random.uniform(0, 1, (n, 1, N_CLASSES)).astype(np.float32),
            random.uniform(0, 1, (n_sequence * (n > 1), N_CLASSES)).astype(np.float32),
            12, 7, (), 0, has_metadata=True,
        )
        for n in (1, 2, 3)
    ]  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED_ROWS)
def test_blends_of_the_published_rows_are_what_a_loop_makes_of_them(name: str, random: np.random.Generator) -> None:
    recipe = small(name)
    manifest = manifest_of(recipe)
    made = records(recipe, random)
    aggregated = aggregate(made, manifest)
    got = blended(aggregated, manifest)
    for row, record in enumerate(made):
        weights = [1.0, 0.8, 0.5][: record.n_frames]
        for c, label in enumerate(LABELS):
            frames = sum(w * float(p) for w, p in zip(weights, record.frame_outputs[:, 0, c], strict=True)) / sum(
                weights
            )
            opinions = [frames, *map(float, record.sequence_outputs[:, c])]
            if record.n_frames == 1 or (name == "row4_empty_blend" and label != "empty"):
                expected = frames
            elif name == "row5_median":
                expected = sorted(opinions)[1]
            else:
                expected = sum(opinions) / len(opinions)
            assert got[row, c] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_array_equal(aggregated.estimate, aggregate(made, manifest).estimate)


def test_a_mean_can_weigh_its_opinions(random: np.random.Generator) -> None:
    recipe = small("row5_mean")
    blend = Blend(networks=("background",), method="mean", classes=("zebra",), weights=(3.0, 1.0))
    recipe = recipe.model_copy(update={"ensemble": recipe.ensemble.model_copy(update={"blends": (blend,)})})
    manifest = manifest_of(recipe)
    made = records(recipe, random)
    aggregated = aggregate(made, manifest)
    zebra = LABELS.index("zebra")
    expected = (3 * aggregated.estimate[1, zebra] + made[1].sequence_outputs[0, zebra]) / 4
    assert blended(aggregated, manifest)[1, zebra] == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("row5_mean", 'networks = ["background"]', 'networks = ["v1"]', "blends.networks: must be among"),
        ("row5_mean", 'method = "mean"', 'method = "mode"', "ensemble.blend 1, method"),
        ("row5_mean", 'method = "mean"', 'method = "mean", weights = [1.0]', "weights: must come with method mean"),
        (
            "row5_mean",
            'method = "mean"',
            'method = "median", weights = [1.0, 1.0]',
            "weights: must come with method mean",
        ),
        ("row4_empty_blend", 'classes = ["empty"]', 'classes = ["zebra"]', "background only has the class empty"),
        ("row4_empty_blend", ', classes = ["empty"]', "", "background only has the class empty"),
        ("row4_empty_blend", 'view = "background"', 'view = "frame"', "must be among"),
        ("row4_empty_blend", 'classes = "empty"', 'classes = "some"', r"network 2 \(background\), classes"),
    ],
)
def test_blends_that_make_no_sense_are_refused(name: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    from models.spec.recipe import RECIPES_FOLDER

    text = (RECIPES_FOLDER / f"{name}.toml").read_text()
    assert old in text
    (tmp_path / "recipe.toml").write_text(text.replace(old, new))
    with pytest.raises(BundleError, match=message):
        load_recipe(str(tmp_path / "recipe.toml"))
