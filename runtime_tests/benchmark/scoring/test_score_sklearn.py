"""Where scikit-learn has a figure of ours, both agree to 1e-12."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.scoring import report as score_report
from benchmark.scoring.calibration import N_BINS, reliability
from benchmark.scoring.log_loss import score
from inference.core.labels import EMPTY, LABELS
from inference.dataset.label_tables import Table

metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
calibration = pytest.importorskip("sklearn.calibration", reason="needs scikit-learn")


def exact(value: float) -> object:
    """Equal to 1e-12, however large."""
    return pytest.approx(float(value), rel=0, abs=1e-12)


@pytest.fixture
def judged(random: np.random.Generator) -> tuple[Table, Table]:
    """Predictions and labels of 500 sequences, each class somewhere there and somewhere not."""
    predictions = random.uniform(1e-9, 1 - 1e-9, (500, 54))
    labels = (random.random((500, 54)) < predictions).astype(np.float64)
    seq_ids = tuple(map(str, range(500)))
    return Table(seq_ids, predictions), Table(seq_ids, labels)


def test_log_loss_of_every_class(judged: tuple[Table, Table]) -> None:
    submission, labels = judged
    result = score(submission, labels)
    by_class = {
        label: metrics.log_loss(labels.values[:, c], submission.values[:, c], labels=[0, 1])
        for c, label in enumerate(LABELS)
    }
    for one in result.classes:
        assert one.log_loss == exact(by_class[one.label])
    assert result.log_loss == exact(np.mean(list(by_class.values())))


def test_calibration_curves(judged: tuple[Table, Table]) -> None:
    submission, labels = judged
    curves = reliability(submission.values, labels.values)
    for c in range(len(LABELS)):
        share, mean = calibration.calibration_curve(labels.values[:, c], submission.values[:, c], n_bins=N_BINS)
        filled = curves.counts[c] > 0
        np.testing.assert_allclose(curves.share_positive[c][filled], share, rtol=0, atol=1e-12)
        np.testing.assert_allclose(curves.mean_prediction[c][filled], mean, rtol=0, atol=1e-12)


def test_accuracies(judged: tuple[Table, Table]) -> None:
    submission, labels = judged
    got = score_report.headline(submission.values, labels.values)
    expected = metrics.accuracy_score(labels.values[:, EMPTY], submission.values[:, EMPTY] >= 0.5)
    assert got.empty_accuracy == exact(expected)
    # With one species each, ours is scikit-learn's top-1 accuracy.
    species = [c for c in range(len(LABELS)) if c != EMPTY]
    seen = np.random.default_rng(1).integers(0, len(species), 500)
    seen[: len(species)] = range(len(species))
    truth = np.zeros((500, 54))
    truth[np.arange(500), np.array(species)[seen]] = 1
    top1 = metrics.top_k_accuracy_score(seen, submission.values[:, species], k=1, labels=range(len(species)))
    assert score_report.headline(submission.values, truth).species_top1_accuracy == exact(top1)


def test_the_report_has_the_same_log_loss(judged: tuple[Table, Table]) -> None:
    report = score_report.report(*judged, {}, n_resamples=100)
    flat = metrics.log_loss(judged[1].values.ravel(), judged[0].values.ravel())
    assert report.log_loss == exact(flat)
