"""What other cameras saw, against a double loop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.bundle.manifest import NeighbourOptions
from inference.bundle.reader import Bundle
from inference.core.errors import BundleError
from inference.core.labels import LABELS
from inference.dataset.metadata import read_metadata
from inference.ensemble import neighbourhood as module
from inference.ensemble.neighbourhood import MOST_SEQUENCES, neighbour_means, neighbourhood_means
from inference.records.jsonl import RecordWriter, read_header, read_records
from models.spec.recipe import Recipe, StackingRecipe, load_recipe
from runtime_tests.conftest import SECOND_RECIPE, random_assets
from runtime_tests.kept import kept_bundle
from runtime_tests.running import run

WINDOWS = (1, 10, 300)
TOLERANCE = 2.0**-40 + 2.0**-24
"""Each score is rounded to a multiple of 2 ** -40, and the mean, at most 1, to float32; see FRACTION_BITS."""


def naive(
    scores: npt.NDArray[np.float32], moments: list[int], sites: list[int], windows: tuple[int, ...]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The published description, word by word: all other cameras within so many seconds."""
    means = np.full((len(scores), len(windows), scores.shape[1]), np.nan)
    counts = np.zeros((len(scores), len(windows)), np.int64)
    for i in range(len(scores)):
        for w, window in enumerate(windows):
            others = [
                scores[j].astype(np.float64)
                for j in range(len(scores))
                if min(sites[i], sites[j]) >= 0
                and sites[i] != sites[j]
                and abs(moments[i] - moments[j]) <= window
                and not np.isnan(scores[[i, j]]).any()
            ]
            counts[i, w] = len(others)
            if others:
                means[i, w] = np.sum(others, axis=0) / len(others)
    return means, counts


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_neighbours_equal_a_double_loop(data: st.DataObject) -> None:
    n_sequences = data.draw(st.integers(0, 25))
    n_classes = data.draw(st.integers(1, 6))
    values = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 1.0, float(np.float32(1e-30))]))
    rows = st.lists(values, min_size=n_classes, max_size=n_classes)
    table = data.draw(st.lists(rows, min_size=n_sequences, max_size=n_sequences))
    scores = np.array(table, np.float32).reshape(n_sequences, n_classes)

    def each(values: st.SearchStrategy[Any]) -> list[Any]:
        return data.draw(st.lists(values, min_size=n_sequences, max_size=n_sequences))

    moments = each(st.one_of(st.integers(0, 40), st.integers(-(10**11), 10**11)))
    sites = each(st.integers(-1, 4))
    unseen = each(st.booleans())
    scores[np.array(unseen, bool)] = np.nan
    got_means, got_counts = neighbour_means(scores, np.array(moments, np.int64), np.array(sites, np.int64), WINDOWS)
    means, counts = naive(scores, moments, sites, WINDOWS)
    np.testing.assert_array_equal(got_counts, counts)
    np.testing.assert_allclose(got_means, means, rtol=0, atol=TOLERANCE)


def test_a_large_sum_before_it_does_not_change_a_mean(random: np.random.Generator) -> None:
    """Prefix sums in float32 or float64 would carry the rounding of what came before; whole numbers do not."""
    n_before = 200_000
    scores = np.concatenate([random.uniform(0, 1, (n_before, 1)), [[1e-7], [0.5]]]).astype(np.float32)
    moments = np.concatenate([np.sort(random.integers(0, 10**8, n_before)), [10**9, 10**9]])
    sites = np.concatenate([random.integers(0, 200, n_before), [0, 1]])
    means, _ = neighbour_means(scores, moments, sites, (60,))
    assert means[-1, 0, 0] == pytest.approx(float(scores[-2, 0]), abs=2.0**-41)
    assert means[-2, 0, 0] == scores[-1, 0]


def test_the_order_of_the_sequences_does_not_matter(random: np.random.Generator) -> None:
    scores = random.uniform(0, 1, (500, 9)).astype(np.float32)
    moments, sites = random.integers(0, 2000, 500), random.integers(-1, 6, 500)
    means, counts = neighbour_means(scores, moments, sites, WINDOWS)
    order = random.permutation(500)
    shuffled_means, shuffled_counts = neighbour_means(scores[order], moments[order], sites[order], WINDOWS)
    np.testing.assert_array_equal(shuffled_means, means[order])
    np.testing.assert_array_equal(shuffled_counts, counts[order])


def test_its_own_score_never_comes_back(random: np.random.Generator) -> None:
    """Whatever a sequence and its own camera say, its own features stay the same."""
    scores = random.uniform(0, 1, (60, 3)).astype(np.float32)
    moments, sites = random.integers(0, 50, 60), random.integers(0, 4, 60)
    before, _ = neighbour_means(scores, moments, sites, (20,))
    own = sites == 2
    changed = scores.copy()
    changed[own] = 1 - changed[own]
    after, _ = neighbour_means(changed, moments, sites, (20,))
    np.testing.assert_array_equal(after[own], before[own])
    assert (after[~own] != before[~own]).any()


def test_the_window_counts_to_the_second_on_both_sides() -> None:
    scores = np.array([[0.25], [0.5], [0.75], [1.0]], np.float32)
    means, counts = neighbour_means(scores, np.array([0, 10, 20, 21]), np.array([0, 1, 2, 3]), (10,))
    assert counts[:, 0].tolist() == [1, 2, 2, 1]
    assert means[:, 0, 0].tolist() == [0.5, 0.5, 0.75, 0.75]


def test_too_many_sequences_for_the_sums_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (MOST_SEQUENCES + 1) << module.FRACTION_BITS == 1 << 63
    monkeypatch.setattr(module, "MOST_SEQUENCES", 2)
    with pytest.raises(ValueError, match="at most 2 sequences, got 3"):
        neighbour_means(np.zeros((3, 1), np.float32), np.zeros(3, np.int64), np.zeros(3, np.int64), (1,))


def test_sparse_neighbours_are_not_used_and_coverage_is_told() -> None:
    scores = np.ones((4, 2), np.float32)
    moments, sites = np.array([0, 5, 900, 0]), np.array([0, 1, 0, -1])
    options = NeighbourOptions(windows_seconds=(1, 10), min_coverage=0.5, missing=-0.01)
    found = neighbourhood_means(scores, moments, sites, options)
    assert (found.is_used, found.coverage, found.n_unlocated) == (True, (0.0, 0.5), 1)
    assert np.isfinite(found.means[:2, 1]).all()
    sparse = neighbourhood_means(scores, moments, sites, options.model_copy(update={"min_coverage": 0.51}))
    assert (sparse.is_used, sparse.coverage) == (False, (0.0, 0.5))
    assert np.isnan(sparse.means).all()


def recipe_with_neighbours(min_coverage: float = 0.1) -> Recipe:
    recipe = load_recipe(str(SECOND_RECIPE))
    assert recipe.stacking
    options = NeighbourOptions(windows_seconds=(60, 3600), min_coverage=min_coverage, missing=-0.5)
    stacking = StackingRecipe(
        **{
            **recipe.stacking.model_dump(),
            "blocks": ("month", "neighbours", "mean_net"),
            "neighbours": options,
        }
    )
    return recipe.model_copy(update={"stacking": stacking})


@pytest.fixture(scope="module")
def neighbour_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    recipe = recipe_with_neighbours()
    assets = random_assets("neighbours", recipe, 6, tmp_path_factory)
    return kept_bundle("neighbours", assets, recipe, tmp_path_factory.mktemp("kept"), demo=True)


@pytest.fixture(scope="module")
def neighbour_run(season: Path, neighbour_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("neighbour_run")
    run(season, neighbour_bundle, out)
    return out


def rewrite_records(source: Path, target: Path, changes: list[dict[str, Any]]) -> None:
    """The records of a run as if its sequences had been elsewhere, at other times."""
    header = read_header(source / "records.jsonl")
    records = list(read_records(source / "records.jsonl", header))
    target.mkdir()
    writer = RecordWriter(target / "records.jsonl", header)
    writer.append([replace(one, **change) for one, change in zip(records, changes, strict=True)])
    writer.close()


def second_phase(records: Path, bundle: Bundle, out: Path) -> dict[str, npt.NDArray[np.float32]]:
    from inference.ensemble.estimator import Estimator
    from inference.run.records_to_submission import records_to_submission

    out.mkdir(exist_ok=True)
    records_to_submission(records, Estimator(bundle), out, out / "features.npz")
    with np.load(out / "features.npz") as file:
        return dict(file)


def test_a_recipe_turns_them_on(neighbour_run: Path, neighbour_bundle: Bundle, tmp_path: Path) -> None:
    report = json.loads((neighbour_run / "run.json").read_text())
    assert set(report["neighbours"]) == {"used", "coverage_by_window", "sequences_without_camera_or_moment"}
    n_sequences = report["counts"]["sequences"]
    at_once: list[dict[str, Any]] = [{"site": f"C{k % 3}", "seconds": 10 * k} for k in range(n_sequences)]
    rewrite_records(neighbour_run, tmp_path / "together", at_once)
    features = second_phase(tmp_path / "together", neighbour_bundle, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "run.json").read_text())["neighbours"]
    assert told["used"]
    names = neighbour_bundle.manifest.feature_names
    kept = [label for label in LABELS if label not in ("bat", "zorilla")]
    first = names.index("neighbours_60s_aardvark")
    assert names[first : first + 104] == tuple(
        f"neighbours_{window}s_{label}" for window in (60, 3600) for label in kept
    )
    # The expected values come from the records' own estimates and a double loop.
    from inference.ensemble.aggregation import aggregate

    header = read_header(tmp_path / "together" / "records.jsonl")
    seen = [one for one in read_records(tmp_path / "together" / "records.jsonl", header) if one.n_frames]
    scores = aggregate(seen, neighbour_bundle.manifest).estimate[:, [LABELS.index(label) for label in kept]]
    moments = [one.seconds or 0 for one in seen]
    expected, _ = naive(scores, moments, [int(one.site[1:]) for one in seen], (60, 3600))
    expected = np.where(np.isnan(expected), -0.5, expected).reshape(len(seen), -1)
    np.testing.assert_array_equal(features["seq_id"], [one.seq_id for one in seen])
    np.testing.assert_allclose(features["X"][:, first : first + 104], expected, rtol=0, atol=1e-7)


def test_an_anonymised_test_set_falls_back_and_says_so(
    neighbour_run: Path, neighbour_bundle: Bundle, tmp_path: Path
) -> None:
    report = json.loads((neighbour_run / "run.json").read_text())
    n_sequences = report["counts"]["sequences"]
    rewrite_records(neighbour_run, tmp_path / "nowhere", [{"site": ""}] * n_sequences)
    features = second_phase(tmp_path / "nowhere", neighbour_bundle, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "run.json").read_text())["neighbours"]
    assert told == {
        "used": False,
        "coverage_by_window": [0.0, 0.0],
        "sequences_without_camera_or_moment": n_sequences,
    }
    first = neighbour_bundle.manifest.feature_names.index("neighbours_60s_aardvark")
    assert (features["X"][:, first : first + 104] == -0.5).all()


def test_the_camera_comes_from_the_id_or_from_a_column(tmp_path: Path) -> None:
    from inference.dataset.metadata import site_and_seconds

    path = tmp_path / "metadata.csv"
    path.write_text(
        "seq_id,datetime,file_name,site\n"
        "a,1970-01-02 00:00:01,x.jpg,K1\n"
        "SER_S1#B04#1#7,1970-01-01 00:00:00,y.jpg,\n"
        "SER_S1#B05#1#7,nobody knows,z.jpg,K1\n"
        "ABCFN,1969-12-31 23:59:59+00:00,w.jpg,\n"
    )
    found = {name: site_and_seconds(sequence) for name, sequence in read_metadata(path).sequences.items()}
    assert found == {
        "a": ("K1", 86401),
        "SER_S1#B04#1#7": ("B04", 0),
        "SER_S1#B05#1#7": ("K1", None),
        "ABCFN": ("", -1),
    }


def test_a_sequence_at_two_sites_is_refused(tmp_path: Path) -> None:
    from inference.core.errors import InputError

    path = tmp_path / "metadata.csv"
    path.write_text("site,seq_id,datetime,file_name\nA,s,t,x.jpg\nB,s,t,y.jpg\n")
    with pytest.raises(InputError, match=r"row 3, column site: must be the same .* got 'B' after 'A'"):
        read_metadata(path)


@pytest.mark.parametrize("block_without_options", [True, False])
def test_block_and_options_come_together(block_without_options: bool, tmp_path: Path) -> None:
    text = SECOND_RECIPE.read_text()
    if block_without_options:
        text = text.replace('blocks = ["month"', 'blocks = ["neighbours", "month"')
    else:
        text += "\n[stacking.neighbours]\nwindows_seconds = [10]\nmin_coverage = 0.1\nmissing = -0.01\n"
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(BundleError, match="must come with the block neighbours"):
        load_recipe(str(path))
