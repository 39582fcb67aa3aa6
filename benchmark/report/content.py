"""A finished run -> the content of its page."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.report.pictures import Picture, pictures_of
from benchmark.report.selection import most_and_least_confident, uncertainty, worst
from benchmark.scoring import report
from benchmark.scoring.log_loss import log_losses
from benchmark.scoring.report import ScoreReport
from benchmark.scoring.strata import strata_of
from inference.core.errors import counted
from inference.core.labels import LABELS
from inference.core.sequences import Sequence
from inference.dataset.label_tables import Table, aligned, common
from inference.outputs.finished_run import FinishedRun, RecordsElsewhereError, photos_cut_short, unprocessed_sequences
from inference.outputs.run_report import CERTAIN, shortfall
from inference.process.progress import Progress

TOP = 5
"""Predictions that a sheet shows."""
COMMON = 10
"""Classes of the table of confusions."""


@dataclass(frozen=True)
class Guess:
    """A label on a sheet."""

    label: str
    probability: float
    is_true: bool


@dataclass(frozen=True)
class Sheet:
    """One sequence to look at."""

    seq_id: str
    when: str
    truth: tuple[str, ...] | None
    """Labels; None where unknown."""
    guesses: tuple[Guess, ...]
    figure: str
    """The reason to show it, in numbers."""
    pictures: tuple[Picture, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True)
class SheetGroup:
    """Sheets of one class."""

    title: str
    why: str
    sheets: tuple[Sheet, ...]


@dataclass(frozen=True)
class Confusion:
    """Of the sequences that show a class (rows), the share whose likeliest class is another (columns)."""

    rows: tuple[tuple[str, int, tuple[float, ...]], ...]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Expected:
    """A class of a run without labels."""

    label: str
    n_likely: int
    """Sequences with p >= 0.5."""
    n_expected: float
    """Sum of the probabilities."""


@dataclass(frozen=True)
class Doubt:
    """A sequence that a person should check."""

    seq_id: str
    photo: str
    """Its first one; "" if unknown."""
    label: str
    """The likeliest; "" if no network processed it."""
    probability: float


@dataclass(frozen=True)
class Content:
    """Everything on the page."""

    title: str
    shortfall: str
    """Effect of a time budget; "" where it was enough."""
    warning: str | None
    run: dict[str, Any]
    stages: tuple[tuple[str, float, float], ...]
    """Name, seconds, share of the longest."""
    n_sequences: int
    n_unprocessed: int
    """Sequences that no network processed: without labels they are in no table and on no sheet."""
    reasons: tuple[tuple[str, int], ...]
    failures: tuple[tuple[str, str], ...]
    n_cut_short: int
    """Photos without their end that were used."""
    cut_short: tuple[str, ...]
    """These, if the records are in the folder of the run."""
    doubts: tuple[Doubt, ...]
    """The sequences that `run.json` counts as to check, the least probable first."""
    score: ScoreReport | None
    confusion: Confusion | None
    expected: tuple[Expected, ...]
    groups: tuple[SheetGroup, ...]
    pictures_missing: str | None
    """The reason why sheets have no pictures."""


@dataclass(frozen=True)
class Sources:
    """Sources of a page besides the run; each may be missing."""

    labels: Table | None = None
    sequences: Mapping[str, Sequence] | None = None
    data_folder: Path | None = None
    metadata_path: Path | None = None
    n_sheets: int = 48
    n_workers: int = 1
    labelled_only: bool = False


def content_of(run: FinishedRun, sources: Sources, on_progress: Progress = lambda *_: None) -> Content:
    """All content that a run has. Raises InputError if labels do not fit, CheckpointError if records do not."""
    labels, seen, predictions = sources.labels, _seen(run), run.predictions
    if labels and sources.labelled_only:
        predictions, labels = common(predictions, labels)
        sources = replace(sources, labels=labels)
    judged = aligned(predictions, labels) if labels else None  # first: wrong labels fit no metadata either
    failures = sorted(run.failures.items())
    reasons = Counter(reason.partition(":")[0] for _, reason in failures)
    seconds = {name: float(value) for name, value in run.run.get("seconds", {}).items() if name != "elapsed"}
    longest = max(seconds.values(), default=0.0)
    return Content(
        title=f"{run.run['bundle']['name']}, {counted(len(run.predictions.seq_ids), 'sequence')}",
        shortfall=shortfall(run.run),
        warning=run.warning,
        run=run.run,
        stages=tuple((name, value, value / longest if longest else 0.0) for name, value in seconds.items()),
        n_sequences=len(run.predictions.seq_ids),
        n_unprocessed=len(run.predictions.seq_ids) - len(seen.seq_ids),
        reasons=tuple(sorted(reasons.items(), key=lambda one: (-one[1], one[0]))),
        failures=tuple(failures),
        n_cut_short=run.run.get("counts", {}).get("photos_cut_short", 0),
        cut_short=photos_cut_short(run),
        doubts=_doubts(run.predictions, frozenset(seen.seq_ids), sources.sequences or {}),
        score=_score(run, predictions, sources),
        confusion=confusion(judged, labels.values) if labels and judged is not None else None,
        expected=() if labels else expected(seen.values),
        groups=_groups(seen if labels is None else predictions, sources, on_progress),
        pictures_missing=None if sources.sequences and sources.data_folder else
        "The folder with the photos was not given (--data)." if sources.sequences else
        "The metadata of the run was not given (--metadata).",
    )  # fmt: skip


def _score(run: FinishedRun, predictions: Table, sources: Sources) -> ScoreReport | None:
    if sources.labels is None:
        return None
    strata = strata_of(sources.labels.seq_ids, sources.metadata_path)
    n_left_out = len(run.predictions.seq_ids) - len(predictions.seq_ids)
    return report.report(predictions, sources.labels, strata).model_copy(update={"n_without_labels": n_left_out})


def confusion(predictions: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> Confusion:
    """Confusions of the commonest classes: float64 (N, C) each. A sequence counts in each row that it shows."""
    counts = truth.sum(axis=0)
    common = [int(c) for c in np.argsort(-counts, kind="stable")[:COMMON] if counts[c]]
    likeliest = predictions.argmax(axis=1)
    rows = []
    for c in common:
        guessed = likeliest[truth[:, c] == 1]
        shares = [float((guessed == other).mean()) for other in common]
        rows.append((LABELS[c], len(guessed), (*shares, max(0.0, 1 - sum(shares)))))
    return Confusion(tuple(rows), (*(LABELS[c] for c in common), "other"))


def expected(predictions: npt.NDArray[np.float64]) -> tuple[Expected, ...]:
    """Expected sequences of each class, according to the networks: float64 (N, C)."""
    likely, sums = (predictions >= report.THRESHOLD).sum(axis=0), predictions.sum(axis=0)
    return tuple(Expected(LABELS[c], int(likely[c]), float(sums[c])) for c in np.argsort(-sums, kind="stable"))


def _doubts(table: Table, seen: frozenset[str], sequences: Mapping[str, Sequence]) -> tuple[Doubt, ...]:
    """Sequences that no network processed, then those whose likeliest label has less than 0.5."""
    doubts = []
    for seq_id, row in zip(table.seq_ids, table.values.astype(np.float32), strict=True):
        best = int(row.argmax())
        if seq_id in seen and row[best] >= CERTAIN:
            continue
        sequence = sequences.get(seq_id)
        photo = sequence.images[0].file_name if sequence and sequence.images else ""
        doubts.append(Doubt(seq_id, photo, *((LABELS[best], float(row[best])) if seq_id in seen else ("", 0.0))))
    return tuple(sorted(doubts, key=lambda one: one.probability))


def _seen(run: FinishedRun) -> Table:
    """The predictions without the rows that are only priors, if records are available.

    Raises CheckpointError if they are, but belong to another run.
    """
    try:
        unseen = unprocessed_sequences(run)
    except RecordsElsewhereError:
        return run.predictions
    rows = [row for row, seq_id in enumerate(run.predictions.seq_ids) if seq_id not in unseen]
    return Table(tuple(run.predictions.seq_ids[row] for row in rows), run.predictions.values[rows])


def _groups(table: Table, sources: Sources, on_progress: Progress) -> tuple[SheetGroup, ...]:
    labels = sources.labels
    if sources.n_sheets == 0 or not table.seq_ids:
        return ()
    if labels:
        predictions, seq_ids, truth = aligned(table, labels), labels.seq_ids, labels.values
        losses = log_losses(predictions, truth)
        classes = sorted(LABELS, key=lambda label: -float(losses[:, LABELS.index(label)].sum()))
        choices = worst(losses, classes, sources.n_sheets)
        figures = [f"log loss {one:.4f}" for one in losses.mean(axis=1)]
    else:
        predictions, seq_ids, truth = table.values, table.seq_ids, None
        choices = most_and_least_confident(predictions, sources.n_sheets)
        figures = [f"uncertainty {one:.2f} (0: certain)" for one in uncertainty(predictions)]
    chosen = [row for choice in choices for row in choice.rows]
    known = sources.sequences or {}
    sequences = [known.get(seq_ids[row]) or Sequence(seq_ids[row], ()) for row in chosen]
    folder = sources.data_folder if sources.sequences else None
    made = pictures_of(sequences, folder, sources.n_workers) if folder else repeat(([], ()))
    sheets: dict[int, Sheet] = {}
    for row, sequence, (pictures, failures) in zip(chosen, sequences, made, strict=False):
        on_progress(len(sheets), len(chosen))
        sheets[row] = Sheet(
            seq_id=sequence.seq_id,
            when=sequence.images[0].datetime if sequence.images else "",
            truth=None if truth is None else tuple(LABELS[c] for c in np.flatnonzero(truth[row])),
            guesses=_guesses(predictions[row], None if truth is None else truth[row]),
            figure=figures[row],
            pictures=tuple(pictures),
            failures=tuple(f"{one.file_name}: {one.reason}" for one in failures),
        )
    return tuple(SheetGroup(one.title, one.why, tuple(sheets[row] for row in one.rows)) for one in choices)


def _guesses(row: npt.NDArray[np.float64], truth: npt.NDArray[np.float64] | None) -> tuple[Guess, ...]:
    """The likeliest labels, and all true ones: float64 (C,) each."""
    order = np.argsort(-row, kind="stable").tolist()
    there = np.zeros(len(row)) if truth is None else truth
    shown = order[:TOP] + [c for c in order[TOP:] if there[c]]
    return tuple(Guess(LABELS[c], float(row[c]), bool(there[c])) for c in shown)
