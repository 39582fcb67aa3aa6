"""Trainings that cannot be: told before photos are decoded."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmark.cli.app import app
from inference.core.choices import Preset
from inference.core.errors import OutputError, UsageError
from inference.process.lock import locked
from inference.process.progress import RunState
from models.spec.kinds import NetworkKind
from models.spec.network_plan import NetworkPlan
from models.spec.schedule import load_schedule
from models.training.history import write_tensorboard
from models.training.job import TrainingJob, TrainingOptions, check_training_folder
from models.training.train import train


def command(folder: Path, *more: str) -> list[str]:
    return ["train", "frames", str(folder), "--train", "S1,S2", "--out", str(folder / "out"), *more]


def test_a_seed_that_numpy_does_not_take_is_refused(tmp_path: Path) -> None:
    words = command(tmp_path, "--valid", "S3", "--seed", str(2**32))
    result = CliRunner().invoke(app, words, env={"COLUMNS": "400"})
    assert (result.exit_code, "Invalid value for '--seed'" in result.output) == (2, True)


def test_a_season_on_both_sides_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, command(tmp_path, "--valid", "S2"))
    assert isinstance(result.exception, UsageError)
    assert "must have no season in common, got S2 in both" in str(result.exception)


def test_a_training_never_writes_over_photos_or_another_network(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be another folder than that of the photos"):
        check_training_folder(tmp_path / "x" / "..", tmp_path)
    (tmp_path / "network.h5").touch()
    with pytest.raises(UsageError, match="must be new, empty or an earlier training, got a folder with network.h5"):
        check_training_folder(tmp_path, tmp_path / "photos")
    (tmp_path / "checkpoint.npz").touch()
    check_training_folder(tmp_path, tmp_path / "photos")


def test_a_backbone_that_cannot_be_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "models.training.train.tf.config.experimental.enable_op_determinism", lambda: None
    )  # for all tests
    nowhere = tmp_path / "nowhere.csv"
    plan = NetworkPlan(kind=NetworkKind.FRAMES, backbone="MobileNetV3Small")
    job = TrainingJob(plan, load_schedule("v1"), str(tmp_path), nowhere, nowhere, ("S1",), ("S2",), Preset.QUARTER, 1)
    with locked(tmp_path / "out") as out, pytest.raises(UsageError, match="must be made of layers of plain arithmetic"):
        train(job, out, TrainingOptions(1, tmp_path), RunState())


def test_figures_that_cannot_be_written_are_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").touch()  # where a folder should be
    with pytest.raises(OutputError, match="tensorboard must be writable, got: "):
        write_tensorboard(tmp_path, {"epoch": 0})
