"""`hakuna stack`: two seasons of records -> the boosters of one set, or of both."""

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
from models.stacking.train_class import ClassResult
from models.stacking.train_set import StackingOptions, train_stackers

log = structlog.get_logger()

MATRICES_NAME = ".matrices"
"""Below the folder of the boosters: gigabytes, gone when a run ends, or when the next one begins."""


@dataclass(frozen=True)
class StackingJob:
    """What to train, on what.

    Attributes
    ----------
    records : folder with the output folder of `hakuna predict --no-tta` of each season, under its name
    out, reverse_out : folders of the boosters trained on `train` and judged by `valid`, and the other way round
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


@dataclass(frozen=True)
class Outcome:
    """One set of boosters."""

    train: str
    valid: str
    out: Path
    results: list[ClassResult]


def stack(job: StackingJob, options: StackingOptions, state: RunState) -> list[Outcome]:
    """Train one set of boosters, and the reverse one if asked for. The caller keeps others out of both folders."""
    stacking = job.recipe.stacking
    if stacking is None:
        raise UsageError(f"--recipe {job.recipe.name}: must have stackers, got none")
    classes = tuple(dict.fromkeys(job.classes or stacking.classes))
    unknown = [label for label in classes if label not in LABELS]
    if unknown:
        raise UsageError(f"--classes: must be among the {len(LABELS)} labels, got {', '.join(unknown)}")
    if job.train == job.valid:
        raise UsageError(f"--train, --valid: must be different seasons, got {job.train} twice")
    manifest = stacking_manifest(job.recipe)
    work = job.out / MATRICES_NAME
    with output_errors(work):
        shutil.rmtree(work, ignore_errors=True)  # a run that was killed left it
        work.mkdir(parents=True)
    try:
        seasons = {
            name: read_season(name, job.records, job.labels, manifest, work, state.check)
            for name in (job.train, job.valid)
        }
        _check_same_networks(job, seasons[job.train], seasons[job.valid])
        _check_apart(job, seasons[job.train], seasons[job.valid])
        for season in seasons.values():
            log.info("season", name=season.name, sequences=season.n_sequences, left_out=season.n_left_out)
        ways = [(job.train, job.valid, job.out)]
        if job.reverse_out:
            ways.append((job.valid, job.train, job.reverse_out))
        return [
            Outcome(
                train,
                valid,
                out,
                train_stackers(
                    seasons[train],
                    seasons[valid],
                    classes,
                    manifest.feature_names,
                    job.recipe.priors,
                    out,
                    options,
                    state.check,
                ),
            )
            for train, valid, out in ways
        ]
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_apart(job: StackingJob, train: Season, valid: Season) -> None:
    """Refuse to judge by sequences that were learnt."""
    both = train.seq_ids & valid.seq_ids
    if both:
        raise InputError(
            f"{job.records}: records of {train.name} and {valid.name} must have no sequence in common, "
            f"got {len(both)}, the first {min(both)}"
        )


def _check_same_networks(job: StackingJob, train: Season, valid: Season) -> None:
    """Refuse records of two seasons that different networks made, under the same names."""
    different = [name for (name, one), (_, other) in zip(train.networks, valid.networks, strict=True) if one != other]
    if different:
        raise CheckpointError(
            f"{job.records}: records of {train.name} and {valid.name} must have been made by the same networks, "
            f"but these differ: {', '.join(different)}"
        )
