"""A photo of a storage -> bytes that are safe to hand to a decoder."""

from inference.core.sequences import FailureReason, FrameFailure
from inference.images import jpeg
from inference.storage.interface import PhotoStorage

MAX_PIXELS = 50_000_000
MAX_SCANS = 256
"""The largest photos of the public seasons have 8 million pixels and 1 scan."""
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_FRAMING_BYTES = 12
"""Length, type and checksum around the content of a chunk."""
PNG_HEADER_BYTES = 13
SCAN_MARKER = b"\xff\xda"


def read_image_file(storage: PhotoStorage, name: str) -> bytes | FrameFailure:
    """The bytes of a photo that may go to a decoder, or why they may not."""
    data = storage.read(name)
    if isinstance(data, FrameFailure):
        return data
    refused = refuse_header(data)
    return FrameFailure(name, refused) if refused else data


def refuse_header(data: bytes) -> FailureReason | None:
    """Why these bytes must not reach a decoder, from their first few; None if they may."""
    if data.startswith(jpeg.JPEG_MAGIC):
        # A scan cannot hide from the count of its marker; the marker's bytes may be there without a scan.
        if data.count(SCAN_MARKER) > MAX_SCANS and jpeg.count_scans(data) > MAX_SCANS:
            return FailureReason.TOO_MANY_SCANS
        n_pixels = jpeg.count_pixels(data)
    elif data.startswith(PNG_MAGIC):
        n_pixels = _png_pixels(data)
    else:
        return FailureReason.NOT_AN_IMAGE
    return FailureReason.TOO_MANY_PIXELS if n_pixels > MAX_PIXELS else None


def _png_pixels(data: bytes) -> int:
    """Height x width of the last header before the pixels, which is the one that Pillow takes; 0 if there is none."""
    position, n_pixels = len(PNG_MAGIC), 0
    while position < len(data):
        n_bytes = int.from_bytes(data[position : position + 4], "big")
        chunk_type, content = data[position + 4 : position + 8], position + 8
        if chunk_type in (b"IDAT", b"fdAT", b"IEND"):
            break
        if chunk_type == b"IHDR" and n_bytes >= PNG_HEADER_BYTES:
            width = int.from_bytes(data[content : content + 4], "big")
            height = int.from_bytes(data[content + 4 : content + 8], "big")
            n_pixels = width * height
        position += PNG_FRAMING_BYTES + n_bytes
    return n_pixels
