"""The demo: what the committed bundle is worth on a season that it has not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.scoring.log_loss import score
from benchmark.selftest.demo import BUNDLE_FOLDER, MARKER_NAME, run_demo
from inference.bundle.reader import Bundle, open_bundle
from inference.core.errors import UsageError
from inference.core.labels import CLASS_PRIORS, EMPTY, LABELS
from inference.dataset.label_tables import Table, read_labels, read_submission
from runtime_tests.running import ignore_progress

PRIORS = np.array(list(CLASS_PRIORS.values()))
N_SEQUENCES = 300
LEAST_POSITIVES = 3
FEWEST_BETTER = 6
MOST_BYTES = 2_000_000


def predicted(folder: Path, bundle: Path, n_sequences: int) -> tuple[Table, Table]:
    """What a bundle says about unseen season 11, and the truth."""
    files = run_demo(
        folder, n_sequences=n_sequences, seed=1, n_workers=2, on_progress=ignore_progress, bundle_folder=bundle
    )
    labels = read_labels(files.data / "test_labels.csv")
    assert {seq_id.split("#")[0] for seq_id in labels.seq_ids} == {"SER_S11"}
    return read_submission(files.out / "submission.csv"), labels


def beats_priors(predictions: Table, labels: Table) -> bool:
    """Whether it beats the priors: in the mean, for `empty`, and in enough of the classes that the season shows."""
    ours = score(predictions, labels)
    before = score(Table(labels.seq_ids, np.tile(PRIORS, (len(labels.seq_ids), 1))), labels)
    shown = {label for label, n in zip(LABELS, labels.values.sum(axis=0), strict=True) if n >= LEAST_POSITIVES}
    losses = {one.label: one.log_loss for one in before.classes}
    better = {one.label for one in ours.classes if one.label in shown and one.log_loss < losses[one.label]}
    return ours.log_loss < before.log_loss and "empty" in better and len(better) >= FEWEST_BETTER


@pytest.mark.e2e
def test_the_demo_bundle_beats_the_priors_on_an_unseen_season(tmp_path: Path) -> None:
    predictions, labels = predicted(tmp_path / "demo", BUNDLE_FOLDER, N_SEQUENCES)
    assert beats_priors(predictions, labels)
    # Who knows nothing but `empty`, and says less than the priors for all species, does not.
    knows_empty = np.tile(0.9 * PRIORS, (N_SEQUENCES, 1))
    knows_empty[:, EMPTY] = 0.05 + 0.9 * labels.values[:, EMPTY]
    assert not beats_priors(Table(labels.seq_ids, knows_empty), labels)


def test_an_untrained_bundle_does_not(tmp_path: Path, quick_bundle: Bundle) -> None:
    assert not beats_priors(*predicted(tmp_path / "demo", quick_bundle.folder, 80))


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
    assert "hakuna study demo-bundle" in provenance
    assert "not for" in provenance
