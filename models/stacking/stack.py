"""`hakuna stack`: two seasons of records -> the stackers of one set, or of both."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import structlog

from inference.core.errors import CheckpointError, InputError, UsageError
from inference.core.files import output_errors
from inference.core.labels import LABELS
from inference.process.progress import RunState
from models.spec.recipe import Recipe
from models.stacking.matrix import Season, read_season, stacking_manifest
from models.stacking.train_set import (
    Direction,
    StackingOptions,
    StackingResult,
    TrainTasks,
    train_in_processes,
    train_stackers,
)

log = structlog.get_logger()

MATRICES_NAME = ".matrices"
"""Below the folder of the stackers: gigabytes, removed when a run ends, or when the next one begins."""


@dataclass(frozen=True)
class StackingJob:
    """What to train, on what.

    Attributes
    ----------
    records : folder with the output folder of `hakuna predict --no-tta` of each season, under its name
    out, reverse_out : folders of the stackers trained on `train` and judged by `valid`, and the other way round
    classes : those to train; None: the recipe's
    """

    recipe: Recipe
    train: str
    valid: str
    records: Path
    labels: Path
    out: Path
    reverse_out: Path | None
    classes: tuple[str, ...] | None


def stack(
    job: StackingJob, options: StackingOptions, state: RunState, train: TrainTasks = train_in_processes
) -> list[StackingResult]:
    """Train one set of stackers, and the reverse one if asked for. The caller keeps others out of both folders."""
    classes = _checked_classes(job)
    manifest = stacking_manifest(job.recipe)
    work = job.out / MATRICES_NAME
    with output_errors(work):
        shutil.rmtree(work, ignore_errors=True)  # a run that was killed left it
        work.mkdir(parents=True)
    try:
        first, second = (
            read_season(name, job.records, job.labels, manifest, work, state.check) for name in (job.train, job.valid)
        )
        _check_pair(job.records, first, second)
        for season in (first, second):
            log.info("season", name=season.name, sequences=season.n_sequences, left_out=season.n_left_out)
        ways = [Direction(first, second, job.out)]
        if job.reverse_out:
            ways.append(Direction(second, first, job.reverse_out))
        return [train_stackers(way, classes, manifest, options, state.check, train) for way in ways]
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _checked_classes(job: StackingJob) -> tuple[str, ...]:
    """The classes to train, each once. Raises UsageError where a job makes no sense."""
    if job.recipe.stacking is None:
        raise UsageError(f"--recipe {job.recipe.name}: must have stackers, got none")
    if job.train == job.valid:
        raise UsageError(f"--train, --valid: must be different seasons, got {job.train} twice")
    classes = tuple(dict.fromkeys(job.classes or job.recipe.stacking.classes))
    unknown = [label for label in classes if label not in LABELS]
    if unknown:
        raise UsageError(f"--classes: must be among the {len(LABELS)} labels, got {', '.join(unknown)}")
    return classes


def _check_pair(records: Path, train: Season, valid: Season) -> None:
    """Refuse seasons that different networks made under the same names, or that share sequences."""
    both = f"{records}: records of {train.name} and {valid.name} must have"
    different = [name for (name, one), (_, other) in zip(train.networks, valid.networks, strict=True) if one != other]
    if different:
        raise CheckpointError(f"{both} been made by the same networks, but these differ: {', '.join(different)}")
    shared = train.seq_ids & valid.seq_ids
    if shared:
        raise InputError(f"{both} no sequence in common, got {len(shared)}, the first {min(shared)}")
