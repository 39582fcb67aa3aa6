"""The types that pass through a run: images, sequences, frames and views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Quoted, so that importing this module does not load NumPy.
Pixels: TypeAlias = "npt.NDArray[np.uint8]"
"""uint8 (H, W, 3), RGB, 0-255."""
Probabilities: TypeAlias = "npt.NDArray[np.float32]"
"""float32 (..., C), 0-1, classes in the order of LABELS."""


MAX_PIXEL = 255.0
"""White."""


class ImageSize(NamedTuple):
    """Height before width everywhere; only calls to image libraries swap them."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


@dataclass(frozen=True, slots=True)
class Image:
    """One row of the metadata: a photo and the moment it was taken."""

    file_name: str
    """Path below the data folder, as written in the metadata."""
    datetime: str
    """`YYYY-MM-DD HH:MM:SS`, or any other text if the time is unknown."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """One capture event: the photos of one burst, in `file_name` order."""

    seq_id: str
    images: tuple[Image, ...]
    site: str = ""
    """Its camera, if the metadata has a column for it. Otherwise the `seq_id` may contain it."""


class FailureReason(StrEnum):
    """Why a photo was left out of its sequence, as written in `failures.csv`."""

    UNSAFE_PATH = "unsafe path"
    MISSING = "missing"
    NOT_A_FILE = "not a regular file"
    UNREADABLE = "cannot be read"
    EMPTY_FILE = "empty file"
    TOO_LARGE = "file too large"
    NOT_AN_IMAGE = "not a JPEG or PNG"
    TOO_MANY_PIXELS = "too many pixels"
    TOO_LONG = "a side is too long"
    TOO_MANY_SCANS = "too many scans"
    TOO_MANY_SEGMENTS = "too many segments"
    CANNOT_DECODE = "cannot be decoded"
    TIMED_OUT = "reading took too long"


IO_FAILURES = frozenset({FailureReason.TIMED_OUT, FailureReason.UNREADABLE})
"""Failures of the disk or mount rather than of the photo."""


@dataclass(frozen=True, slots=True)
class FrameFailure:
    """A photo that could not be used, and why. A value, not an exception, so that the other photos continue."""

    file_name: str
    reason: FailureReason
    detail: str = ""


MOST_NAMED = 3
"""Files that a message names."""


def named(failures: Iterable[FrameFailure]) -> list[str]:
    """The first few failures, for messages: `a.jpg (missing)`."""
    return [f"{one.file_name} ({one.reason})" for one in islice(failures, MOST_NAMED)]


class View(StrEnum):
    """Inputs that a network can take."""

    FRAME = "frame"
    """Each frame of the sequence, uint8 (F, H, W, 3)."""
    MEAN = "mean"
    """The mean over the frames, float32 (H, W, 3)."""
    BACKGROUND = "background"
    """The movement between the frames, float32 (H, W, 3)."""


ViewKey = tuple[View, ImageSize]


@dataclass(frozen=True, slots=True)
class ViewedSequence:
    """A sequence between its photos and the networks.

    Attributes
    ----------
    sequence : the source photos
    n_frames : usable photos, F; at most the bundle's number of frames
    views : inputs of the networks, RGB, 0-255, by view and size
        View.FRAME: uint8 (F, H, W, 3). View.MEAN, View.BACKGROUND: float32 (H, W, 3); absent when F < 2.
    failures : the photos that could not be used
    n_resized : frames that were resized because their size differed from the first frame's
    cut_short : files of the frames whose missing rest is grey
    """

    sequence: Sequence
    n_frames: int
    views: Mapping[ViewKey, npt.NDArray[np.uint8] | npt.NDArray[np.float32]]
    failures: tuple[FrameFailure, ...]
    n_resized: int
    cut_short: tuple[str, ...] = ()
