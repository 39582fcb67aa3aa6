"""A mount that does not answer ends a training as it ends a prediction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.core.choices import Preset
from inference.core.errors import InputError
from inference.process.lock import locked
from inference.process.progress import RunState
from inference.process.read_timeout import ReadTimeout
from inference.storage.local import LocalFolder
from models.spec.kinds import NetworkKind
from models.spec.network_plan import NetworkPlan
from models.spec.schedule import load_schedule
from models.training.job import TrainingJob, TrainingOptions
from models.training.train import train
from runtime_tests.models.seasons import write_seasons


@pytest.fixture
def nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Photos are there, but reading them hangs until the test is over."""
    is_over = threading.Event()
    monkeypatch.setattr(LocalFolder, "read", lambda *_: is_over.wait())
    yield
    is_over.set()


@pytest.mark.usefixtures("nothing_is_read")
def test_photos_that_hang_end_the_training_with_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "models.training.train.tf.config.experimental.enable_op_determinism", lambda: None
    )  # for all tests
    data = write_seasons(tmp_path / "data", {"S1": 3, "S2": 3})
    job = TrainingJob(
        NetworkPlan(kind=NetworkKind.FRAMES, backbone="tiny"), load_schedule("v1"), str(data),
        data / "train_metadata.csv", data / "train_labels.csv", ("S1",), ("S2",), Preset.QUARTER, 1,
    )  # fmt: skip
    options = TrainingOptions(2, tmp_path / "frames", read_timeout=ReadTimeout(0.05))
    with locked(tmp_path / "out") as out, pytest.raises(InputError, match=r"reading took too long.*run again") as error:
        train(job, out, options, RunState())
    assert error.value.exit_code == 3
