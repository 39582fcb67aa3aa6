"""The progress of a training: one line per epoch in `history.jsonl`, the same for TensorBoard, and log lines."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import tensorflow as tf

from inference.core.files import atomic_writer
from models.keras_io.frozen_export import tensorflow_output_errors
from models.spec.schedule import Epoch, cost_of

log = structlog.get_logger()

HISTORY_NAME = "history.jsonl"
TENSORBOARD_NAME, TENSORBOARD_FILES = "tensorboard", "events.out.tfevents.*"
INTERVAL_SECONDS = 30.0


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write one line for each finished epoch."""
    with atomic_writer(folder / HISTORY_NAME) as file:
        for entry in history:
            file.write(json.dumps(entry, allow_nan=False) + "\n")


def write_tensorboard(folder: Path, entry: dict[str, Any]) -> None:
    """Add an epoch's figures to the logs for `tensorboard --logdir`."""
    path = folder / TENSORBOARD_NAME
    with tensorflow_output_errors(path):
        writer = tf.summary.create_file_writer(str(path))
        with writer.as_default(step=entry["epoch"]):
            for name in ("training_loss", "validation_log_loss", "learning_rate", "images_per_second"):
                if entry[name] is not None:
                    tf.summary.scalar(name, entry[name])
            for label, value in entry["validation_log_loss_by_class"].items():
                tf.summary.scalar(f"validation_log_loss/{label}", value)
        writer.close()


class TrainingProgress:
    """Logs loss, rate and the time left for all remaining epochs every 30 s."""

    def __init__(
        self, epochs: tuple[Epoch, ...], n_training: int, n_validation: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._costs = [cost_of(epoch, n_training, n_validation) for epoch in epochs]
        self._epochs = epochs
        self._n_training = n_training
        self._clock = clock
        self._start = self._last = clock()
        self._done = 0.0

    def __call__(self, epoch: Epoch, n_batch: int, n_examples: int, loss: float) -> None:
        """Count a batch: now `n_examples` of the epoch have been learned from, with this mean loss."""
        self._done += cost_of(epoch, n_batch, 0)
        if self._clock() - self._last < INTERVAL_SECONDS and n_examples < self._n_training:
            return
        self._last = self._clock()
        left = sum(self._costs[epoch.number :]) - cost_of(epoch, n_examples, 0)
        log.info(
            "training",
            epoch=f"{epoch.number + 1}/{len(self._epochs)}",
            size=str(epoch.size),
            sequences=f"{n_examples}/{self._n_training}",
            loss=round(loss, 6),
            eta_seconds=round((self._last - self._start) * left / self._done),  # at the rate of this process so far
        )

    def validated(self, epoch: Epoch, n_batch: int) -> None:
        """Count a validated batch."""
        self._done += cost_of(epoch, 0, n_batch)
