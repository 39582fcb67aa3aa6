"""Progressive training of a network: prepare the frames, run the epochs, save the network after each size.

If killed at any moment, the same command resumes from the last checkpoint. On a CPU it ends with the weights of an
uninterrupted training: order, mirroring and dropout depend only on the seed and the position.
"""

import hashlib
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import structlog
import tensorflow as tf

from inference.core.choices import DecoderName
from inference.core.errors import DivergedError, InputError, InterruptedRunError
from inference.core.files import output_errors, write_json
from inference.core.version import hakuna_version
from inference.dataset.label_tables import labelled, read_targets
from inference.dataset.metadata import read_metadata
from inference.images.decoder import Decoder, find_decoder
from inference.networks.engine_tensorflow import allocate_on_demand
from inference.process.lock import OutputFolder
from inference.process.progress import RunState
from inference.storage.opening import open_storage
from models.data.batches import (
    Examples,
    Views,
    examples_of,
    load_batches,
    ordered_batches,
    photos_needed,
    shuffled_batches,
)
from models.data.frame_cache import PART_SEQUENCES, CacheKey, FrameCache
from models.data.season_labels import ids_of_seasons
from models.keras_io.h5_file import save_network
from models.spec.network_plan import NETWORK_NAME, REPORT_NAME
from models.spec.schedule import Epoch, epochs_of
from models.training.build_network import build_network
from models.training.checkpoint import Checkpoint, Position, read_checkpoint, write_checkpoint
from models.training.history import (
    TENSORBOARD_FILES,
    TENSORBOARD_NAME,
    TrainingProgress,
    write_history,
    write_tensorboard,
)
from models.training.job import TrainingJob, TrainingOptions
from models.training.learner import Learner, init_head_bias, log_loss_by_class, network_targets, unfreeze

log = structlog.get_logger()

FRAMES_LOG_EVERY = 1000
"""Sequences between two log lines while decoding frames."""
VALIDATION_BATCHES = 2
"""Factor by which validation batches are larger than training batches, as no gradients are kept."""


@dataclass
class Training:
    """A training in progress; `position` advances."""

    job: TrainingJob
    out: Path
    options: TrainingOptions
    state: RunState
    fingerprint: dict[str, str]
    learnt: Views
    validated: Views
    learner: Learner
    epochs: tuple[Epoch, ...]
    progress: TrainingProgress
    position: Position
    saved_at: float


def train(job: TrainingJob, out: OutputFolder, options: TrainingOptions, state: RunState) -> dict[str, Any]:
    """Train a network and write it, with its history, to `out`; returns the content of `training.json`.

    Raises DivergedError at the first non-finite loss or weight.
    """
    allocate_on_demand()
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(job.seed)
    network = build_network(job.plan, job.schedule)  # before decoding photos, which may take hours
    decoder = find_decoder(DecoderName.AUTO, options.n_workers)
    key = CacheKey(job.preset, decoder.pixels, photos_needed(job.plan.views))
    with FrameCache(options.cache_folder, key) as cache:
        learnt, validated = _cached_examples(job, options, state, cache, decoder)
        training = _begin(job, out, options, state, network, learnt, validated)
        state.stage = "training"
        _run(training)
    return _finish(training)


def _cached_examples(
    job: TrainingJob, options: TrainingOptions, state: RunState, cache: FrameCache, decoder: Decoder
) -> list[Views]:
    """Views of the training and of the validation sequences, their frames in the cache."""
    state.stage = "reading metadata and labels"
    sequences = read_metadata(job.metadata).sequences
    ids = [ids_of_seasons(sequences, one, job.metadata) for one in (job.training_seasons, job.validation_seasons)]
    if job.labelled_only:
        ids = [labelled(job.labels, part) for part in ids]
    targets = read_targets(job.labels, ids[0] + ids[1])
    state.stage = "quarter frames"
    wanted = [sequences[seq_id] for seq_id in ids[0] + ids[1]]
    photos = open_storage(job.photos, options.read_timeout)
    size = cache.prepare(wanted, photos, decoder, options.n_workers, _log_frames, state.check)
    report = log.warning if size.n_failures else log.info
    report("quarter frames cached", folder=str(cache.folder), frames=size.n_frames, bytes=size.n_bytes,
           photos_not_used=size.n_failures)  # fmt: skip
    made = []
    for role, part, its in zip(("training", "validation"), ids, np.split(targets, [len(ids[0])]), strict=True):
        examples = examples_of(part, its, cache, job.plan.views)
        log.info("sequences", role=role, used=len(examples), left_out=examples.n_left_out)
        if not len(examples):
            raise InputError(f"{job.metadata}: must have {role} sequences with enough readable photos, got none")
        made.append(Views(cache, examples, job.plan.views, epochs_of(job.schedule)[0].size, options.kept_bytes))
    return made


def _begin(
    job: TrainingJob,
    out: Path,
    options: TrainingOptions,
    state: RunState,
    network: keras.Model,
    learnt: Views,
    validated: Views,
) -> Training:
    """A training resumed at its last checkpoint, or a new one."""
    fingerprint = _fingerprint(job, learnt.cache.key, learnt.examples, validated.examples)
    checkpoint = None if options.fresh else read_checkpoint(out, fingerprint)
    if options.fresh:
        with output_errors(out / TENSORBOARD_NAME):
            for path in (out / TENSORBOARD_NAME).glob(TENSORBOARD_FILES):
                path.unlink()
    epochs, plan = epochs_of(job.schedule), job.plan
    init_head_bias(network, network_targets(learnt.examples.targets, plan.n_classes, plan.head), plan.head)
    learner = Learner(network, plan.scalings, plan.head, job.schedule.branch_layers)
    position = checkpoint.position if checkpoint else Position()
    is_over = position.epoch == len(epochs)
    if not is_over:
        learner.begin_phase(epochs[position.epoch].trainable_layers)
    if checkpoint:
        learner.restore(checkpoint.variables, None if is_over else checkpoint.optimizer)
        log.info("all epochs are finished" if is_over else "continuing",
                 epochs_done=position.epoch, epochs=len(epochs), batches_done=position.batch)  # fmt: skip
    progress = TrainingProgress(epochs, len(learnt.examples), len(validated.examples))
    return Training(
        job, out, options, state, fingerprint, learnt, validated, learner, epochs, progress, position,
        saved_at=time.monotonic(),
    )  # fmt: skip


def _run(training: Training) -> None:
    position, epochs = training.position, training.epochs
    while position.epoch < len(epochs):
        epoch = epochs[position.epoch]
        started, n_before = time.monotonic(), position.n_examples
        try:
            _learn(training, epoch)
            seconds = time.monotonic() - started
            validated = _validate(training, epoch)
        except InterruptedRunError:
            _save(training)
            raise
        entry = {
            "epoch": epoch.number,
            "size": str(epoch.size),
            "trainable_layers": epoch.trainable_layers,
            "learning_rate": epoch.learning_rate,
            "training_loss": position.loss_sum / position.n_examples,
            # Rate of this process; None if an earlier one trained on the whole epoch.
            "images_per_second": round(n_here / seconds, 2) if (n_here := position.n_examples - n_before) else None,
            **validated,
        }
        if epoch.ends_size:
            _write_network(training, f"network_{epoch.size}.h5")
        training.position = position = Position(epoch=position.epoch + 1, history=[*position.history, entry])
        _end_epoch(training, epoch, entry)


def _learn(training: Training, epoch: Epoch) -> None:
    """Learn from the remaining batches of an epoch."""
    position = training.position
    views = training.learnt
    views.resize(epoch.size)
    plans = shuffled_batches(len(views.examples), epoch.batch_size, training.job.seed, epoch.number)
    with closing(load_batches(views, plans[position.batch :], training.options.n_workers)) as batches:
        for batch in batches:
            training.state.check()
            n_batch = len(batch.targets)
            loss = training.learner.learn(batch, epoch.learning_rate)
            _check_finite(training, "the loss of a batch", loss)
            position.loss_sum += n_batch * loss
            position.n_examples += n_batch
            position.batch += 1
            training.progress(epoch, n_batch, position.n_examples, position.loss_sum / position.n_examples)
            if time.monotonic() - training.saved_at >= training.options.checkpoint_seconds:
                _save(training)


def _validate(training: Training, epoch: Epoch) -> dict[str, Any]:
    """Log loss on the validation seasons, over all classes and per class."""
    plan, views = training.job.plan, training.validated
    views.resize(epoch.size)
    plans = ordered_batches(len(views.examples), VALIDATION_BATCHES * epoch.batch_size)
    outputs = []
    with closing(load_batches(views, plans, training.options.n_workers)) as batches:
        for batch in batches:
            training.state.check()
            outputs.append(training.learner.predict(batch))
            training.progress.validated(epoch, len(batch.targets))
    wanted = network_targets(views.examples.targets, plan.n_classes, plan.head)
    losses = log_loss_by_class(np.concatenate(outputs), wanted)
    _check_finite(training, "the validation log loss", losses)
    return {
        "validation_log_loss": float(losses.mean()),
        "validation_log_loss_by_class": dict(zip(plan.classes.names, map(float, losses), strict=True)),
    }


def _end_epoch(training: Training, epoch: Epoch, entry: dict[str, Any]) -> None:
    following = training.epochs[epoch.number + 1 : epoch.number + 2]
    if following and following[0].phase != epoch.phase:
        training.learner.begin_phase(following[0].trainable_layers)
    _save(training)
    write_history(training.out, training.position.history)
    write_tensorboard(training.out, entry)
    worst = sorted(entry["validation_log_loss_by_class"].items(), key=lambda one: -one[1])[:3]
    log.info(
        "epoch finished",
        epoch=f"{epoch.number + 1}/{len(training.epochs)}",
        training_loss=round(entry["training_loss"], 6),
        validation_log_loss=round(entry["validation_log_loss"], 6),
        worst={label: round(value, 4) for label, value in worst},
    )


def _check_finite(training: Training, what: str, values: npt.ArrayLike) -> None:
    """Raise DivergedError for a non-finite number, leaving the files on disk unchanged."""
    numbers = np.asarray(values)
    is_finite = np.isfinite(numbers)
    if not is_finite.all():
        position, epochs = training.position, training.epochs
        rate = epochs[min(position.epoch, len(epochs) - 1)].learning_rate
        raise DivergedError(
            f"{training.out}, epoch {position.epoch + 1}, batch {position.batch + 1}: {what} must be finite, "
            f"got {numbers[~is_finite].flat[0]}: the training diverged; lower the learning rates of the schedule "
            f"({rate:g} here) and start over with --restart; the last checkpoint and earlier networks are kept"
        )


def _save(training: Training) -> None:
    variables, optimizer = training.learner.state()
    for values in variables + optimizer:
        # The loss of a batch precedes its step, so these may be the first non-finite values.
        _check_finite(training, "every weight", values)
    write_checkpoint(training.out, Checkpoint(training.fingerprint, training.position, variables, optimizer))
    training.saved_at = time.monotonic()


def _write_network(training: Training, name: str) -> None:
    """Write the network under a name, completely or not at all."""
    for variable in training.learner.network.variables:
        _check_finite(training, "every weight", variable.numpy())
    unfreeze(training.learner.network, None, None)  # the order of the weights in the file depends on it
    save_network(training.learner.network, training.out / name)


def _finish(training: Training) -> dict[str, Any]:
    job, learnt, validated = training.job, training.learnt.examples, training.validated.examples
    _write_network(training, NETWORK_NAME)
    write_history(training.out, training.position.history)
    report = {
        "network": job.plan.kind.value,
        "inputs": [
            {"view": view.value, "scaling": scaling.value}
            for view, scaling in zip(job.plan.views, job.plan.scalings, strict=True)
        ],
        "classes": job.plan.classes.value,
        "fingerprint": training.fingerprint,
        "training_seasons": list(job.training_seasons),
        "validation_seasons": list(job.validation_seasons),
        "counts": {
            "training_sequences": len(learnt),
            "validation_sequences": len(validated),
            "left_out_sequences": learnt.n_left_out + validated.n_left_out,
        },
        "last_epoch": training.position.history[-1],
    }
    write_json(report, training.out / REPORT_NAME)
    return report


def _fingerprint(job: TrainingJob, key: CacheKey, learnt: Examples, validated: Examples) -> dict[str, str]:
    """Everything that the network depends on, by name."""
    parts = {"training": learnt, "validation": validated}
    return {
        "hakuna version": hakuna_version(),
        "TensorFlow": str(tf.__version__),
        "schedule": _digest(job.schedule.model_dump_json().encode()),
        "seed": str(job.seed),
        "preprocessing": key.preset.value,
        "pixels": key.pixels,
        **{f"{name} sequences": _digest(repr(part.seq_ids).encode() + part.targets.tobytes())
           for name, part in parts.items()},
        **{f"{name} photos": _digest(repr([[frame.crc for frame in frames] for frames in part.frames]).encode())
           for name, part in parts.items()},
        **job.plan.fingerprint(),
    }  # fmt: skip


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _log_frames(n_done: int, n_all: int) -> None:
    if n_done == n_all or n_done % FRAMES_LOG_EVERY < PART_SEQUENCES:
        log.info("quarter frames", done=n_done, total=n_all)
