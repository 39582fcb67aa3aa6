"""Bytes -> quarter frame with Pillow: the reference, bit for bit."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from inference.core.choices import Preset
from inference.core.sequences import ImageSize, Pixels
from inference.images.jpeg import JPEG_MAGIC, without_metadata
from inference.images.reading import refuse_size

# Truncated files are completed with grey, as in the published program.
ImageFile.LOAD_TRUNCATED_IMAGES = True
# Warnings about damaged EXIF are irrelevant: it is not used.
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")

QUARTER = 4
SMALLEST_QUARTER = ImageSize(360, 480)
FALLBACK_SIZE = ImageSize(384, 512)
"""Replaces a quarter size smaller than 360x480."""
KNOWN_GREY = 100
"""Of `known_photo`: one coefficient of a block, which leaves no room for rounding."""
JPEG_QUALITY = 75
JPEG_SUBSAMPLING = "4:2:0"
MAX_CPU_SECONDS = 20.0
"""Time of one thread for one photo. Screened photos take at most a second, unless one makes Pillow unpack the same
profile many times. CPU time, so that paused or waiting processes use none."""


class DecodeError(Exception):
    """Pillow cannot decode these bytes as a photo."""


class _TimedBytes(io.BytesIO):
    """A file in memory that stops readers after a time limit. Pillow reads in small pieces."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._end = time.thread_time() + MAX_CPU_SECONDS

    def read(self, size: int | None = -1) -> bytes:
        if time.thread_time() > self._end:
            raise DecodeError(f"must be decoded within {MAX_CPU_SECONDS:g} s of computing time")
        return super().read(size)


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
    preset : the reference resize

    Returns
    -------
    uint8 (H, W, 3), RGB, 0-255

    Raises
    ------
    DecodeError
        Pillow cannot decode it, even after completing it.
    """
    photo = _load_rgb(data)
    size = quarter_size(ImageSize(photo.height, photo.width))
    return finish(np.asarray(photo.resize((size.width, size.height), Image.Resampling.LANCZOS)), preset)


def value_or_error(decode: Callable[[bytes, Preset], Pixels], data: bytes, preset: Preset) -> Pixels | DecodeError:
    """The result of decoding one photo, with errors returned as values."""
    try:
        return decode(data, preset)
    except DecodeError as error:
        return error


def finish(frame: Pixels, preset: Preset) -> Pixels:
    """Apply a preset's step after the resize to a quarter frame, uint8 (H, W, 3)."""
    if preset is Preset.QUARTER:
        return frame
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=JPEG_SUBSAMPLING)
    return np.asarray(Image.open(buffer))


def _load_rgb(data: bytes) -> Image.Image:
    try:
        return _open_rgb(data)
    except DecodeError:
        # Damaged EXIF or profiles must not cost a photo with intact pixels: other decoders do not read them at all.
        bare = without_metadata(data) if data.startswith(JPEG_MAGIC) else data
        if bare == data:
            raise
    return _open_rgb(bare)


def _open_rgb(data: bytes) -> Image.Image:
    try:
        with Image.open(_TimedBytes(data), formats=("JPEG", "PNG")) as image:
            # Screening looks at the headers of sound files; in damaged ones Pillow may go by another.
            if refused := refuse_size(ImageSize(image.height, image.width)):
                raise DecodeError(f"{refused}: {image.width} x {image.height}")  # noqa: TRY301
            return image.convert("RGB")
    except (MemoryError, DecodeError):
        raise
    except UnidentifiedImageError as error:
        # Pillow's text contains a memory address, and failures.csv must be identical in every run.
        raise DecodeError("UnidentifiedImageError: neither a JPEG nor a PNG that Pillow knows") from error
    except Exception as error:  # whatever Pillow's decoders and EXIF readers raise, the bytes are the cause
        raise DecodeError(f"{type(error).__name__}: {error}".removesuffix(": ")) from error


def known_photo() -> bytes:
    """A JPEG of one grey, large enough to be shrunk, that every decoder must decode."""
    buffer = io.BytesIO()
    height, width = (QUARTER * side for side in SMALLEST_QUARTER)
    Image.new("RGB", (width, height), (KNOWN_GREY, KNOWN_GREY, KNOWN_GREY)).save(
        buffer, "JPEG", quality=100, subsampling=0
    )
    return buffer.getvalue()
