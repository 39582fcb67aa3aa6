"""The job and options of a training, without TensorFlow."""

from dataclasses import dataclass, field
from pathlib import Path

from inference.core.choices import DEFAULT_READ_TIMEOUT, Preset
from inference.core.errors import UsageError
from inference.process.read_timeout import ReadTimeout
from models.spec.network_plan import NETWORK_NAME, NetworkPlan
from models.spec.schedule import Schedule

CACHE_NAME = "frames"
CHECKPOINT_NAME = "checkpoint.npz"


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


def check_training_folder(out: Path, photos: Path) -> None:
    """Raise UsageError if a training would write into the folder of its photos, or over a network that is not its own."""
    if out.resolve() == photos.resolve():
        raise UsageError(
            f"--out {out}: must be another folder than that of the photos", hint="for example --out runs/own"
        )
    if (out / NETWORK_NAME).exists() and not (out / CHECKPOINT_NAME).exists():
        raise UsageError(
            f"--out {out}: must be new, empty or an earlier training, got a folder with {NETWORK_NAME} and no {CHECKPOINT_NAME}",
            hint="choose another folder",
        )
