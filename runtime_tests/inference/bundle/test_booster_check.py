"""LightGBM texts: every real one is accepted, every damaged one refused or harmless; nothing here can kill the parent."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from inference.bundle.booster_check import check_booster_text, feature_names_of, text_of_trees
from inference.core.errors import BundleError
from runtime_tests.damage import KINDS, PREDICT_MANY, mutated, with_tree_sizes

N_FEATURES = 5
SETTINGS = {"objective": "binary", "num_leaves": 8, "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 1, "seed": 1}


def features(n: int = 400) -> np.ndarray:
    random = np.random.default_rng(20191216)
    values = random.uniform(0, 1, (n, N_FEATURES))
    values[:, 1] = np.where(random.random(n) < 0.3, np.nan, values[:, 1])
    values[:, 2] = random.integers(0, 4, n)
    return values


def train(n_rounds: int = 6, categorical: tuple[int, ...] = (), **settings: Any) -> bytes:
    """A booster fresh from LightGBM, as it is written to a file."""
    values = features()
    target = (values[:, 0] + 0.2 * (values[:, 2] % 2) > 0.6).astype(float)
    if settings.get("objective") == "multiclass":
        target = values[:, 2]
    data = lightgbm.Dataset(values, target, categorical_feature=list(categorical))
    return lightgbm.train(SETTINGS | settings, data, n_rounds).model_to_string().encode()


@pytest.fixture(scope="module")
def good() -> bytes:
    """A booster of 6 trees with 8 leaves."""
    return train()


REAL = {
    "plain": {},
    "one leaf a tree": {"min_data_in_leaf": 400},
    "two leaves a tree": {"num_leaves": 2},
    "one tree": {"n_rounds": 1},
    "random forest": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    "dart": {"boosting": "dart"},
    "cross entropy": {"objective": "cross_entropy"},
    "other sigmoid": {"sigmoid": 0.35},
    "monotone": {"monotone_constraints": [1, 0, 0, 0, -1]},
    "zero as missing": {"zero_as_missing": True},
    "no missing values": {"use_missing": False},
    "extra trees": {"extra_trees": True, "learning_rate": 1e-9},
    "quantised": {"use_quantized_grad": True},
}


@pytest.mark.parametrize("settings", REAL.values(), ids=REAL.keys())
def test_what_lightgbm_writes_is_accepted_and_its_trees_alone_answer_the_same(settings: dict[str, Any]) -> None:
    data = train(**settings)
    check_booster_text("booster.txt", data)
    assert feature_names_of(data) == [f"Column_{i}" for i in range(N_FEATURES)]
    whole, trees = lightgbm.Booster(model_str=data.decode()), lightgbm.Booster(model_str=text_of_trees(data))
    np.testing.assert_array_equal(trees.predict(features()), whole.predict(features()))
    again = whole.model_to_string().encode()
    check_booster_text("saved again", again)


@pytest.mark.parametrize("set_name", ["sensitive", "smooth"])
def test_the_boosters_of_the_reference_case_are_accepted(set_name: str, reference_case: Path) -> None:
    paths = sorted((reference_case / set_name / "assets").glob("lgbs_*/*.txt"))
    assert len(paths) == 26
    for path in paths:
        check_booster_text(str(path), path.read_bytes())


def test_a_booster_of_2019_is_accepted(good: bytes) -> None:
    """LightGBM 2.3 wrote no `is_linear`, fewer weights, and version v3."""
    trees = re.sub(
        rb"is_linear=0\n|internal_weight=.*\n|leaf_weight=.*\n", b"", good.replace(b"version=v4", b"version=v3")
    )
    check_booster_text("old.txt", with_tree_sizes(trees))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"linear_tree": True}, "is_linear must be 0: a leaf must be a number, not a linear model, got b'1'"),
        (
            {"categorical": (2,), "min_data_per_group": 5, "cat_smooth": 0.1, "cat_l2": 0.1},
            "num_cat must be 0: the features of a bundle are numbers, not categories, got",
        ),
        ({"objective": "multiclass", "num_class": 4}, "line 3: num_class must match 1, got b'4'"),
        ({"objective": "regression"}, "objective must match binary sigmoid:.*, got b'regression'"),
    ],
)
def test_boosters_that_are_no_stackers_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        check_booster_text("booster.txt", train(**settings))


def line_of(key: bytes, value: bytes) -> Callable[[bytes], bytes]:
    """Write another value into the first line with a key, and sizes that fit."""
    return lambda data: with_tree_sizes(re.sub(rb"(?m)^" + key + rb"=.*$", key + b"=" + value, data, count=1))


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new, 1)


DAMAGE: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda _: b"", "line 1: must be a LightGBM model text, which starts with 'tree', got b''"),
    (replaced(b"tree\n", b"bush\n"), "starts with 'tree', got b'bush"),
    (replaced(b"\n", b"\r\n"), "lines must end with a newline only|starts with 'tree'"),
    (replaced(b"Column_1", b"Column\0"), "line 8: lines must end with a newline only, got b'\\\\x00'"),
    (lambda data: data[: data.index(b"Tree=0")], "must hold trees, got no line Tree=0"),
    (replaced(b"version=v4", b"version=v9"), r"line 2: version must match v\[234\], got b'v9'"),
    (replaced(b"version=v4\n", b""), "line 1: must have a line version="),
    (
        replaced(b"label_index=0", b"label_index=0\nlabel_index=0"),
        "line 6: must be a line of .* once, got b'label_index=0'",
    ),
    (replaced(b"label_index=0", b"surprise=1"), "must be a line of a LightGBM header, each once, got b'surprise=1'"),
    (replaced(b"max_feature_idx=4", b"max_feature_idx=5"), r"line 8: feature_names must have .* = 6 entries, got 5"),
    (replaced(b"feature_infos=", b"feature_infos=none "), "line 9: feature_infos must have .* = 5 entries, got 6"),
    (replaced(b"Column_4", b"Column\xff4"), "line 8: must be UTF-8"),
    (replaced(b"sigmoid:1", b"sigmoid:x"), "objective must match"),
    (lambda data: re.sub(rb"(tree_sizes=\d+ \d+) .*", rb"\1", data), "over 2 trees to 'end of trees', got b'Tree=2"),
    (lambda data: re.sub(rb"tree_sizes=\d+", b"tree_sizes=7", data), "tree_sizes must lead to a line Tree=1, got"),
    (lambda data: data[: data.index(b"end of trees") - 1], "tree_sizes must lead over 6 trees to 'end of trees'"),
    (replaced(b"\nend of trees\n", b"\nend of bushes\n"), "to 'end of trees', got b'end of bushes"),
    (replaced(b"Tree=3\n", b"Tree=4\n"), "tree_sizes must lead to a line Tree=3, got b'Tree=4"),
    (lambda data: with_tree_sizes(data.replace(b"num_cat=0\n", b"", 1)), r"\(tree 0\): num_cat must be 0: .*, got b''"),
    (
        lambda data: with_tree_sizes(data.replace(b"shrinkage=1\n", b"shrinkage\n", 1)),
        r"must be known lines.* got b'shrinkage'",
    ),
    (
        lambda data: with_tree_sizes(data.replace(b"shrinkage=1\n", b"evil=0\n", 1)),
        "must be known lines.* got b'evil=0'",
    ),
    (
        lambda data: with_tree_sizes(data.replace(b"num_cat=0\n", b"num_cat=0\nnum_cat=0\n", 1)),
        "must be known lines, each once, then empty ones, got b'num_cat=0'",
    ),
    (
        lambda data: with_tree_sizes(data.replace(b"shrinkage=1\n\n", b"shrinkage=1\n\nmore\n", 1)),
        r"line 12 \(tree 0\): must be known lines, each once, then empty ones, got b'more'",
    ),
    (line_of(b"num_leaves", b"0"), r"line 13 \(tree 0\): num_leaves must be at least 1, got b'0'"),
    (line_of(b"num_leaves", b"-8"), "num_leaves must be at least 1, got b'-8'"),
    (line_of(b"num_leaves", b"999999999"), r"split_feature must have 999999998 values for 999999999 leaves, got 7"),
    (line_of(b"num_leaves", b"1"), "split_feature must have 0 values for 1 leaves, got 7"),
    (line_of(b"split_feature", b"0 0 0 0 0 0"), "split_feature must have 7 values for 8 leaves, got 6"),
    (line_of(b"split_feature", b"0 0 0 0 0 0 5"), "split_feature must be 0 to 4, got 5"),
    (line_of(b"split_feature", b"0 0 0 0 0 0 -1"), "split_feature must be 0 to 4, got -1"),
    (line_of(b"split_feature", b"0 0 0 0 0 0 99999999999999999999999"), "split_feature must be 0 to 4, got"),
    (line_of(b"split_feature", b"0 0 0 0 0 0 x"), "split_feature must be whole numbers, got b'0 0 0 0 0 0 x'"),
    (line_of(b"split_feature", b"0 0 0 0 0  0"), "split_feature must be whole numbers, got"),
    (line_of(b"split_feature", b"0 0 0 0 0 0 -"), "split_feature must be whole numbers, got"),
    (line_of(b"split_feature", b"0 0 0 0 0 0-1 0"), "split_feature must be whole numbers, got"),
    (line_of(b"split_feature", b"0 0 0 0 0 0-1"), "split_feature must have 7 values for 8 leaves, got 6"),
    (line_of(b"decision_type", b"2 2 2 2 2 2 3"), r"decision_type must be one of \(0, 2, 4, 6, 8, 10\), got 3"),
    (line_of(b"threshold", b"0 0 0 0 0 0 nan"), r"line 17 \(tree 0\): threshold must be finite numbers, got b'0 0 0"),
    (line_of(b"threshold", b"0 0 0 0 0 0 1e999"), "threshold must be finite numbers, got"),
    (line_of(b"threshold", b"0 0 0 0 0 0 1.2.3"), "threshold must be finite numbers, got"),
    (line_of(b"leaf_value", b"0 0 0 0 0 0 0 inf"), "leaf_value must be finite numbers, got"),
    (line_of(b"leaf_value", b"0 0 0 0 0 0  0"), "leaf_value must be finite numbers, got"),
    (line_of(b"split_gain", b"0 0 0 0 0 0 ?"), "split_gain must be numbers, got b'0 0 0 0 0 0 [?]'"),
    (line_of(b"leaf_count", b"1 1"), "leaf_count must have 8 values for 8 leaves, got 2"),
    (line_of(b"shrinkage", b"fast"), "shrinkage must be a finite number, got b'fast'"),
    (line_of(b"shrinkage", b""), "shrinkage must be a finite number, got b''"),
    (line_of(b"left_child", b"1 2 3 4 5 6 -9"), r"left_child must be 1 to 6 or -8 to -1, got -9"),
    (line_of(b"left_child", b"1 2 3 4 5 6 7"), r"left_child must be 1 to 6 or -8 to -1, got 7"),
    (line_of(b"right_child", b"0 -2 -3 -4 -5 -6 -7"), r"right_child must be 1 to 6 or -8 to -1, got 0"),
    (line_of(b"left_child", b"1 1 1 1 1 1 1"), "left_child and right_child must make one tree"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damage_is_refused_with_file_line_and_tree(damage: Callable[[bytes], bytes], message: str, good: bytes) -> None:
    damaged = damage(good)
    assert damaged != good
    with pytest.raises(BundleError, match=f"booster.txt, line .*{message}|booster.txt, {message}") as error:
        check_booster_text("booster.txt", damaged)
    assert error.value.exit_code == 4


def test_a_circle_beside_the_tree_is_refused(good: bytes) -> None:
    """Nodes 1 and 2 are each other's child: every node and leaf is there once, but they hang on nothing."""
    left, right = b"-1 2 1 4 5 6 -7", b"3 -2 -3 -4 -5 -6 -8"
    damaged = line_of(b"right_child", right)(line_of(b"left_child", left)(good))
    with pytest.raises(BundleError, match="must make one tree, got a node or leaf not once in it"):
        check_booster_text("booster.txt", damaged)


def test_a_leaf_that_is_there_twice_is_refused(good: bytes) -> None:
    damaged = line_of(b"right_child", b"-8 -2 -3 -4 -5 -6 -6")(line_of(b"left_child", b"1 2 3 4 5 6 -7")(good))
    with pytest.raises(BundleError, match="must make one tree"):
        check_booster_text("booster.txt", damaged)


def test_leaf_values_whose_sum_is_infinite_are_refused(good: bytes) -> None:
    huge = re.sub(rb"(?m)^leaf_value=.*$", b"leaf_value=" + b" ".join([b"1e308"] * 8), good)
    with pytest.raises(BundleError, match="leaf_value of all trees must have a finite sum, got inf"):
        check_booster_text("booster.txt", with_tree_sizes(huge))


def test_nothing_after_the_trees_reaches_lightgbm(good: bytes) -> None:
    for tail in (b"", b"\n", b"\nparameters:\n[num_threads: x]\xff\npandas_categorical:[[[["):
        data = good[: good.index(b"end of trees") + len(b"end of trees")] + (b"\n" + tail if tail else b"")
        check_booster_text("booster.txt", data)
        assert text_of_trees(data) == text_of_trees(good)


def check_mutations(good: bytes, n: int, folder: Path) -> None:
    """Each mutation is refused, or a child loads all its trees and it answers with probabilities.

    Where the structure is hurt it must be refused. What is left is another model that an honest author could have
    written (other digits in a threshold or a leaf), or the same one (digits that predictions do not look at).
    """
    n_refused = dict.fromkeys(KINDS, 0)
    n_made = dict.fromkeys(KINDS, 0)
    for seed in range(n):
        kind, data = mutated(good, seed)
        if data == good:
            continue
        n_made[kind] += 1
        try:
            check_booster_text("booster.txt", data)
        except BundleError:
            n_refused[kind] += 1
        else:
            (folder / f"{seed}.txt").write_text(text_of_trees(data))
    for kind, structural in KINDS.items():
        assert n_made[kind] > 0
        if structural:
            assert n_refused[kind] == n_made[kind], kind
    (folder / "good").write_text(text_of_trees(good))
    child = subprocess.run(
        [sys.executable, "-c", PREDICT_MANY, str(folder)], check=False, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stdout[-500:] + child.stderr[-500:]
    print(f"{sum(n_made.values())} mutations: {sum(n_refused.values())} refused,", child.stdout.split("\n")[-2])  # noqa: T201


def test_mutated_boosters_are_refused_or_load(good: bytes, tmp_path: Path) -> None:
    check_mutations(good, 400, tmp_path)


@pytest.mark.faults
def test_many_mutated_boosters_are_refused_or_load(good: bytes, tmp_path: Path) -> None:
    check_mutations(good, 20_000, tmp_path)
