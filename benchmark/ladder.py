"""The published solution step by step, on synthetic seasons: what does each step change, and is it more than chance?

Everything a seed leaves lies in a folder of its own, so that an interrupted ladder goes on where it was; its rows are kept
when it ends. Another seed means other photos and other networks.
"""

from __future__ import annotations

import json
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from benchmark.ladder_steps import PRESET, STEPS, TRAININGS, Step, recipe_of
from benchmark.ladder_straight import predict_straight
from benchmark.machine import origin
from benchmark.scoring import score
from benchmark.synthetic import Role, SeasonOptions, write_seasons
from inference.bundle import open_bundle
from inference.domain import CLASS_PRIORS, EMPTY, LABELS, ImageSize, Preset, UsageError
from inference.files import atomic_writer
from inference.job import Job, RunOptions
from inference.label_tables import Table, read_labels, read_submission
from inference.metadata import Metadata, plan_sequences, read_metadata
from inference.pipeline import predict
from inference.run_report import hakuna_version
from inference.run_state import RunState, locked
from inference.submission import SUBMISSION_NAME
from models.building import build_bundle
from models.kinds import Classes, Kind
from models.labels import TRAIN_LABELS_NAME, TRAIN_METADATA_NAME, season_of
from models.network_plan import NetworkPlan
from models.schedule import Schedule, SizeStage
from models.stacking import StackingOptions
from models.stacking_data import SECOND, half_of
from models.stacking_run import StackingJob, stack
from models.training import NETWORK_NAME, REPORT_NAME, TrainingJob, TrainingOptions, train

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from benchmark.ladder_steps import Training
    from inference.bundle import Bundle

log = structlog.get_logger()

LEARNING, VALIDATION, STACKING, JUDGING = tuple(f"S{n}" for n in range(1, 8)), ("S8",), ("S9", "S10"), "S11"
"""The published program learns from seasons 1 to 8 and validates with 9; here 8 validates, and 9 and 10 are the stackers'."""
ALL_SEASONS = tuple(range(1, 12))
DECAY = 0.15
PLAN_NAME, ROWS_NAME, CLOCK_NAME, DONE_NAME = "plan.json", "rows.json", "seconds.json", "data.done"
LEAST_POSITIVES = 6
"""A class is stacked if every half of both seasons shows it so often."""
BATCH_SEQUENCES = 32


@dataclass(frozen=True)
class Plan:
    """How large a ladder is.

    Attributes
    ----------
    n_sequences : of every season
    photo_size : larger than the reference resize makes frames, so that the step can be seen
    epochs, branch_epochs : of networks, and of the two-branch network, whose branches have learnt before
    learning_rate, branch_learning_rate : where they start
    rounds : most trees of a stacker
    """

    name: str
    seeds: tuple[int, ...]
    n_sequences: int
    n_cameras: int
    photo_size: ImageSize
    size: ImageSize
    epochs: int
    branch_epochs: int
    batch_size: int
    learning_rate: float
    branch_learning_rate: float
    rounds: int


FULL = Plan(
    name="full",
    seeds=(1, 2, 3),
    n_sequences=450,
    n_cameras=12,
    photo_size=ImageSize(576, 768),
    size=ImageSize(96, 128),
    epochs=12,
    branch_epochs=6,
    batch_size=32,
    learning_rate=2e-3,
    branch_learning_rate=2e-4,
    rounds=1000,
)
MINI = replace(
    FULL,
    name="mini",
    seeds=(1,),
    n_sequences=50,
    n_cameras=4,
    photo_size=ImageSize(480, 640),
    size=ImageSize(48, 64),
    epochs=1,
    branch_epochs=1,
    batch_size=16,
    rounds=40,
)


def run_ladder(work: Path, plan: Plan, n_workers: int, command: str) -> dict[str, Any]:
    """Climb for every seed; figures ready for JSON. What a seed has finished is not done again."""
    seeds = []
    for seed in plan.seeds:
        folder = seed_folder(work, plan, seed)
        if not (folder / ROWS_NAME).exists():
            with _timed(folder):
                rows = climb(folder, plan, seed, n_workers)
            _write(folder / ROWS_NAME, rows)
        seeds.append(_read(folder / ROWS_NAME))
    return {
        "what": "the published solution step by step, small networks on synthetic seasons",
        "sequences_per_season": plan.n_sequences,
        "seconds": round(sum(_read(seed_folder(work, plan, seed) / CLOCK_NAME) for seed in plan.seeds)),
        "seeds": list(plan.seeds),
        "priors": _over_seeds([one["priors"] for one in seeds]),
        "steps": summary(seeds),
        "networks": {
            one.name: _spread([_validation_loss(seed_folder(work, plan, seed), one) for seed in plan.seeds])
            for one in TRAININGS
            if one.classes is Classes.ALL
        },
        **origin(command),
    }


def seed_folder(work: Path, plan: Plan, seed: int) -> Path:
    """The folder of a seed, which belongs to one plan for good. Raises UsageError where it is another's."""
    folder = work / f"{plan.name}{seed}"
    mine = {
        "plan": repr(replace(plan, seeds=())),
        "seed": repr(seed),
        "trainings": repr(TRAININGS),
        "steps": repr(STEPS),
        "version": hakuna_version(),
    }
    path = folder / PLAN_NAME
    if not folder.exists():
        folder.mkdir(parents=True)
        _write(path, mine)
    found = _read(path) if path.exists() else {}
    different = [name for name in mine if found.get(name) != mine[name]]
    if different:
        raise UsageError(
            f"--work {folder}: must be of this ladder, differs in {', '.join(different)}; choose another folder"
        )
    return folder


def climb(folder: Path, plan: Plan, seed: int, n_workers: int) -> dict[str, Any]:
    """All steps with one seed: the log loss of each, on season 11 and on the held-out half of season 10."""
    labels = prepare(folder, plan, seed, n_workers, tuple(one.name for one in TRAININGS))
    held_out = [one for one in labels.seq_ids if season_of(one) == "S10" and half_of(one) == SECOND]
    judging = [one for one in labels.seq_ids if season_of(one) == JUDGING]
    rows: dict[str, Any] = {"priors": _losses(_priors(judging), labels, judging)}
    stacked = stacked_classes(labels)
    for step in STEPS:
        parts = {JUDGING: judging} | ({} if step.trained_on_10 else {"S10": held_out})
        predictions = {name: _predict(folder, step, plan, name, stacked, n_workers) for name in parts}
        rows[step.number] = {name: _losses(predictions[name], labels, seq_ids) for name, seq_ids in parts.items()}
        log.info("step", seed=seed, step=step.number, log_loss=round(rows[step.number][JUDGING]["log_loss"], 6))
    return rows


def prepare(folder: Path, plan: Plan, seed: int, n_workers: int, networks: tuple[str, ...]) -> Table:
    """Draw the seasons and train some networks, as far as that is not done; the labels of all seasons."""
    data = folder / "data"
    if not (data / DONE_NAME).exists():
        options = SeasonOptions(plan.n_sequences, plan.n_cameras, plan.photo_size, seed, role=Role.TRAIN)
        write_seasons(data, ALL_SEASONS, options, n_workers)
        (data / DONE_NAME).touch()
    for training in TRAININGS:
        if training.name in networks:
            _train(folder, data, training, plan, seed, n_workers)
    return read_labels(data / TRAIN_LABELS_NAME)


def bundle_of(folder: Path, step: Step, plan: Plan, stacked: tuple[str, ...], n_workers: int) -> Bundle:
    """The bundle of a step; kept if it is there."""
    out = folder / "bundles" / step.number.replace(" ", "_")
    if out.exists():
        return open_bundle(out)
    recipe = recipe_of(step, plan.size, stacked)
    stackers = train_stackers(folder, step, plan, stacked, n_workers) if step.sets else None
    return build_bundle(recipe, folder / "networks", stackers, out)


def train_stackers(folder: Path, step: Step, plan: Plan, stacked: tuple[str, ...], n_workers: int) -> Path:
    """Records of both stacking seasons by the networks of a step, and both sets of stackers; their folder.

    Steps with the same networks share the records, and the stackers where they look at the same.
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
    """Classes that both stacking seasons show often enough, in either half."""
    parts = np.array([f"{season_of(one)} {half_of(one)}" for one in labels.seq_ids])
    counts = [labels.values[parts == f"{season} {half}"].sum(axis=0) for season in STACKING for half in (0, 1)]
    return tuple(label for label, least in zip(LABELS, np.min(counts, axis=0), strict=True) if least >= LEAST_POSITIVES)


def summary(seeds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a step: means and spreads over the seeds, and the change from the step it is compared with."""
    rows = []
    for step in STEPS:
        parts = {name: _over_seeds([one[step.number][name] for one in seeds]) for name in seeds[0][step.number]}
        row: dict[str, Any] = {
            "step": step.number,
            "name": step.name,
            "against": step.against,
            "published": step.published,
            "published_change": step.published_change,
            **parts,
        }
        if step.against:
            changes = [one[step.number][JUDGING]["log_loss"] - one[step.against][JUDGING]["log_loss"] for one in seeds]
            row["change"] = {**_spread(changes), "of_each_seed": changes}
        rows.append(row)
    return rows


@contextmanager
def _timed(folder: Path) -> Iterator[None]:
    """Add the time of this session to those before it."""
    path, start = folder / CLOCK_NAME, time.perf_counter()
    before = _read(path) if path.exists() else 0
    try:
        yield
    finally:
        _write(path, before + time.perf_counter() - start)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, content: object) -> None:
    with atomic_writer(path) as file:
        json.dump(content, file, indent=1)
        file.write("\n")


def _validation_loss(folder: Path, training: Training) -> float:
    """Log loss of a network alone on season 8, seen through the reference resize: what it has learnt."""
    report = _read(folder / "networks" / training.name / REPORT_NAME)
    return float(report["last_epoch"]["validation_log_loss"])


def _over_seeds(values: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: _spread([one[name] for one in values]) for name in values[0]}


def _spread(values: list[float]) -> dict[str, float]:
    """Mean, and standard deviation where there is more than one seed."""
    return {"mean": statistics.fmean(values), "spread": statistics.stdev(values) if len(values) > 1 else 0.0}


def _train(folder: Path, data: Path, training: Training, plan: Plan, seed: int, n_workers: int) -> None:
    out = folder / "networks" / training.name
    if (out / NETWORK_NAME).exists():
        return
    plan_of_network = NetworkPlan(training.kind, training.backbone, training.head, training.classes)
    if training.name == "two_branch":
        background, mean = (folder / "networks" / name / NETWORK_NAME for name in ("background", "mean_image"))
        plan_of_network = replace(plan_of_network, background=background, mean=mean)
    job = TrainingJob(
        plan=plan_of_network,
        schedule=schedule_of(training, plan),
        data_folder=data,
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


def schedule_of(training: Training, plan: Plan) -> Schedule:
    """One size; the two-branch network learns less and slower (REFERENCE.md section 3.6)."""
    is_branched = training.kind is Kind.TWO_BRANCH
    stage = SizeStage(
        height=plan.size.height,
        width=plan.size.width,
        batch_size=plan.batch_size,
        epochs=plan.branch_epochs if is_branched else plan.epochs,
        learning_rate=plan.branch_learning_rate if is_branched else plan.learning_rate,
    )
    return Schedule(format_version=1, description="The ladder's", decay=DECAY, sizes=(stage,))


def _predict(folder: Path, step: Step, plan: Plan, season: str, stacked: tuple[str, ...], n_workers: int) -> Table:
    """What a step says about a season."""
    data = folder / "data"
    if step.straight:
        network = folder / "networks" / step.networks[0] / NETWORK_NAME
        return predict_straight(network, data, _sequences(data, [season]), plan.size)
    bundle = bundle_of(folder, step, plan, stacked, n_workers)
    out = folder / "predictions" / step.number.replace(" ", "_") / season
    _run(data, [season], bundle, out, n_workers, flip_tta=step.flip_tta)
    return read_submission(out / SUBMISSION_NAME)


def _run(data: Path, seasons: Iterable[str], bundle: Bundle, out: Path, n_workers: int, *, flip_tta: bool) -> None:
    """`hakuna predict` on some seasons."""
    job = Job(
        data_folder=data,
        plan=plan_sequences(_sequences(data, seasons), None),
        bundle=bundle,
        preset=Preset(PRESET),
        flip_tta=flip_tta,
    )
    with locked(out) as output:
        predict(job, output, RunOptions(n_workers=n_workers, batch_size=BATCH_SEQUENCES), lambda _done, _all: None)


def _sequences(data: Path, seasons: Iterable[str]) -> Metadata:
    metadata, wanted = read_metadata(data / TRAIN_METADATA_NAME), set(seasons)
    kept = {seq_id: one for seq_id, one in metadata.sequences.items() if season_of(seq_id) in wanted}
    return Metadata(kept, 0, metadata.unreadable)


def _losses(predictions: Table, labels: Table, seq_ids: list[str]) -> dict[str, float]:
    result = score(_rows(predictions, seq_ids), _rows(labels, seq_ids), epsilon=1e-7)
    by_label = {one.label: one.log_loss for one in result.classes}
    return {"log_loss": result.log_loss, "empty_log_loss": by_label[LABELS[EMPTY]]}


def _rows(table: Table, seq_ids: list[str]) -> Table:
    position = {seq_id: row for row, seq_id in enumerate(table.seq_ids)}
    return Table(tuple(seq_ids), table.values[[position[seq_id] for seq_id in seq_ids]])


def _priors(seq_ids: list[str]) -> Table:
    return Table(tuple(seq_ids), np.tile(list(CLASS_PRIORS.values()), (len(seq_ids), 1)))
