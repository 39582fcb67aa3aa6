"""Names that command lines, settings and bundles choose from."""

from enum import StrEnum
from pathlib import Path


class Preset(StrEnum):
    """The *reference resize*: how a photo was scaled before any network saw it."""

    QUARTER = "quarter"
    """A quarter of each side, as in the published program."""
    QUARTER_JPEG = "quarter+jpeg"
    """The same, then saved as JPEG and reloaded, as in the shared training set."""


GPU_DRIVER = Path("/dev/nvidiactl")
"""Exists where an NVIDIA driver is loaded. Checked first because importing TensorFlow or DALI takes seconds."""


class DecoderName(StrEnum):
    """Decoders on the command line."""

    AUTO = "auto"
    PILLOW = "pillow"
    """The reference."""
    FAST = "fast"
    """The same pixels, faster: the default on CPUs."""
    DALI = "dali"
    """NVIDIA DALI, on the GPU if available: a few pixels differ by one grey level."""


REFERENCE_PIXELS = "Pillow's"
"""Identifies decoders whose pixels equal the reference's."""


class EngineName(StrEnum):
    """Engines on the command line."""

    AUTO = "auto"
    TENSORFLOW = "tensorflow"
    OPENVINO = "openvino"


class Device(StrEnum):
    """Devices on the command line."""

    AUTO = "auto"
    """A GPU where one can be used."""
    CPU = "cpu"
    GPU = "gpu"
    """Fails where no GPU can be used."""


class Precision(StrEnum):
    """Precisions on the command line."""

    FLOAT32 = "float32"
    """The same answer as the published program."""
    MIXED = "mixed"
    """Products in float16 (GPU) or bfloat16 (CPU), if the built-in check accepts them."""
    INT8 = "int8"
    """Products of 8-bit integers (CPU), if the bundle has such networks and the built-in check accepts them."""
    AUTO = "auto"
    """The fastest that the device and the bundle offer and that the check accepts."""


DEFAULT_BATCH_SIZE, GPU_BATCH_SIZE = 8, 64
"""Sequences per batch through the networks, on a CPU and on a GPU, whose calls are 32 rows: fewer leave most of them empty."""
DEFAULT_READ_TIMEOUT = 60.0
"""Seconds after which reading a photo is abandoned."""


class ExportFormat(StrEnum):
    """Formats of `hakuna export`."""

    MEGADETECTOR = "megadetector"
    CAMTRAP_DP = "camtrap-dp"
    LONG_CSV = "long-csv"


PACKAGE_NAME = "datapackage.json"
"""The file of a Camtrap DP package that is written last, and shows that a folder is one."""


class LogFormat(StrEnum):
    """Format of log lines."""

    AUTO = "auto"
    """Console lines on a terminal, JSON lines elsewhere."""
    CONSOLE = "console"
    JSON = "json"
