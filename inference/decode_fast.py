"""Bytes -> quarter frame, the same pixels as Pillow's in less than half the time.

libjpeg-turbo decodes without Pillow's copies, `resample` resizes. Whatever is not a plain, whole colour JPEG goes to
Pillow, which repairs it as the reference did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import simplejpeg

from inference import decode_pillow
from inference.domain import ImageSize
from inference.resample import resize_lanczos

if TYPE_CHECKING:
    from inference.domain import Pixels, Preset

PLAIN_COLOUR = "YCbCr"


def decode(data: bytes, preset: Preset) -> Pixels:
    """Decode a photo to its quarter frame: the pixels, and the errors, of `decode_pillow.decode`."""
    photo = _decode_plain(data)
    if photo is None:
        return decode_pillow.decode(data, preset)
    size = decode_pillow.quarter_size(ImageSize(*photo.shape[:2]))
    return decode_pillow.finish(resize_lanczos(photo, size), preset)


def _decode_plain(data: bytes) -> Pixels | None:
    """uint8 (H, W, 3), RGB; None where libjpeg-turbo has anything to say about the file."""
    try:
        if simplejpeg.decode_jpeg_header(data)[2] != PLAIN_COLOUR:
            return None
        photo: Pixels = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False)
    except ValueError:  # truncated, damaged, or no JPEG
        return None
    return photo
