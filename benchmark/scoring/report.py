"""The complete report on a submission, as one document with a stable schema."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmark.scoring import bootstrap, temperature
from benchmark.scoring.calibration import Reliability, reliability
from benchmark.scoring.log_loss import ClassScore, log_losses, summarise
from benchmark.scoring.strata import Stratum
from inference.core.config_files import Strict
from inference.core.labels import EMPTY, EPSILON, LABELS
from inference.dataset.label_tables import Table, aligned

SCHEMA_VERSION = 1
THRESHOLD = 0.5
"""A class counts as predicted from this probability on."""
FEWEST_UNITS_WITH_POSITIVES = 5
"""With fewer sites that show a class, no verdict holds for other sites, whatever the interval: on sites without the
class the smaller prediction always wins."""


class Interval(Strict):
    """Percentile interval of the bootstrap."""

    low: float
    high: float


class Resampling(Strict):
    """The method behind the intervals."""

    drawn: bootstrap.Kind
    n_units: int
    n_resamples: int
    level: float
    seed: int
    small_sample_note: str | None = None
    """Set if there are too few units to trust the intervals."""


class Bin(Strict):
    """Sequences whose prediction for a class is in one tenth of 0 to 1."""

    n: int
    mean_prediction: float
    share_positive: float


class ClassReport(Strict):
    """One class."""

    label: str
    log_loss: float
    interval: Interval
    contribution: float
    """Its part of the score: log_loss / 54."""
    positives: int
    mean_prediction: float
    calibration_error: float
    """Expected calibration error over ten bins."""
    reliability: tuple[Bin, ...]
    """Non-empty bins, by increasing prediction."""


class Headline(Strict):
    """The organisers' published figures for the winners: 97 % and 86 %. None if there is nothing to count."""

    empty_accuracy: float
    """Share of sequences where p(empty) >= 0.5 agrees with the labels."""
    species_top1_accuracy: float | None
    """Share of non-empty sequences that show their likeliest species."""
    n_not_empty: int


class GroupScore(Strict):
    """A part of the sequences."""

    name: str
    n_sequences: int
    log_loss: float
    share: float
    """Its part of the whole loss."""


class Tuning(Strict):
    """Mean log loss on the half that was not used for choosing, over both folds."""

    as_it_is: float
    clipped: float
    epsilons: tuple[float, ...]
    """The choice of each fold."""
    tempered: float
    temperatures: tuple[float, ...]

    @property
    def clipping(self) -> str:
        """The choices of both folds, in words."""
        if not any(self.epsilons):
            return "not clipped (no gain on either half)"
        return " or ".join(f"clipped to {one:.1e}" if one else "not clipped" for one in self.epsilons)


class ClassDifference(Strict):
    """First submission minus second for one class; negative if the first is better."""

    label: str
    difference: float
    """Difference of the log loss."""
    contribution: float
    """Its part of the whole difference."""
    interval: Interval
    units_with_positives: int | None = None
    """Sites (or sequences) that show the class; None in documents of earlier versions."""
    better: Literal["first", "second", "unclear"]
    """`unclear` if the interval contains 0, or too few units show the class."""


class Comparison(Strict):
    """Two submissions on the same sequences and draws."""

    first: float
    second: float
    difference: float
    interval: Interval
    better: Literal["first", "second", "unclear"]
    share_first_better: float
    """Share of the draws in which the first one is better."""
    classes: tuple[ClassDifference, ...]
    """Sorted by absolute contribution, the largest first."""


class ScoreReport(Strict):
    """`hakuna score --json`."""

    schema_version: Literal[1]
    epsilon: float
    n_sequences: int
    n_without_labels: int = 0
    """Sequences of the submission that were left out (--labelled-only)."""
    n_without_prediction: int = 0
    """Labelled sequences that were left out (--labelled-only)."""
    n_without_metadata: int = 0
    """Sequences whose place, hour and number of frames are unknown, though metadata were given."""
    log_loss: float
    interval: Interval
    resampling: Resampling
    headline: Headline
    classes: tuple[ClassReport, ...]
    """Sorted by contribution, the largest first."""
    breakdowns: dict[str, tuple[GroupScore, ...]]
    """By season, site, hour, light and frames, as far as known."""
    tuning: Tuning | None
    comparison: Comparison | None


def report(
    submission: Table,
    labels: Table,
    strata: Mapping[str, Stratum],
    *,
    against: Table | None = None,
    epsilon: float = EPSILON,
    n_resamples: int = bootstrap.N_RESAMPLES,
) -> ScoreReport:
    """Score a submission; rows are joined by `seq_id`. `strata` describe the sequences of the labels, in order.

    Raises InputError if a submission does not have the same sequences as the labels.
    """
    predictions, truth = aligned(submission, labels), labels.values
    losses = log_losses(predictions, truth, epsilon)
    clusters = bootstrap.clusters_of(strata.get("site"), len(truth))
    draws = bootstrap.resample(clusters, n_resamples)
    other = log_losses(aligned(against, labels, "submission of --compare"), truth, epsilon) if against else None
    by_class = summarise(losses, predictions, truth)
    means = draws.means(clusters.sums(losses))
    return ScoreReport(
        schema_version=SCHEMA_VERSION,
        epsilon=epsilon,
        n_sequences=len(truth),
        log_loss=by_class.log_loss,
        interval=_intervals(means.mean(axis=1, keepdims=True))[0],
        resampling=Resampling(
            drawn=clusters.kind,
            n_units=clusters.n_units,
            n_resamples=n_resamples,
            level=bootstrap.LEVEL,
            seed=bootstrap.SEED,
            small_sample_note=bootstrap.small_sample_note(clusters),
        ),
        headline=headline(predictions, truth),
        classes=_classes(by_class.classes, means, reliability(predictions, truth)),
        breakdowns={name: _breakdown(losses, group) for name, group in strata.items()},
        tuning=_tuning(temperature.study(predictions, truth, losses, clusters, epsilon)),
        comparison=_comparison(losses, other, truth, draws) if other is not None else None,
    )


def headline(predictions: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> Headline:
    """Accuracy on `empty`, and of the likeliest species on the other sequences: float64 (N, C) each."""
    empty_right = (predictions[:, EMPTY] >= THRESHOLD) == (truth[:, EMPTY] == 1)
    rows = np.flatnonzero(truth.sum(axis=1) > truth[:, EMPTY])
    species = predictions[rows]
    species[:, EMPTY] = -1
    likeliest = species.argmax(axis=1)
    return Headline(
        empty_accuracy=float(empty_right.mean()),
        species_top1_accuracy=float(truth[rows, likeliest].mean()) if len(rows) else None,
        n_not_empty=len(rows),
    )


def _intervals(draws: npt.NDArray[np.float64]) -> list[Interval]:
    """Intervals of K statistics: float64 (B, K)."""
    low, high = bootstrap.interval(draws)
    return [Interval(low=a, high=b) for a, b in zip(low.tolist(), high.tolist(), strict=True)]


def _classes(
    scores: tuple[ClassScore, ...], means: npt.NDArray[np.float64], curves: Reliability
) -> tuple[ClassReport, ...]:
    intervals, errors = _intervals(means), curves.errors
    reports = []
    for one in scores:
        c = LABELS.index(one.label)
        columns = (one[c].tolist() for one in (curves.counts, curves.mean_prediction, curves.share_positive))
        bins = tuple(Bin(n=n, mean_prediction=p, share_positive=y) for n, p, y in zip(*columns, strict=True) if n)
        error = float(errors[c])
        reports.append(ClassReport(**vars(one), interval=intervals[c], calibration_error=error, reliability=bins))
    return tuple(reports)


def _breakdown(losses: npt.NDArray[np.float64], group: Stratum) -> tuple[GroupScore, ...]:
    by_sequence = losses.mean(axis=1)
    counts = np.bincount(group.codes, minlength=len(group.names))
    sums = np.bincount(group.codes, by_sequence, len(group.names))
    total = by_sequence.sum()
    return tuple(
        GroupScore(name=name, n_sequences=int(n), log_loss=float(loss / n), share=float(loss / total) if total else 0.0)
        for name, n, loss in zip(group.names, counts, sums, strict=True)
    )


def _tuning(folds: list[temperature.Fold]) -> Tuning | None:
    if not folds:
        return None
    columns = {name: [getattr(fold, name) for fold in folds] for name in vars(folds[0])}
    weights = columns["n_sequences"]
    losses = {name: float(np.average(columns[name], weights=weights)) for name in ("as_it_is", "clipped", "tempered")}
    return Tuning(**losses, epsilons=columns["epsilon"], temperatures=columns["temperature"])


def _comparison(
    first: npt.NDArray[np.float64],
    second: npt.NDArray[np.float64],
    truth: npt.NDArray[np.float64],
    draws: bootstrap.Resamples,
) -> Comparison:
    """Compare the log losses of two submissions; `truth` is 0 or 1: float64 (N, C) each."""
    difference = first - second
    n_showing = (draws.clusters.sums(truth) > 0).sum(axis=0)
    means = draws.means(draws.clusters.sums(difference))
    whole = _intervals(means.mean(axis=1, keepdims=True))[0]
    intervals = _intervals(means)
    by_class = difference.mean(axis=0)
    classes = []
    for c in np.argsort(-np.abs(by_class), kind="stable"):
        value = float(by_class[c])
        classes.append(
            ClassDifference(
                label=LABELS[c],
                difference=value,
                contribution=value / len(LABELS),
                interval=intervals[c],
                units_with_positives=int(n_showing[c]),
                better=_better(intervals[c]) if n_showing[c] >= FEWEST_UNITS_WITH_POSITIVES else "unclear",
            )
        )
    return Comparison(
        first=float(first.mean(axis=0).mean()),
        second=float(second.mean(axis=0).mean()),
        difference=float(by_class.mean()),
        interval=whole,
        better=_better(whole),
        share_first_better=float((means.mean(axis=1) < 0).mean()),
        classes=tuple(classes),
    )


def _better(bounds: Interval) -> Literal["first", "second", "unclear"]:
    if bounds.high < 0:
        return "first"
    return "second" if bounds.low > 0 else "unclear"
