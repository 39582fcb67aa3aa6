"""Bytes -> quarter frame with Pillow: the reference, bit for bit."""

from __future__ import annotations

import io
import struct
import warnings
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFile

from inference.domain import ImageSize

if TYPE_CHECKING:
    from inference.domain import Pixels

# The published program completed truncated files with grey; so does this one.
ImageFile.LOAD_TRUNCATED_IMAGES = True
# Damaged EXIF is no news: nothing of it is used.
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")

QUARTER = 4
SMALLEST_QUARTER = ImageSize(360, 480)
FALLBACK_SIZE = ImageSize(384, 512)
"""A photo whose quarter would be smaller than 360x480 becomes 384x512 (REFERENCE.md 3.1.3)."""
JPEG_QUALITY = 75
JPEG_SUBSAMPLING = "4:2:0"


class Preset(StrEnum):
    """The *reference resize*: what happened to a photo before any network saw it."""

    QUARTER = "quarter"
    """A quarter of each side, as the published program does."""
    QUARTER_JPEG = "quarter+jpeg"
    """The same, saved as JPEG and loaded again, as the shared training set was made."""


class DecodeError(Exception):
    """These bytes are no photo that Pillow can decode."""


def quarter_size(full: ImageSize) -> ImageSize:
    """Size of the quarter frame of a photo."""
    quarter = ImageSize(full.height // QUARTER, full.width // QUARTER)
    if quarter.width < SMALLEST_QUARTER.width or quarter.height < SMALLEST_QUARTER.height:
        return FALLBACK_SIZE
    return quarter


def decode(data: bytes, preset: Preset) -> Pixels:
    """Decode a photo to its quarter frame, EXIF orientation ignored.

    Parameters
    ----------
    data : a JPEG or PNG file, screened
    preset : which reference resize

    Returns
    -------
    uint8 (H, W, 3), RGB, 0-255

    Raises
    ------
    DecodeError
        Pillow cannot decode it, even completed.
    """
    photo = _load_rgb(data)
    size = quarter_size(ImageSize(photo.height, photo.width))
    frame = photo.resize((size.width, size.height), Image.Resampling.LANCZOS)
    if preset is Preset.QUARTER_JPEG:
        buffer = io.BytesIO()
        frame.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=JPEG_SUBSAMPLING)
        frame = Image.open(buffer)
    return np.asarray(frame)


def _load_rgb(data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            return image.convert("RGB")
    # Pillow's decoders and EXIF readers raise all of these on damaged files.
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        OverflowError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        raise DecodeError(f"{type(error).__name__}: {error}") from error
