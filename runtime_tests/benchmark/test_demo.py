"""The demo: what the committed bundle is worth on a season that it has not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.demo import BUNDLE_FOLDER, run_demo, untrained_bundle
from benchmark.scoring import Score, Table, read_labels, score
from inference.bundle import Bundle
from inference.domain import CLASS_PRIORS
from runtime_tests.running import ignore_progress

N_SEQUENCES = 250
FEWEST_BETTER = 8
needs_bundle = pytest.mark.skipif(not BUNDLE_FOLDER.exists(), reason="the demo bundle has not been trained yet")


def better_classes(folder: Path, bundle: Path, n_sequences: int) -> tuple[set[str], Score, Score]:
    """Classes of unseen season 11 in which a bundle beats the priors, its score, and that of the priors."""
    files = run_demo(
        folder, n_sequences=n_sequences, seed=1, n_workers=2, on_progress=ignore_progress, bundle_folder=bundle
    )
    labels = read_labels(files.data / "test_labels.csv")
    assert {seq_id.split("#")[0] for seq_id in labels.seq_ids} == {"SER_S11"}
    priors = score(Table(labels.seq_ids, np.tile(list(CLASS_PRIORS.values()), (len(labels.seq_ids), 1))), labels)
    before = {one.label: one.log_loss for one in priors.classes}
    return {one.label for one in files.score.classes if one.log_loss < before[one.label]}, files.score, priors


@needs_bundle
def test_the_demo_bundle_beats_the_priors_on_an_unseen_season(tmp_path: Path) -> None:
    better, ours, priors = better_classes(tmp_path / "demo", BUNDLE_FOLDER, N_SEQUENCES)
    assert ours.log_loss < priors.log_loss
    assert "empty" in better
    assert len(better) >= FEWEST_BETTER


def test_an_untrained_bundle_does_not(tmp_path: Path) -> None:
    untrained: Bundle = untrained_bundle(tmp_path / "bundle", tmp_path / "assets", seed=1)
    better, ours, priors = better_classes(tmp_path / "demo", untrained.folder, 40)
    assert ours.log_loss > priors.log_loss or "empty" not in better or len(better) < FEWEST_BETTER


@needs_bundle
def test_the_demo_bundle_is_small_and_tells_where_it_comes_from() -> None:
    n_bytes = sum(path.stat().st_size for path in BUNDLE_FOLDER.rglob("*") if path.is_file())
    assert n_bytes <= 2_000_000
    provenance = (BUNDLE_FOLDER.parent / "README.md").read_text()
    assert "hakuna bench --demo-bundle" in provenance
    assert "not for" in provenance
