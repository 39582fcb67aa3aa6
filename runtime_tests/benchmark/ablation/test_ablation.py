"""The study's parts; `make ablation-mini` runs the whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmark.ablation.direct_resize import frames_with_direct_resize
from benchmark.ablation.one_seed import seed_folder, stacked_classes
from benchmark.ablation.plan import FULL, MINI, schedule_of
from benchmark.ablation.report import is_clear, is_unlike, markdown, write_report
from benchmark.ablation.steps import NETWORKS, STEPS, recipe_of, step_named
from benchmark.ablation.study import summary
from inference.bundle.manifest import Block, feature_names
from inference.core.errors import UsageError
from inference.core.labels import LABELS
from inference.core.sequences import ImageSize
from inference.dataset.label_tables import Table
from models.stacking.matrix import half_of

STACKED = ("empty", "zebra")


def seed_rows(losses: dict[str, float]) -> dict[str, Any]:
    """What a seed leaves, with these log losses for the steps that are named and 0.02 for the others."""
    rows: dict[str, Any] = {"priors": {"log_loss": 0.032, "empty_log_loss": 0.55}}
    for step in STEPS:
        value = {"log_loss": losses.get(step.number, 0.02), "empty_log_loss": 0.2}
        rows[step.number] = {"S11": value} if step.trained_on_10 else {"S11": value, "S10": value}
    return rows


def figures_of(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    priors = {name: {"mean": value, "spread": 0.0} for name, value in seeds[0]["priors"].items()}
    return {
        "seeds": list(range(len(seeds))),
        "sequences_per_season": 5,
        "priors": priors,
        "steps": summary(seeds),
        "networks": {"v1": {"mean": 0.0145, "spread": 0.002}},
    }


def test_every_published_step_is_there_once_with_its_recipe() -> None:
    assert [step.number for step in STEPS] == ["0", "1", "2", "3", "4", "5 mean", "5", "6", "7", "8", "9"]
    for step in STEPS:
        recipe = recipe_of(step, ImageSize(96, 128), STACKED)
        assert {network.name for network in recipe.networks} == set(step.networks)
        assert set(step.networks) <= NETWORKS.keys()
        assert (recipe.stacking is not None) == bool(step.sets)
        assert step.against is None or step.against in {one.number for one in STEPS}


def test_only_the_last_step_looks_at_neighbours() -> None:
    for step in STEPS:
        recipe = recipe_of(step, ImageSize(96, 128), STACKED)
        blocks = recipe.stacking.blocks if recipe.stacking else ()
        assert (Block.NEIGHBOURS in blocks) == (step.number == "9")
    networks = tuple(one.as_network() for one in recipe.networks)
    assert "neighbours_60s_zebra" in feature_names(recipe.as_ensemble(), networks)


def test_steps_that_learn_from_season_10_are_not_judged_by_it() -> None:
    assert {step.number for step in STEPS if step.trained_on_10} == {"7", "8", "9"}


def test_changes_are_paired_by_seed() -> None:
    """0.030 -> 0.020 and 0.050 -> 0.042: changes -0.010 and -0.008, mean -0.009, standard deviation 0.0014142."""
    rows = summary([seed_rows({"1": 0.030, "2": 0.020}), seed_rows({"1": 0.050, "2": 0.042})])
    step = next(row for row in rows if row["step"] == "2")
    assert step["change"]["of_each_seed"] == pytest.approx([-0.010, -0.008])
    assert step["change"]["mean"] == pytest.approx(-0.009)
    assert step["change"]["spread"] == pytest.approx(0.0014142, abs=1e-6)
    assert step["S11"]["log_loss"]["mean"] == pytest.approx(0.031)


def test_chance_is_not_taken_for_an_effect() -> None:
    """Three seeds: the mean must be 4.303 standard errors from zero (Student's t, 2 degrees of freedom, 95 %)."""
    changes = {
        (-0.004, 0.003, -0.001): False,
        (-0.0030, -0.005, -0.0070): True,  # 4.33 standard errors
        (-0.0029, -0.005, -0.0071): False,  # 4.12
        (-0.005,): False,
    }
    for deltas, expected in changes.items():
        seeds = [seed_rows({"2": 0.02 + delta}) for delta in deltas]
        step = next(row for row in summary(seeds) if row["step"] == "2")
        assert is_clear(step) == expected
        assert is_unlike(step) == (not expected)


def test_a_step_that_did_better_here_than_for_the_author_is_named_too() -> None:
    seeds = [seed_rows({"8": 0.02 + delta}) for delta in (-0.004, -0.005, -0.006)]
    assert "**8, mirror images**: better here." in markdown(figures_of(seeds))


def test_where_every_seed_agrees_with_the_author_it_says_so() -> None:
    """Configuration 3 should go down, step 8 up; the interval of neither leaves out zero."""
    seeds = [
        seed_rows({"3": 0.02 - down, "8": 0.02 + up}) for down, up in ((0.001, 0.0001), (0.01, 0.001), (0.02, 0.002))
    ]
    table = markdown(figures_of(seeds))
    assert "**3, the reference resize**: better with every seed, as for the author (-0.00100 to -0.02000)" in table
    assert "**8, mirror images**: worse with every seed, as for the author (+0.00010 to +0.00200)" in table
    seeds[0]["3"]["S11"]["log_loss"] = 0.0201
    assert "**3, the reference resize**: no change beyond chance." in markdown(figures_of(seeds))


def test_table_and_plot_are_the_same_bytes_for_the_same_figures(tmp_path: Path) -> None:
    figures = figures_of([seed_rows({"2": 0.015}), seed_rows({"2": 0.016})])
    for name in ("a", "b"):
        write_report(figures, tmp_path / name)
    for name in ("ablation.md", "ablation.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    table = (tmp_path / "a" / "ablation.md").read_text()
    assert table.count("\n| ") == len(STEPS) + 3
    assert "| 2 | a larger backbone | 0.01550 (0.00071) |" in table
    assert "| network | v1 |\n|---|---|\n| log loss | 0.01450 (0.00200) |" in table


def test_a_class_is_stacked_if_every_half_shows_it() -> None:
    seq_ids = tuple(f"SER_{season}#B01#1#{k}" for season in ("S9", "S10", "S11") for k in range(200))
    values = np.zeros((600, len(LABELS)))
    values[::2, LABELS.index("empty")] = 1
    values[:200:3, LABELS.index("zebra")] = 1  # never in season 10
    for row, seq_id in enumerate(seq_ids):
        values[row, LABELS.index("buffalo")] = half_of(seq_id) == 0
    assert stacked_classes(Table(seq_ids, values)) == ("empty",)


def test_a_direct_resize_is_one_careless_resize(tmp_path: Path, random: np.random.Generator) -> None:
    photo = random.integers(0, 256, (96, 128, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photo[..., ::-1])
    [frame] = frames_with_direct_resize([tmp_path / "photo.png"], ImageSize(48, 64))
    # Bilinear at half the size: the mean of two by two pixels, in OpenCV's fixed point.
    blocks = photo.reshape(48, 2, 64, 2, 3).astype(float).mean(axis=(1, 3))
    np.testing.assert_allclose((frame + 1) * 127.5, blocks, atol=1.0)
    with pytest.raises(FileNotFoundError):
        frames_with_direct_resize([tmp_path / "nothing.jpg"], ImageSize(48, 64))


def test_frames_with_direct_resize_have_no_info_strip_either(tmp_path: Path) -> None:
    """White from row 540 of 576 on is row 360 of the quarter frame (512 x 384): rows 355 on go black, 532 of the photo."""
    for name, level in (("first", 255), ("second", 90)):
        photo = np.full((576, 768, 3), 90, np.uint8)
        photo[540:] = level
        cv2.imwrite(str(tmp_path / f"{name}.png"), photo)
    frames = frames_with_direct_resize([tmp_path / "first.png", tmp_path / "second.png"], ImageSize(576, 768))
    for frame in frames:  # the first one decides about all
        assert (frame[532:] == -1).all()
        np.testing.assert_allclose((frame[:532] + 1) * 127.5, 90)


def test_a_folder_belongs_to_one_study(tmp_path: Path) -> None:
    folder = seed_folder(tmp_path, FULL, 1)
    assert seed_folder(tmp_path, FULL, 1) == folder
    assert len({folder, seed_folder(tmp_path, MINI, 1), seed_folder(tmp_path, FULL, 2)}) == 3
    with pytest.raises(UsageError, match="differs in plan; choose another folder"):
        seed_folder(tmp_path, replace(FULL, learning_rate=1.0), 1)
    (folder / "plan.json").unlink()
    with pytest.raises(UsageError, match="differs in plan, seed"):
        seed_folder(tmp_path, FULL, 1)


def test_the_two_branch_network_learns_less_and_slower_than_its_branches() -> None:
    by_name = {name: schedule_of(network, FULL).sizes[0] for name, network in NETWORKS.items()}
    assert by_name["two_branch"].epochs == FULL.branch_epochs < FULL.epochs == by_name["background"].epochs
    assert by_name["two_branch"].learning_rate == FULL.branch_learning_rate < by_name["background"].learning_rate
    assert MINI.photo_size.height > 384  # the reference resize must have something to do
    assert step_named("8").flip_tta
