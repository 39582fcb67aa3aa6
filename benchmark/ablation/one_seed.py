"""The ablation study with one seed."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from benchmark.ablation.direct_resize import predict_with_direct_resize
from benchmark.ablation.plan import (
    ALL_SEASONS,
    BATCH_SEQUENCES,
    JUDGING,
    LEARNING,
    LEAST_POSITIVES,
    STACKING,
    VALIDATION,
    AblationSize,
    schedule_of,
)
from benchmark.ablation.steps import NETWORKS, PRESET, STEPS, Configuration, recipe_of
from benchmark.scoring.log_loss import score
from benchmark.synthetic.season import Role, SeasonOptions, write_seasons
from inference.api.jobs import build_job, run_job
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import Preset
from inference.core.errors import UsageError
from inference.core.files import read_json, write_json
from inference.core.labels import CLASS_PRIORS, EMPTY, LABELS
from inference.core.version import hakuna_version
from inference.dataset.label_tables import Table, read_labels, read_submission
from inference.dataset.metadata import Metadata, plan_sequences, read_metadata
from inference.execution.job import RunOptions
from inference.outputs.submission import SUBMISSION_NAME
from inference.process.lock import locked
from inference.process.progress import RunState
from models.bundling.build import build_bundle
from models.data.season_labels import TRAIN_LABELS_NAME, TRAIN_METADATA_NAME, season_of
from models.spec.kinds import NetworkKind
from models.spec.network_plan import NETWORK_NAME, REPORT_NAME
from models.stacking.matrix import SECOND, half_of
from models.stacking.stack import StackingJob, StackingOptions, stack
from models.training.job import TrainingJob, TrainingOptions
from models.training.train import train

log = structlog.get_logger()

PLAN_NAME, ROWS_NAME, CLOCK_NAME, DONE_NAME = "plan.json", "rows.json", "seconds.json", "data.done"


def seed_folder(work: Path, plan: AblationSize, seed: int) -> Path:
    """The folder of a seed, which belongs to one plan permanently. Raises UsageError if it belongs to another."""
    folder = work / f"{plan.name}{seed}"
    mine = {
        "plan": repr(replace(plan, seeds=())),
        "seed": repr(seed),
        "trainings": repr(NETWORKS),
        "steps": repr(STEPS),
        "version": hakuna_version(),
    }
    path = folder / PLAN_NAME
    if not folder.exists():
        folder.mkdir(parents=True)
        write_json(mine, path)
    found = read_json(path) if path.exists() else {}
    different = ", ".join(name for name in mine if found.get(name) != mine[name])
    if different:
        raise UsageError(f"--cache-dir {folder}: must be of this study, differs in {different}; choose another folder")
    return folder


def run_seed(folder: Path, plan: AblationSize, seed: int, n_workers: int) -> dict[str, Any]:
    """All steps with one seed: the log loss of each, on season 11 and on the held-out half of season 10."""
    labels = prepare(folder, plan, seed, n_workers, tuple(NETWORKS))
    held_out = [one for one in labels.seq_ids if season_of(one) == "S10" and half_of(one) == SECOND]
    judging = [one for one in labels.seq_ids if season_of(one) == JUDGING]
    priors = Table(tuple(judging), np.tile(list(CLASS_PRIORS.values()), (len(judging), 1)))
    rows: dict[str, Any] = {"priors": _losses(priors, labels, judging)}
    stacked = stacked_classes(labels)
    for step in STEPS:
        parts = {JUDGING: judging} | ({} if step.trained_on_10 else {"S10": held_out})
        predictions = {name: _predict(folder, step, plan, name, stacked, n_workers) for name in parts}
        rows[step.number] = {name: _losses(predictions[name], labels, seq_ids) for name, seq_ids in parts.items()}
        log.info("step", seed=seed, step=step.number, log_loss=round(rows[step.number][JUDGING]["log_loss"], 6))
    return rows


def prepare(folder: Path, plan: AblationSize, seed: int, n_workers: int, networks: tuple[str, ...]) -> Table:
    """Draw the seasons and train some networks, unless already done; returns the labels of all seasons."""
    data = folder / "data"
    if not (data / DONE_NAME).exists():
        options = SeasonOptions(plan.n_sequences, plan.n_cameras, plan.photo_size, seed, role=Role.TRAIN)
        write_seasons(data, ALL_SEASONS, options, n_workers)
        (data / DONE_NAME).touch()
    for name in NETWORKS:
        if name in networks:
            _train(folder, data, name, plan, seed, n_workers)
    return read_labels(data / TRAIN_LABELS_NAME)


def train_stackers(
    folder: Path, step: Configuration, plan: AblationSize, stacked: tuple[str, ...], n_workers: int
) -> Path:
    """Make the records of both stacking seasons by a step's networks, and both sets of stackers; returns their folder.

    Steps with the same networks share the records, and those with the same features share the stackers.
    """
    recipe = recipe_of(step, plan.size, stacked)
    made = folder / "stacking" / "_".join(step.networks)
    work = made / ("neighbours" if step.neighbours else "alone")
    work.mkdir(parents=True, exist_ok=True)
    plain = made / "bundle"
    unstacked = open_bundle(plain) if plain.exists() else build_bundle(recipe, folder / "networks", None, plain)
    for season in STACKING:
        _run(folder / "data", [season], unstacked, made / "records" / season, n_workers, flip_tta=False)
    job = StackingJob(
        recipe=recipe_of(replace(step, sets=STACKING), plan.size, stacked),
        train=STACKING[0],
        valid=STACKING[1],
        records=made / "records",
        labels=folder / "data" / TRAIN_LABELS_NAME,
        out=work / STACKING[0],
        reverse_out=work / STACKING[1],
        classes=stacked,
    )
    stack(job, StackingOptions(n_workers=n_workers, seed=1, rounds=plan.rounds), RunState())
    return work


def stacked_classes(labels: Table) -> tuple[str, ...]:
    """Classes with enough positives in either half of both stacking seasons."""
    parts = np.array([f"{season_of(one)} {half_of(one)}" for one in labels.seq_ids])
    counts = [labels.values[parts == f"{season} {half}"].sum(axis=0) for season in STACKING for half in (0, 1)]
    return tuple(label for label, least in zip(LABELS, np.min(counts, axis=0), strict=True) if least >= LEAST_POSITIVES)


@contextmanager
def timed_step(folder: Path) -> Iterator[None]:
    """Add the time of this session to the earlier ones."""
    path, start = folder / CLOCK_NAME, time.perf_counter()
    before = read_json(path)["seconds"] if path.exists() else 0
    try:
        yield
    finally:
        write_json({"seconds": before + time.perf_counter() - start}, path)


def validation_loss(folder: Path, network: str) -> float:
    """Log loss of a single network on season 8 with the reference resize, its training condition."""
    report = read_json(folder / "networks" / network / REPORT_NAME)
    return float(report["last_epoch"]["validation_log_loss"])


def _train(folder: Path, data: Path, name: str, plan: AblationSize, seed: int, n_workers: int) -> None:
    out, network = folder / "networks" / name, NETWORKS[name]
    if (out / NETWORK_NAME).exists():
        return
    if network.kind is NetworkKind.TWO_BRANCH:
        background, mean = (folder / "networks" / one / NETWORK_NAME for one in ("background", "mean_image"))
        network = replace(network, background=background, mean=mean)
    job = TrainingJob(
        plan=network,
        schedule=schedule_of(network, plan),
        photos=str(data),
        metadata=data / TRAIN_METADATA_NAME,
        labels=data / TRAIN_LABELS_NAME,
        training_seasons=LEARNING,
        validation_seasons=VALIDATION,
        preset=Preset(PRESET),
        seed=seed,
    )
    options = TrainingOptions(n_workers=n_workers, cache_folder=folder / "frames")
    with locked(out) as output:
        train(job, output, options, RunState())


def _predict(
    folder: Path, step: Configuration, plan: AblationSize, season: str, stacked: tuple[str, ...], n_workers: int
) -> Table:
    """Predictions of a step for a season."""
    data = folder / "data"
    if step.direct_resize:
        network = folder / "networks" / step.networks[0] / NETWORK_NAME
        return predict_with_direct_resize(network, data, _sequences(data, [season]), plan.size)
    made, out = (folder / name / step.number.replace(" ", "_") for name in ("bundles", "predictions"))
    if made.exists():
        bundle = open_bundle(made)
    else:
        stackers = train_stackers(folder, step, plan, stacked, n_workers) if step.sets else None
        bundle = build_bundle(recipe_of(step, plan.size, stacked), folder / "networks", stackers, made)
    _run(data, [season], bundle, out / season, n_workers, flip_tta=step.flip_tta)
    return read_submission(out / season / SUBMISSION_NAME)


def _run(data: Path, seasons: Iterable[str], bundle: Bundle, out: Path, n_workers: int, *, flip_tta: bool) -> None:
    """`hakuna predict` on some seasons."""
    metadata = data / TRAIN_METADATA_NAME
    every = build_job(data, bundle, metadata=metadata, submission_format="none", flip_tta=flip_tta, resize=PRESET)
    job = replace(every, plan=plan_sequences(_sequences(data, seasons), None))
    run_job(job, out, RunOptions(n_workers=n_workers, batch_size=BATCH_SEQUENCES))


def _sequences(data: Path, seasons: Iterable[str]) -> Metadata:
    metadata, wanted = read_metadata(data / TRAIN_METADATA_NAME), set(seasons)
    kept = {seq_id: one for seq_id, one in metadata.sequences.items() if season_of(seq_id) in wanted}
    return replace(metadata, sequences=kept, n_duplicate_rows=0)


def _losses(predictions: Table, labels: Table, seq_ids: list[str]) -> dict[str, float]:
    result = score(_rows(predictions, seq_ids), _rows(labels, seq_ids), epsilon=1e-7)
    by_label = {one.label: one.log_loss for one in result.classes}
    return {"log_loss": result.log_loss, "empty_log_loss": by_label[LABELS[EMPTY]]}


def _rows(table: Table, seq_ids: list[str]) -> Table:
    position = {seq_id: row for row, seq_id in enumerate(table.seq_ids)}
    return Table(tuple(seq_ids), table.values[[position[seq_id] for seq_id in seq_ids]])
