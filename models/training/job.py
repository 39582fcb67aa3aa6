"""The job and options of a training, without TensorFlow."""

from dataclasses import dataclass, field
from pathlib import Path

from inference.core.choices import DEFAULT_READ_TIMEOUT, Preset
from inference.process.read_timeout import ReadTimeout
from models.spec.network_plan import NetworkPlan
from models.spec.schedule import Schedule

CACHE_NAME = "frames"


@dataclass(frozen=True)
class TrainingJob:
    """The network and data of a training: the same job gives the same network."""

    plan: NetworkPlan
    schedule: Schedule
    photos: str
    """Location for `open_storage`."""
    metadata: Path
    labels: Path
    training_seasons: tuple[str, ...]
    validation_seasons: tuple[str, ...]
    preset: Preset
    seed: int
    labelled_only: bool = False
    """Leave out sequences without labels."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to run a job; nothing here changes the network (the cache checks which photos it holds).

    Attributes
    ----------
    n_workers : threads that decode photos and make views
    cache_folder : folder of the quarter frames; trainings may share it
    checkpoint_seconds : most time between two checkpoints
    fresh : start over, ignoring an existing checkpoint
    read_timeout : time limit for reading a photo
    kept_bytes : limit for the views of one set of seasons at one size to stay in memory; larger views are not kept at
        all
    """

    n_workers: int
    cache_folder: Path
    checkpoint_seconds: float = 600.0
    fresh: bool = False
    read_timeout: ReadTimeout = field(default_factory=lambda: ReadTimeout(DEFAULT_READ_TIMEOUT))
    kept_bytes: int = 2**30
