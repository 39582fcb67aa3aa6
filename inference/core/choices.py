"""Names that command lines, settings and bundles choose from."""

from enum import StrEnum
from pathlib import Path


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


DEFAULT_BATCH_SIZE = 8
"""Sequences that go through the networks together."""
DEFAULT_READ_TIMEOUT = 60.0
"""Seconds after which the reading of a photo is given up."""


class ExportFormat(StrEnum):
    """Formats of `hakuna export`."""

    MEGADETECTOR = "megadetector"
    CAMTRAP_DP = "camtrap-dp"
    LONG_CSV = "long-csv"


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    """Console lines on a terminal, JSON lines elsewhere."""
    CONSOLE = "console"
    JSON = "json"
