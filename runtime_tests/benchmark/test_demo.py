"""The demo: what the committed bundle is worth on a season that it has not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.demo import BUNDLE_FOLDER, MARKER_NAME, run_demo
from benchmark.scoring import Score, Table, read_labels, score
from inference.bundle import Bundle, open_bundle
from inference.domain import CLASS_PRIORS, UsageError
from runtime_tests.running import ignore_progress

N_SEQUENCES = 250
FEWEST_BETTER = 8
MOST_BYTES = 2_000_000


def beats_priors(folder: Path, bundle: Path, n_sequences: int) -> bool:
    """Whether a bundle beats the priors on unseen season 11: in the mean, for `empty`, and in enough classes."""
    files = run_demo(
        folder, n_sequences=n_sequences, seed=1, n_workers=2, on_progress=ignore_progress, bundle_folder=bundle
    )
    labels = read_labels(files.data / "test_labels.csv")
    assert {seq_id.split("#")[0] for seq_id in labels.seq_ids} == {"SER_S11"}
    before = score(Table(labels.seq_ids, np.tile(list(CLASS_PRIORS.values()), (n_sequences, 1))), labels)
    better = better_classes(files.score, before)
    return files.score.log_loss < before.log_loss and "empty" in better and len(better) >= FEWEST_BETTER


def better_classes(ours: Score, theirs: Score) -> set[str]:
    by_label = {one.label: one.log_loss for one in theirs.classes}
    return {one.label for one in ours.classes if one.log_loss < by_label[one.label]}


def test_the_demo_bundle_beats_the_priors_on_an_unseen_season(tmp_path: Path) -> None:
    assert beats_priors(tmp_path / "demo", BUNDLE_FOLDER, N_SEQUENCES)


def test_an_untrained_bundle_does_not(tmp_path: Path, tiny_bundle: Bundle) -> None:
    assert not beats_priors(tmp_path / "demo", tiny_bundle.folder, 40)


def test_a_demo_replaces_a_demo_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    for seed in (1, 2):
        run_demo(folder, n_sequences=2, seed=seed, n_workers=1, on_progress=ignore_progress)
    assert "demo, 2 sequences" in (folder / "report.html").read_text()
    (folder / MARKER_NAME).unlink()
    with pytest.raises(UsageError, match="must be new, empty or an earlier demo's"):
        run_demo(folder, n_sequences=2, seed=1, n_workers=1, on_progress=ignore_progress)
    assert (folder / "out" / "submission.csv").exists()


def test_the_demo_bundle_is_small_marked_and_tells_where_it_comes_from() -> None:
    assert sum(path.stat().st_size for path in BUNDLE_FOLDER.parent.rglob("*") if path.is_file()) <= MOST_BYTES
    assert open_bundle(BUNDLE_FOLDER).manifest.demo
    provenance = (BUNDLE_FOLDER.parent / "README.md").read_text()
    assert "hakuna bench --demo-bundle" in provenance
    assert "not for" in provenance
