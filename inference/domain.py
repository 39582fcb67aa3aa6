"""The few types and errors that the whole project speaks in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]
    """uint8 (H, W, 3), RGB, 0-255."""
    Probabilities = npt.NDArray[np.float32]
    """float32 (..., C), 0-1, classes in the order of LABELS."""

CLASS_PRIORS: dict[str, float] = {
    "aardvark": 0.000310,
    "aardwolf": 0.000171,
    "baboon": 0.001154,
    "bat": 0.000002,
    "batearedfox": 0.000245,
    "buffalo": 0.009228,
    "bushbuck": 0.000160,
    "caracal": 0.000047,
    "cattle": 0.000009,
    "cheetah": 0.000888,
    "civet": 0.000030,
    "dikdik": 0.001125,
    "duiker": 0.000032,
    "eland": 0.002281,
    "elephant": 0.008200,
    "empty": 0.759851,
    "gazellegrants": 0.006394,
    "gazellethomsons": 0.037591,
    "genet": 0.000028,
    "giraffe": 0.006195,
    "guineafowl": 0.004460,
    "hare": 0.000364,
    "hartebeest": 0.008055,
    "hippopotamus": 0.002017,
    "honeybadger": 0.000033,
    "hyenaspotted": 0.004108,
    "hyenastriped": 0.000089,
    "impala": 0.006635,
    "insectspider": 0.000304,
    "jackal": 0.000531,
    "koribustard": 0.000506,
    "leopard": 0.000158,
    "lionfemale": 0.002366,
    "lionmale": 0.000710,
    "mongoose": 0.000230,
    "monkeyvervet": 0.000235,
    "ostrich": 0.000509,
    "otherbird": 0.004275,
    "porcupine": 0.000231,
    "reedbuck": 0.001916,
    "reptiles": 0.000062,
    "rhinoceros": 0.000027,
    "rodents": 0.000040,
    "secretarybird": 0.000695,
    "serval": 0.000551,
    "steenbok": 0.000004,
    "topi": 0.001663,
    "vulture": 0.000033,
    "warthog": 0.005640,
    "waterbuck": 0.000232,
    "wildcat": 0.000039,
    "wildebeest": 0.076248,
    "zebra": 0.053718,
    "zorilla": 0.000016,
}
"""Share of sequences that show each class, in label order (REFERENCE.md section 3.5: all public seasons).

A sequence can show several species, so the shares need not add up to one.
"""

LABELS: tuple[str, ...] = tuple(CLASS_PRIORS)
"""The 54 classes in alphabetical order, which is the column order of every submission."""

EMPTY = LABELS.index("empty")
N_CLASSES = len(LABELS)

METADATA_COLUMNS = ("seq_id", "datetime", "file_name")
SITE_COLUMN = "site"
"""Where the camera stood: a column that `hakuna metadata` adds; the competition's metadata does not tell."""

SIGNAL_EXIT_BASE = 128
"""Exit code of a program that a signal ended, less the signal's number."""


class HakunaError(Exception):
    """An outcome that a person has to know about; `exit_code` tells it to programs."""

    exit_code = 1


class UsageError(HakunaError):
    """Command line or settings."""

    exit_code = 2


class InputError(HakunaError):
    """Metadata, submission format, labels."""

    exit_code = 3


class BundleError(HakunaError):
    """Model bundle: missing, damaged, wrong signature."""

    exit_code = 4


class OutputError(HakunaError):
    """Disk full or not writable."""

    exit_code = 5


class DegradedError(HakunaError):
    """Complete, but degraded by the time budget, and that was not allowed."""

    exit_code = 6


class LockedError(HakunaError):
    """The output folder is in use by another run."""

    exit_code = 7


class CheckpointError(HakunaError):
    """The output folder belongs to another run."""

    exit_code = 8


class TooManyFailuresError(HakunaError):
    """More photos could not be used than allowed."""

    exit_code = 9


class UnusableGpuError(HakunaError):
    """A GPU was asked for and cannot be used."""

    exit_code = 10


class DoesNotFitError(HakunaError):
    """The work does not fit the time budget."""

    exit_code = 11


class InvalidEntryError(HakunaError):
    """An entrant's archive or its submission is invalid."""

    exit_code = 12


class PastLimitError(HakunaError):
    """An entrant's program ran past the time limit."""

    exit_code = 13


class EntrantFailedError(HakunaError):
    """An entrant's program failed."""

    exit_code = 14


class InterruptedRunError(HakunaError):
    """A signal stopped the run; what was done is saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = SIGNAL_EXIT_BASE + signal_number


class OutOfMemoryError(HakunaError):
    """An engine could not take so many images at once."""


class ImageSize(NamedTuple):
    """Height before width, everywhere; the swap happens in the line that calls an image library."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


class Preset(StrEnum):
    """The *reference resize*: what happened to a photo before any network saw it."""

    QUARTER = "quarter"
    """A quarter of each side, as the published program does."""
    QUARTER_JPEG = "quarter+jpeg"
    """The same, saved as JPEG and loaded again, as the shared training set was made."""


GPU_DRIVER = Path("/dev/nvidiactl")
"""There where an NVIDIA driver is loaded; asked before TensorFlow and DALI, which take seconds to import."""


class DecoderName(StrEnum):
    """Decoders on the command line."""

    AUTO = "auto"
    PILLOW = "pillow"
    """The reference."""
    FAST = "fast"
    """The same pixels, faster: the default on CPUs."""
    DALI = "dali"
    """NVIDIA DALI, on the GPU if there is one: a few pixels differ by one grey level."""


REFERENCE_PIXELS = "Pillow's"
"""What decoders give whose pixels are the reference's."""


class EngineName(StrEnum):
    """Engines on the command line."""

    AUTO = "auto"
    TENSORFLOW = "tensorflow"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """Precisions on the command line."""

    FLOAT32 = "float32"
    """The same answer as the published program."""
    MIXED = "mixed"
    """Products in float16 (GPU) or bfloat16 (CPU), if that proves itself."""


class ExportFormat(StrEnum):
    """Formats of `hakuna export`."""

    MEGADETECTOR = "megadetector"
    CAMTRAP_DP = "camtrap-dp"
    LONG_CSV = "long-csv"


@dataclass(frozen=True, slots=True)
class Image:
    """One row of the metadata: a photo and the moment it was taken."""

    file_name: str
    """Path below the data folder, as written in the metadata."""
    datetime: str
    """`YYYY-MM-DD HH:MM:SS`, or anything else where the metadata does not know."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """One capture event: the photos of one burst, in `file_name` order."""

    seq_id: str
    images: tuple[Image, ...]
    site: str = ""
    """Its camera, where the metadata has a column for it; else the `seq_id` may tell."""


class FailureReason(StrEnum):
    """Why a photo took no part in its sequence; the words in `failures.csv`."""

    UNSAFE_PATH = "unsafe path"
    MISSING = "missing"
    NOT_A_FILE = "not a regular file"
    UNREADABLE = "cannot be read"
    EMPTY_FILE = "empty file"
    TOO_LARGE = "file too large"
    NOT_AN_IMAGE = "not a JPEG or PNG"
    TOO_MANY_PIXELS = "too many pixels"
    TOO_MANY_SCANS = "too many scans"
    CANNOT_DECODE = "cannot be decoded"
    TIMED_OUT = "reading took too long"


READING_TROUBLE = frozenset({FailureReason.TIMED_OUT, FailureReason.UNREADABLE})
"""Failures of the disk or mount rather than of the photo."""


class Effort(IntEnum):
    """How much a sequence is worth when time is short, from everything to nothing: the order of degrading."""

    FULL = 0
    """What the bundle says."""
    NO_LARGE_TTA = 1
    """No mirror images at the largest size."""
    NO_TTA = 2
    """No mirror images."""
    ONE_SIZE = 3
    """Each network at its smallest size only."""
    FIRST_NETWORK = 4
    """Only the first network on frames."""
    PRIORS = 5
    """Nobody looks at the photos."""

    @property
    def label(self) -> str:
        """Its name for people and for `run.json`."""
        return self.name.lower().replace("_", " ")


STACKABLE_EFFORT = Effort.NO_TTA
"""Up to here every output is there, as the stackers expect; they were trained without mirror images anyway."""


@dataclass(frozen=True, slots=True)
class FrameFailure:
    """A photo that could not be used, and why. A value, never an exception that stops the others."""

    file_name: str
    reason: FailureReason
    detail: str = ""


class View(StrEnum):
    """What a network can look at."""

    FRAME = "frame"
    """Each frame of the sequence, uint8 (F, H, W, 3)."""
    MEAN = "mean"
    """The mean over the frames, float32 (H, W, 3)."""
    BACKGROUND = "background"
    """What moved between the frames, float32 (H, W, 3)."""


ViewKey = tuple[View, ImageSize]


@dataclass(frozen=True, slots=True)
class ViewedSequence:
    """A sequence on its way from the photos to the networks.

    Attributes
    ----------
    sequence : the photos it was made of
    n_frames : how many of them could be used, F; at most the bundle's number of frames
    views : what the networks look at, RGB, 0-255, by view and size
        View.FRAME: uint8 (F, H, W, 3). View.MEAN, View.BACKGROUND: float32 (H, W, 3); absent when F < 2.
    failures : the photos that could not be used
    n_resized : frames that had another size than the first one and were resized to it
    """

    sequence: Sequence
    n_frames: int
    views: Mapping[ViewKey, npt.NDArray[np.uint8] | npt.NDArray[np.float32]]
    failures: tuple[FrameFailure, ...]
    n_resized: int


@dataclass(frozen=True)
class Aggregated:
    """The estimates of N sequences that have at least one readable frame.

    Attributes
    ----------
    frame_outputs : float32 (N, O, F, C); NaN where a sequence has fewer than F frames
    frame_medians : float32 (N, F, C), over the O outputs; the first frame's where a frame does not exist
    sequence_medians : float32 (N, C) by network on the whole sequence, over its sizes;
        the estimate from the frames where a sequence has only one
    estimate : float32 (N, C), the weighted mean of the frames' medians
    n_frames : int (N,)
    hours, months : int (N,)
    is_complete : bool (N,); False where some outputs were left out because time was short
    """

    frame_outputs: Probabilities
    frame_medians: Probabilities
    sequence_medians: dict[str, Probabilities]
    estimate: Probabilities
    n_frames: npt.NDArray[np.int64]
    hours: npt.NDArray[np.int64]
    months: npt.NDArray[np.int64]
    is_complete: npt.NDArray[np.bool_]
