"""Bytes -> quarter frame with Pillow: the reference, bit for bit."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from inference.core.choices import Preset
from inference.core.sequences import ImageSize, Pixels
from inference.images.jpeg import JPEG_MAGIC, without_metadata

# The published program completed truncated files with grey; so does this one.
ImageFile.LOAD_TRUNCATED_IMAGES = True
# Damaged EXIF is no news: nothing of it is used.
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")

QUARTER = 4
SMALLEST_QUARTER = ImageSize(360, 480)
FALLBACK_SIZE = ImageSize(384, 512)
"""A photo whose quarter would be smaller than 360x480 becomes 384x512."""
JPEG_QUALITY = 75
JPEG_SUBSAMPLING = "4:2:0"


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
    return finish(np.asarray(photo.resize((size.width, size.height), Image.Resampling.LANCZOS)), preset)


def value_or_error(decode: Callable[[bytes, Preset], Pixels], data: bytes, preset: Preset) -> Pixels | DecodeError:
    """What a decoder makes of one photo; its error is a value."""
    try:
        return decode(data, preset)
    except DecodeError as error:
        return error


def finish(frame: Pixels, preset: Preset) -> Pixels:
    """What a preset does to a quarter frame, uint8 (H, W, 3), after the resize."""
    if preset is Preset.QUARTER:
        return frame
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=JPEG_SUBSAMPLING)
    return np.asarray(Image.open(buffer))


def _load_rgb(data: bytes) -> Image.Image:
    try:
        return _open_rgb(data)
    except DecodeError:
        # Damaged EXIF or profiles must not lose a photo whose pixels are fine: other decoders do not read them at all.
        bare = without_metadata(data) if data.startswith(JPEG_MAGIC) else data
        if bare == data:
            raise
    return _open_rgb(bare)


def _open_rgb(data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            return image.convert("RGB")
    except UnidentifiedImageError as error:
        # Its text names an address in memory, and failures.csv must not change from run to run.
        raise DecodeError("UnidentifiedImageError: neither a JPEG nor a PNG that Pillow knows") from error
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
