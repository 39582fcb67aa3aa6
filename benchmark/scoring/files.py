"""Scores a submission file against a labels file."""

import os
from pathlib import Path

from benchmark.scoring.bootstrap import N_RESAMPLES
from benchmark.scoring.report import ScoreReport, report
from benchmark.scoring.strata import n_unknown, strata_of
from inference.core.errors import HakunaError, UsageError
from inference.core.labels import EPSILON
from inference.dataset.label_tables import aligned, common, read_labels, read_submission
from inference.dataset.metadata import read_metadata
from inference.outputs.finished_run import read_finished_run
from inference.outputs.run_metadata import check_metadata
from inference.outputs.submission import SUBMISSION_NAME

StrPath = str | os.PathLike[str]
SMALLEST_EPSILON, LARGEST_EPSILON = 1e-15, 0.49
FEWEST_RESAMPLES, MOST_RESAMPLES = 100, 100_000


def score(
    submission: StrPath,
    labels: StrPath,
    *,
    compare: StrPath | None = None,
    metadata: StrPath | None = None,
    sites: StrPath | None = None,
    epsilon: float = EPSILON,
    resamples: int = N_RESAMPLES,
    labelled_only: bool = False,
) -> ScoreReport:
    """Score a submission: mean log loss with its interval, by class and by site, calibration, headline figures.

    Parameters
    ----------
    submission : CSV file with `seq_id` and a probability (0-1) for each of the 54 labels
    labels : CSV file with `seq_id` and 54 columns of 0 and 1
    compare : another submission: the difference with its interval
    metadata : CSV file of the photos: scores by hour, day and night, number of frames
    sites : CSV file with `seq_id` and `site`; default: from public ids, else from folders of photos
    epsilon : probabilities are clipped to [epsilon, 1 - epsilon]; 1e-15 to 0.49
    resamples : number of draws in the bootstrap over sites; 100 to 100,000
    labelled_only : leave out sequences without labels and labels without a prediction, and count them in
        `n_without_labels` and `n_without_prediction`

    Raises
    ------
    UsageError
        `epsilon` or `resamples` is out of range.
    InputError
        A file is missing or damaged, or the submission does not have the same sequences as the labels.

    Examples
    --------
    >>> result = score("season/test_labels.csv", "season/test_labels.csv", metadata="season/test_metadata.csv")
    >>> result.n_sequences, round(result.log_loss, 6)
    (12, 0.0)
    """
    if not SMALLEST_EPSILON <= epsilon <= LARGEST_EPSILON:
        raise UsageError(f"epsilon: must be from {SMALLEST_EPSILON:g} to {LARGEST_EPSILON:g}, got {epsilon!r}")
    if not FEWEST_RESAMPLES <= resamples <= MOST_RESAMPLES:
        raise UsageError(f"resamples: must be from {FEWEST_RESAMPLES} to {MOST_RESAMPLES:,}, got {resamples!r}")
    truth, submitted = read_labels(Path(labels)), read_submission(Path(submission))
    n_submitted, n_labels = len(submitted.seq_ids), len(truth.seq_ids)
    if labelled_only:
        submitted, truth = common(submitted, truth)
    aligned(submitted, truth)  # wrong labels are called that before metadata are found not to fit them
    if metadata:
        _check_metadata(Path(submission), Path(metadata))
    strata = strata_of(truth.seq_ids, Path(metadata) if metadata else None, Path(sites) if sites else None)
    other = read_submission(Path(compare)) if compare else None
    if other and labelled_only:
        other, _ = common(other, truth)
    result = report(submitted, truth, strata, against=other, epsilon=epsilon, n_resamples=resamples)
    counts = {
        "n_without_labels": n_submitted - result.n_sequences,
        "n_without_prediction": n_labels - result.n_sequences,
        "n_without_metadata": n_unknown(strata["frames"]) if metadata else 0,
    }
    return result.model_copy(update=counts)


def _check_metadata(submission: Path, metadata: Path) -> None:
    """Raise InputError if a submission is in the folder of its run, and the metadata are not those of the run."""
    try:
        run = read_finished_run(submission.parent) if submission.name == SUBMISSION_NAME else None
    except HakunaError:
        return  # no run, or not the one of this submission
    if run:
        check_metadata(run, read_metadata(metadata).sequences, metadata)
