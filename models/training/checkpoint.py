"""The state of a training in one file, whole or absent: weights, optimizer, random state, position and history."""

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.core.errors import CheckpointError
from inference.core.files import atomic_binary_writer, regular_file
from models.training.job import CHECKPOINT_NAME

FORMAT_VERSION = 2


@dataclass
class Position:
    """The position of a training.

    Attributes
    ----------
    epoch : number of the current epoch
    batch : number of its batches learned so far
    loss_sum, n_examples : totals over those batches
    history : one entry for each finished epoch
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    n_examples: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """The complete state of a training, from which it resumes as if never interrupted.

    Attributes
    ----------
    variables : variables of the network, including the random state of its dropout
    optimizer : variables of the optimizer of the phase at `position`, or of the last phase
    """

    fingerprint: dict[str, str]
    position: Position
    variables: list[npt.NDArray[Any]]
    optimizer: list[npt.NDArray[Any]]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of a folder; a kill at any moment leaves the old or the new one."""
    about = {
        "format_version": FORMAT_VERSION,
        "fingerprint": checkpoint.fingerprint,
        "position": vars(checkpoint.position),
        "n_variables": len(checkpoint.variables),
        "n_optimizer": len(checkpoint.optimizer),
    }
    arrays: dict[str, npt.NDArray[Any]] = {"about": np.array(json.dumps(about))}
    arrays |= {f"variable_{number}": array for number, array in enumerate(checkpoint.variables)}
    arrays |= {f"optimizer_{number}": array for number, array in enumerate(checkpoint.optimizer)}
    # Not np.savez: on a full disk it leaves the archive open, which is later closed after its file, with a traceback.
    with atomic_binary_writer(folder / CHECKPOINT_NAME) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.save(member, array, allow_pickle=False)


def read_checkpoint(folder: Path, fingerprint: dict[str, str]) -> Checkpoint | None:
    """The checkpoint of a folder, or None without one.

    Raises
    ------
    CheckpointError
        It is damaged or belongs to another training; the message names the differences.
    """
    path = folder / CHECKPOINT_NAME
    if not path.exists():
        return None
    try:
        with open(path, "rb", opener=regular_file) as file, zipfile.ZipFile(file) as archive:
            about, variables, optimizer = _content(archive)
        found, position = dict(about["fingerprint"]), Position(**about["position"])
    except Exception as error:  # a flipped bit in an archive can raise anything
        raise CheckpointError(f"{path}: must be a checkpoint, got: {error}; --restart starts over") from error
    different = sorted(name for name in fingerprint.keys() | found.keys() if fingerprint.get(name) != found.get(name))
    if different:
        raise CheckpointError(
            f"{path}: must belong to the same training, but these differ: {', '.join(different)}; --restart starts over"
        )
    return Checkpoint(found, position, variables, optimizer)


def _content(archive: zipfile.ZipFile) -> tuple[dict[str, Any], list[npt.NDArray[Any]], list[npt.NDArray[Any]]]:
    """The metadata of an archive, and every array of the network and of the optimizer."""

    def member(name: str) -> npt.NDArray[Any]:
        # Read as a whole, so that its checksum is verified before its header determines how much to use.
        array: npt.NDArray[Any] = np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
        return array

    about = json.loads(str(member("about")))
    if about["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format {about['format_version']} instead of {FORMAT_VERSION}")
    counts = {"variable": about["n_variables"], "optimizer": about["n_optimizer"]}
    variables, optimizer = ([member(f"{name}_{number}") for number in range(n)] for name, n in counts.items())
    return about, variables, optimizer
