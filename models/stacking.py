"""LightGBM stackers: trained on one season, stopped early by half of another, judged by its other half.

The parameters are those of the published program (REFERENCE.md section 3.4).
"""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import numpy.typing as npt
import structlog

from inference.booster_text import check_booster_text
from inference.domain import LABELS, CheckpointError, InputError, OutOfMemoryError
from inference.files import atomic_writer, output_errors, sha256_of_file
from models.children import end_with_parent
from models.stacking_data import FIRST, SECOND, Season

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

log = structlog.get_logger()

ROUNDS = 3000
EARLY_STOPPING = 20
BASE: dict[str, Any] = {
    "objective": "binary",
    "boosting": "gbdt",
    "num_leaves": 32,
    "max_depth": 6,
    "learning_rate": 0.009,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.8,
    "bagging_freq": 5,
    "lambda_l1": 0.2,
    "lambda_l2": 0.2,
    "min_child_samples": 25,
}
SLOW = frozenset({"empty", "zebra"})
SLOW_RATE = 0.008
FEW_FEATURES = frozenset({"empty"})
FEW_FEATURES_FRACTION = 0.3
REGULARISED = frozenset({"empty", "buffalo"})
REGULARISED_LAMBDA = 0.3
COMMON = frozenset({"empty", "zebra", "buffalo", "topi", "wildebeest", "gazellethomsons"})
COMMON_CHILD_SAMPLES = 30
WEIGHT_BOUNDS = (0.6, 1.8)
"""Of `scale_pos_weight`: share of the class over all seasons / share in the training season."""
REPRODUCIBLE: dict[str, Any] = {
    "metric": "binary_logloss",
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
"""With these the same matrix gives the same booster, on any number of threads."""
EPSILON = 1e-15
"""Clip of the metric."""

MEMORY_BYTES = 12 << 30
"""What training may take in all, by default."""
SAMPLE_ROWS = 200_000
"""Rows that LightGBM looks at, in float64, to find the bins of a feature: its default, and the peak of a process."""
REPORT_NAME = "stacking.json"
NUMBER_OF_THREADS = re.compile(r"\[num_threads: \d+\]")
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class StackingOptions:
    """How to train; only the seed changes the boosters."""

    n_workers: int
    seed: int
    rounds: int = ROUNDS
    memory_bytes: int = MEMORY_BYTES
    fresh: bool = False


@dataclass(frozen=True)
class Task:
    """One class to train, ready to be sent to another process: both seasons have this class only."""

    label: str
    train: Season
    valid: Season
    feature_names: tuple[str, ...]
    prior: float
    seed: int
    rounds: int
    n_threads: int
    path: Path


@dataclass(frozen=True)
class ClassResult:
    """What a stacker gains on the half that it never saw.

    Attributes
    ----------
    before, after : log loss of the class without and with the stacker
    n_positive : sequences of the held-out half that show it
    n_trees : rounds until early stopping
    """

    label: str
    before: float
    after: float
    n_positive: int
    n_sequences: int
    n_trees: int
    scale_pos_weight: float
    sha256: str


def parameters(label: str, weight: float) -> dict[str, Any]:
    """LightGBM's parameters for a class."""
    return {
        **BASE,
        "learning_rate": SLOW_RATE if label in SLOW else BASE["learning_rate"],
        "feature_fraction": FEW_FEATURES_FRACTION if label in FEW_FEATURES else BASE["feature_fraction"],
        "lambda_l1": REGULARISED_LAMBDA if label in REGULARISED else BASE["lambda_l1"],
        "lambda_l2": REGULARISED_LAMBDA if label in REGULARISED else BASE["lambda_l2"],
        "min_child_samples": COMMON_CHILD_SAMPLES if label in COMMON else BASE["min_child_samples"],
        "scale_pos_weight": weight,
    }


def positive_weight(prior: float, share: float) -> float:
    """How much a positive counts, so that a season's share of a class becomes that of all seasons."""
    low, high = WEIGHT_BOUNDS
    return min(max(prior / share, low), high)


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
        _check_both(task)
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
    with ProcessPoolExecutor(n_together, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
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


def train_class(task: Task) -> ClassResult:
    """Train, judge and write the booster of one class."""
    targets = np.concatenate([half.targets[:, 0] for half in task.train.halves])
    weight = positive_weight(task.prior, float(targets.mean()))
    settings = {**parameters(task.label, weight), **REPRODUCIBLE, "seed": task.seed, "num_threads": task.n_threads}
    names = list(task.feature_names)
    dataset = lightgbm.Dataset(
        [half.features() for half in task.train.halves],
        targets,
        feature_name=names,
        params=settings,
    )
    stopping = task.valid.halves[FIRST]
    stopped = lightgbm.Dataset(stopping.features(), stopping.targets[:, 0], reference=dataset, feature_name=names)
    booster = lightgbm.train(
        settings,
        dataset,
        num_boost_round=task.rounds,
        valid_sets=[stopped],
        callbacks=[lightgbm.early_stopping(EARLY_STOPPING, verbose=False)],
    )
    _write_booster(booster, task.path)
    held_out = task.valid.halves[SECOND]
    after = np.asarray(booster.predict(held_out.features(), num_iteration=booster.best_iteration))
    return ClassResult(
        label=task.label,
        before=log_loss(held_out.estimate[:, 0], held_out.targets[:, 0]),
        after=log_loss(after, held_out.targets[:, 0]),
        n_positive=int(held_out.targets[:, 0].sum()),
        n_sequences=len(held_out.targets),
        n_trees=booster.best_iteration,
        scale_pos_weight=weight,
        sha256=sha256_of_file(task.path),
    )


def log_loss(p: npt.NDArray[Any], y: npt.NDArray[np.uint8]) -> float:
    """Mean binary log loss, clipped as in the competition's metric."""
    clipped = np.clip(p.astype(np.float64), EPSILON, 1 - EPSILON)
    return float(-np.mean(np.where(y == 1, np.log(clipped), np.log1p(-clipped))))


def _write_booster(booster: lightgbm.Booster, path: Path) -> None:
    """Write the trees up to the best round, whole or not at all."""
    text = booster.model_to_string(num_iteration=booster.best_iteration)
    text = NUMBER_OF_THREADS.sub("[num_threads: 0]", text)  # it changes nothing, so it shall not change the file
    check_booster_text(str(path), text.encode())
    with atomic_writer(path) as file:
        file.write(text)


def _check_both(task: Task) -> None:
    """Refuse a class that a part never shows, or always: there is nothing to learn or to judge."""
    parts = {
        f"season {task.train.name}": [half.targets[:, 0] for half in task.train.halves],
        f"the first half of season {task.valid.name}": [task.valid.halves[FIRST].targets[:, 0]],
        f"the held-out half of season {task.valid.name}": [task.valid.halves[SECOND].targets[:, 0]],
    }
    for where, targets in parts.items():
        n_positive, n_all = sum(int(one.sum()) for one in targets), sum(len(one) for one in targets)
        if not 0 < n_positive < n_all:
            raise InputError(
                f"class {task.label}: {where} must have sequences with and without it, got {n_positive} of {n_all}"
            )


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
            f"{path}: must be the report of an earlier run, got: {error!r}; --fresh starts over"
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
    with atomic_writer(out / REPORT_NAME) as file:
        json.dump(content, file, indent=1)
        file.write("\n")
