"""Bytes -> quarter frame, with Pillow's pixels in less than half the time.

libjpeg-turbo decodes without Pillow's copies, `resample` resizes. All files other than plain, complete JPEGs go to
Pillow, which repairs them as the reference did.
"""

from __future__ import annotations

import simplejpeg

from inference.core.choices import Preset
from inference.core.sequences import ImageSize, Pixels
from inference.images import decode_pillow
from inference.images.jpeg import has_unknown_marker
from inference.images.reading import refuse_size
from inference.images.resample import resize_lanczos

PLAIN_COLOUR_SPACES = frozenset({"YCbCr", "Gray"})
"""Written by cameras by day and, in some models, at night."""


def decode(data: bytes, preset: Preset) -> Pixels:
    """Decode a photo to its quarter frame: same pixels and errors as `decode_pillow.decode`."""
    photo = decode_plain(data)
    if photo is None:
        return decode_pillow.decode(data, preset)
    size = decode_pillow.quarter_size(ImageSize(*photo.shape[:2]))
    return decode_pillow.finish(resize_lanczos(photo, size), preset)


def decode_plain(data: bytes) -> Pixels | None:
    """Decode a plain JPEG: uint8 (H, W, 3), RGB; None if libjpeg-turbo warns about the file."""
    if plain_size(data) is None:
        return None
    try:
        photo: Pixels = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # truncated, damaged, or of a kind that only Pillow knows
        return None
    return photo


def plain_size(data: bytes) -> ImageSize | None:
    """Size of a JPEG as written by cameras, from its header; None for other files and for those that Pillow or we reject."""
    try:
        height, width, colour_space, _ = simplejpeg.decode_jpeg_header(data)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # no JPEG
        return None
    if colour_space not in PLAIN_COLOUR_SPACES or has_unknown_marker(data):
        return None
    size = ImageSize(height, width)
    return None if refuse_size(size) else size
