"""What to train and how, without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inference.core.choices import Preset
from models.spec.network_plan import NetworkPlan
from models.spec.schedule import Schedule

CACHE_NAME = "frames"


@dataclass(frozen=True)
class TrainingJob:
    """What to train, on what: the same job gives the same network."""

    plan: NetworkPlan
    schedule: Schedule
    data_folder: Path
    metadata: Path
    labels: Path
    training_seasons: tuple[str, ...]
    validation_seasons: tuple[str, ...]
    preset: Preset
    seed: int


@dataclass(frozen=True)
class TrainingOptions:
    """How to run a job; nothing here changes the network (the cache knows whose photos it holds).

    Attributes
    ----------
    n_workers : threads that decode photos and make views
    cache_folder : folder of the quarter frames; trainings may share it
    checkpoint_seconds : most time between two checkpoints
    fresh : start over where there is a checkpoint
    kept_bytes : of views of a season set at one size that stay in memory; where they are more, none do
    """

    n_workers: int
    cache_folder: Path
    checkpoint_seconds: float = 600.0
    fresh: bool = False
    kept_bytes: int = 2**30
