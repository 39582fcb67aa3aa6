"""Trains a whole set of stackers, one process a class, and keeps what is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import structlog

from inference.core.errors import CheckpointError, OutOfMemoryError
from inference.core.files import output_errors, sha256_of_file, write_json
from inference.core.labels import LABELS
from inference.process.children import exit_with_parent
from models.stacking.matrix import Season
from models.stacking.train_class import (
    EARLY_STOPPING,
    REPRODUCIBLE,
    ROUNDS,
    WEIGHT_BOUNDS,
    ClassResult,
    Task,
    check_both,
    parameters,
    train_class,
)

log = structlog.get_logger()

MEMORY_BYTES = 12 << 30
"""What training may take in all, by default."""
SAMPLE_ROWS = 200_000
"""Rows that LightGBM looks at, in float64, to find the bins of a feature: its default, and the peak of a process."""
REPORT_NAME = "stacking.json"
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class StackingOptions:
    """How to train; only the seed changes the boosters."""

    n_workers: int
    seed: int
    rounds: int = ROUNDS
    memory_bytes: int = MEMORY_BYTES
    fresh: bool = False


def n_processes(n_workers: int, n_classes: int, n_rows: int, n_features: int, memory_bytes: int) -> int:
    """How many classes can be trained at a time within the memory. At least one is."""
    matrix = n_rows * n_features * np.dtype(np.float32).itemsize
    sample = min(n_rows, SAMPLE_ROWS) * n_features * np.dtype(np.float64).itemsize
    binned = n_rows * n_features
    return max(1, min(n_workers, n_classes, (memory_bytes - matrix) // (sample + binned)))


def train_stackers(
    train: Season,
    valid: Season,
    classes: tuple[str, ...],
    feature_names: tuple[str, ...],
    priors: dict[str, float],
    out: Path,
    options: StackingOptions,
    check: Callable[[], None],
) -> list[ClassResult]:
    """Train one booster for each class and write `CLASS.txt` into `out`, which keeps what earlier runs trained the same way.

    The report there tells of all of them; returned are those of `classes`.

    Raises
    ------
    InputError
        A class is not seen in a season, or always.
    OutOfMemoryError
        A process that trained died.
    """
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    n_rows = train.n_sequences + valid.n_sequences
    together = n_processes(options.n_workers, len(classes), n_rows, len(feature_names), options.memory_bytes)
    n_threads = max(1, options.n_workers // together)
    tasks = [
        Task(
            label=label,
            train=train.of_class(LABELS.index(label)),
            valid=valid.of_class(LABELS.index(label)),
            feature_names=feature_names,
            prior=priors[label],
            seed=options.seed,
            rounds=options.rounds,
            n_threads=n_threads,
            path=out / f"{label}.txt",
        )
        for label in classes
    ]
    for task in tasks:
        check_both(task)
    fingerprint = {
        "training": train.digest,
        "validation": valid.digest,
        "features": list(feature_names),
        "settings": _settings_digest(priors),
        "seed": options.seed,
        "rounds": options.rounds,
        "lightgbm": lightgbm.__version__,
    }
    again = classes if options.fresh else ()
    results = {label: one for label, one in _kept(out, fingerprint, fresh=options.fresh).items() if label not in again}
    for result in _trained([task for task in tasks if task.label not in results], together, check):
        results[result.label] = result
        _write_report(out, fingerprint, train, valid, results)
        log.info("stacker", **{name: value for name, value in asdict(result).items() if name != "sha256"})
    _write_report(out, fingerprint, train, valid, results)
    return [results[label] for label in classes]


def _trained(tasks: list[Task], n_together: int, check: Callable[[], None]) -> Iterable[ClassResult]:
    """Results as they come. Each class is trained in a process: LightGBM may die of memory, this one must not."""
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
            processes = list((pool._processes or {}).values())  # noqa: SLF001  # no public way; none after the shutdown
            pool.shutdown(wait=not waiting, cancel_futures=True)
            for process in processes if waiting else []:
                process.kill()  # it inherited blocked signals


def _kept(out: Path, fingerprint: dict[str, Any], *, fresh: bool) -> dict[str, ClassResult]:
    """What earlier runs on the same data trained, of any class, as far as the files are still what they were."""
    path = out / REPORT_NAME
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["fingerprint"] != fingerprint:
            return {}
        results = [ClassResult(**one) for one in content["classes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if fresh:
            log.warning("report of an earlier run", file=str(path), error=repr(error))
            return {}
        raise CheckpointError(
            f"{path}: must be the report of an earlier run, got: {error!r}; --restart starts over"
        ) from error
    return {
        one.label: one
        for one in results
        if (file := out / f"{one.label}.txt").is_file() and sha256_of_file(file) == one.sha256
    }


def _settings_digest(priors: dict[str, float]) -> str:
    """SHA-256 of how any class is learnt, whatever it is learnt from."""
    of_classes = [parameters(label, 1) for label in LABELS]
    content = [priors, of_classes, REPRODUCIBLE, EARLY_STOPPING, WEIGHT_BOUNDS]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_report(
    out: Path, fingerprint: dict[str, Any], train: Season, valid: Season, results: dict[str, ClassResult]
) -> None:
    content = {
        "trained_on": train.name,
        "judged_by": f"half of {valid.name}",
        "fingerprint": fingerprint,
        "classes": [asdict(results[label]) for label in sorted(results)],
    }
    write_json(content, out / REPORT_NAME)
