"""`hakuna stack`: two seasons of records -> the stackers of one set or both, with one process per class."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import structlog
from pydantic import TypeAdapter

from inference.bundle.manifest import Manifest
from inference.core.errors import CheckpointError, InputError, OutOfMemoryError, UsageError
from inference.core.files import output_errors, read_json, remove_tree, sha256_of_file, write_json
from inference.core.labels import LABELS
from inference.process.children import exit_with_parent
from inference.process.progress import RunState
from models.spec.recipe import Recipe, manifest_of
from models.stacking.matrix import Season, read_season
from models.stacking.train_class import (
    EARLY_STOPPING,
    REPRODUCIBLE,
    ROUNDS,
    WEIGHT_BOUNDS,
    ClassResult,
    Task,
    check_trainable,
    parameters,
    train_class,
)

log = structlog.get_logger()

MATRICES_NAME = ".matrices"
"""Below the folder of the stackers: gigabytes, removed when a run ends or the next one begins."""
MEMORY_BYTES = 12 << 30
"""Default limit for the memory of training, in total."""
SAMPLE_ROWS = 200_000
"""Rows that LightGBM copies, in float64, to find the bins of a feature: its default, and the peak of a process."""
REPORT_NAME = "stacking.json"
POLL_SECONDS = 0.5

CLASS_RESULTS = TypeAdapter(list[ClassResult])

TrainTasks = Callable[[list[Task], int, Callable[[], None]], Iterable[ClassResult]]
"""Trains this many stackers at a time and yields results on arrival; the last argument raises to stop the run."""


@dataclass(frozen=True)
class StackingJob:
    """The recipe, data and folders of a training.

    Attributes
    ----------
    records : folder with the output folders of `hakuna predict --no-tta`, named after their seasons
    out, reverse_out : folders of the stackers trained on `train` and judged on `valid`, and the other way round
    classes : classes to train; None: the recipe's
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
class StackingOptions:
    """How to train; only the seed changes the stackers."""

    n_workers: int
    seed: int
    rounds: int = ROUNDS
    memory_bytes: int = MEMORY_BYTES
    fresh: bool = False


@dataclass(frozen=True)
class Direction:
    """A season for training, another for judging, and the folder of the stackers."""

    train: Season
    valid: Season
    out: Path


def train_in_processes(tasks: list[Task], n_together: int, check: Callable[[], None]) -> Iterator[ClassResult]:
    """Results on arrival. Each class trains in a child process, since LightGBM may run out of memory."""
    if not tasks:
        return
    with ProcessPoolExecutor(n_together, mp_context=get_context("spawn"), initializer=exit_with_parent) as pool:
        waiting: set[Future[ClassResult]] = {pool.submit(train_class, task) for task in tasks}
        try:
            while waiting:
                check()
                done, waiting = wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise OutOfMemoryError("stackers: must fit into memory, but a process that trained one died") from error
        finally:
            for process in list((pool._processes or {}).values()) if waiting else []:  # noqa: SLF001  # no public way
                process.kill()
            pool.shutdown(cancel_futures=True)  # waits: its thread would race with the end of the program


def stack(
    job: StackingJob, options: StackingOptions, state: RunState, train: TrainTasks = train_in_processes
) -> list[tuple[Direction, list[ClassResult]]]:
    """Train one set of stackers, and the reverse one if requested; returns the gain of each stacker.

    The caller keeps other runs out of both folders.
    """
    classes = _checked_classes(job)
    manifest = manifest_of(job.recipe)
    work = job.out / MATRICES_NAME
    with output_errors(work):
        remove_tree(work)  # left by a killed run
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
        return [(way, train_stackers(way, classes, manifest, options, state.check, train)) for way in ways]
    finally:
        with suppress(OSError):
            remove_tree(work)


def _checked_classes(job: StackingJob) -> tuple[str, ...]:
    """The classes to train, each once. Raises UsageError for an invalid job."""
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
    """Reject seasons recorded by different networks of the same names, and seasons that share sequences."""
    both = f"{records}: records of {train.name} and {valid.name} must have"
    different = [name for (name, one), (_, other) in zip(train.networks, valid.networks, strict=True) if one != other]
    if different:
        raise CheckpointError(f"{both} been made by the same networks, but these differ: {', '.join(different)}")
    shared = train.seq_ids & valid.seq_ids
    if shared:
        raise InputError(f"{both} no sequence in common, got {len(shared)}, the first {min(shared)}")


def n_processes(n_workers: int, n_classes: int, n_rows: int, n_features: int, memory_bytes: int) -> int:
    """Number of classes to train at a time within the memory, at least one."""
    matrix = n_rows * n_features * np.dtype(np.float32).itemsize
    sample = min(n_rows, SAMPLE_ROWS) * n_features * np.dtype(np.float64).itemsize
    binned = n_rows * n_features
    return max(1, min(n_workers, n_classes, (memory_bytes - matrix) // (sample + binned)))


def train_stackers(
    way: Direction,
    classes: tuple[str, ...],
    manifest: Manifest,
    options: StackingOptions,
    check: Callable[[], None],
    train: TrainTasks,
) -> list[ClassResult]:
    """Train one stacker for each class and write `CLASS.txt`, unless an earlier run trained it in the same way.

    The report in the folder lists all its stackers; the returned results are those of `classes`.

    Raises
    ------
    InputError
        A season never shows a class, or always does.
    OutOfMemoryError
        A training process died.
    """
    with output_errors(way.out):
        way.out.mkdir(parents=True, exist_ok=True)
    names, n_rows = manifest.feature_names, way.train.n_sequences + way.valid.n_sequences
    n_together = n_processes(options.n_workers, len(classes), n_rows, len(names), options.memory_bytes)
    tasks = [
        Task(
            label=label,
            train=way.train.of_class(LABELS.index(label)),
            valid=way.valid.of_class(LABELS.index(label)),
            feature_names=names,
            prior=manifest.priors[label],
            seed=options.seed,
            rounds=options.rounds,
            n_threads=max(1, options.n_workers // n_together),
            path=way.out / f"{label}.txt",
        )
        for label in classes
    ]
    for task in tasks:
        check_trainable(task)
    fingerprint = {
        "training": way.train.digest,
        "validation": way.valid.digest,
        "features": list(names),
        "settings": _settings_digest(manifest.priors),
        "seed": options.seed,
        "rounds": options.rounds,
        "lightgbm": lightgbm.__version__,
    }
    results = _earlier_results(way.out, fingerprint, fresh=options.fresh)
    if options.fresh:
        results = {label: one for label, one in results.items() if label not in classes}
    for result in train([task for task in tasks if task.label not in results], n_together, check):
        results[result.label] = result
        _write_report(way, fingerprint, results)
        log.info("stacker", **{name: value for name, value in asdict(result).items() if name != "sha256"})
    return [results[label] for label in classes]


def _earlier_results(out: Path, fingerprint: dict[str, Any], *, fresh: bool) -> dict[str, ClassResult]:
    """Results of earlier runs on the same data, of any class, if their files are unchanged."""
    path = out / REPORT_NAME
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
        if content["fingerprint"] != fingerprint:
            return {}
        results = CLASS_RESULTS.validate_python(content["classes"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if fresh:
            log.warning("report of an earlier run", file=str(path), error=repr(error))
            return {}
        raise CheckpointError(
            f"{path}: must be the report of an earlier run, got: {error!r}; --restart starts over"
        ) from error
    return {
        one.label: one
        for one in results
        if one.label in LABELS and (file := out / f"{one.label}.txt").is_file() and sha256_of_file(file) == one.sha256
    }


def _settings_digest(priors: dict[str, float]) -> str:
    """SHA-256 of the settings for training any class, whatever the data."""
    of_classes = [parameters(label, 1) for label in LABELS]
    content = [priors, of_classes, REPRODUCIBLE, EARLY_STOPPING, WEIGHT_BOUNDS]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_report(way: Direction, fingerprint: dict[str, Any], results: dict[str, ClassResult]) -> None:
    content = {
        "trained_on": way.train.name,
        "judged_by": f"half of {way.valid.name}",
        "fingerprint": fingerprint,
        "classes": [asdict(results[label]) for label in sorted(results)],
    }
    write_json(content, way.out / REPORT_NAME)
