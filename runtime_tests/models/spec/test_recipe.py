"""Recipes: an ensemble as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inference.core.errors import BundleError, UsageError
from inference.core.labels import CLASS_PRIORS
from inference.core.sequences import ImageSize
from models.spec.recipe import Recipe, load_recipe
from runtime_tests.conftest import SECOND_RECIPE


def test_the_published_recipe_is_the_published_ensemble(recipe: Recipe) -> None:
    """Those of docs/explanation/published.md."""
    assert [network.file for network in recipe.networks] == [
        "insres_480_360.h5",
        "insres_480_360_v2.h5",
        "insres_512_384_v2.h5",
        "background_insres_all_lr.h5",
        "connected_model.h5",
    ]
    both = [ImageSize(360, 480), ImageSize(384, 512)]
    sizes = [[size.as_image_size() for size in network.sizes] for network in recipe.networks]
    assert sizes == [both, both, both[1:], both, both]
    assert [network.flip_tta for network in recipe.networks] == [True, True, True, False, False]
    assert recipe.ensemble.frame_weights == (1.0, 0.8, 0.5)
    assert recipe.stacking
    assert len(recipe.stacking.classes) == 13
    assert len(recipe.stacking.as_stacking().feature_classes) == 41
    assert recipe.priors == CLASS_PRIORS


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "second"', 'name = "second"\nsurprise = 1', "surprise"),
        ('view = "mean"', 'view = "sky"', "network 2 .*input 1, view"),
        ('scaling = "unit"', 'scaling = "log"', "network 1 .*input 1, scaling"),
        ('name = "large"', 'name = "small"', "different names"),
        ('name = "large"', 'name = "../large"', "network 3 .*name"),
        ('"mean_net", "frame_outputs"', '"nobody"', "stacking.blocks"),
        ('classes = ["zebra", "empty"]', 'classes = ["unicorn"]', "stacking.classes"),
        ("height = 144, width = 192", "height = 0, width = 192", "height"),
        ("height = 144, width = 192", "height = 2147483648, width = 192", "height"),
        ("max_export_difference = 1e-4", "max_export_difference = 0", "max_export_difference"),
        (
            'file = "small.h5"',
            'file = "../small.h5"',
            r"network 1 \(small\), file: must be a plain path .*, got '../small.h5'",
        ),
        ('file = "small.h5"', 'file = "/assets/small.h5"', r"network 1 \(small\), file"),
        ('file = "small.h5"', 'file = "a/../../small.h5"', r"network 1 \(small\), file"),
        ('file = "small.h5"', 'file = ""', r"network 1 \(small\), file"),
        ('file = "small.h5"', 'file = "small.h5"\ntrained = "../small.h5"', r"network 1 \(small\), trained"),
        ('= "boosters"', '= "../boosters"', "stacking.folders"),
        (
            'view = "frame", scaling = "unit" }',
            'view = "frame", scaling = "unit" }, { view = "mean", scaling = "unit" }',
            "one input",
        ),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_with_its_place(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    text = SECOND_RECIPE.read_text()
    assert old in text
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(BundleError, match=message):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("= broken", "must be TOML"),
        (f"a = {'9' * 5000}", "must be TOML"),
        (f"a = {'[' * 100_000}", "must be TOML"),
    ],
)
def test_a_recipe_that_cannot_be_read_is_a_usage_error(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    if content:
        path.write_text(content)
    with pytest.raises(UsageError, match=message):
        load_recipe(str(path))
