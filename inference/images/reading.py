"""A stored photo -> bytes that are safe to pass to a decoder."""

from collections.abc import Iterator
from itertools import islice

from inference.core.sequences import FailureReason, FrameFailure, ImageSize
from inference.images import jpeg
from inference.storage.interface import PhotoStorage

MAX_PIXELS = 50_000_000
MAX_SCANS = 256
"""The largest photos of the public seasons have 8 million pixels and 1 scan."""
MAX_SIDE = 65_535
"""The longest side that a JPEG can announce. Resizing needs 48 bytes for each pixel of a side."""
MAX_SCANNED_PIXELS = 1_000_000_000
"""Pixels times scans: each scan of a progressive JPEG visits all pixels, even without bytes for them."""
MAX_SEGMENTS = 65_536
"""Segments of a JPEG before its pixels, or chunks of a PNG: one per KiB in the largest file."""
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_FRAMING_BYTES = 12
"""Length, type and checksum around a chunk's content."""
PNG_HEADER_BYTES = 13
SCAN_MARKER, END_MARKER = b"\xff\xda", b"\xff\xd9"
"""Of a JPEG. Pixels never hold them: a byte 0xFF of theirs is followed by 0."""


def read_image_file(storage: PhotoStorage, name: str) -> bytes | FrameFailure:
    """The bytes of a photo that is safe to decode, or the reason for rejecting it."""
    data = storage.read(name)
    if isinstance(data, FrameFailure):
        return data
    refused = refuse_header(data)
    return FrameFailure(name, refused) if refused else data


def refuse_header(data: bytes) -> FailureReason | None:
    """Why these bytes must not reach a decoder, judged by their headers; None if they may.

    Decoding a file within the limits takes bounded time and memory.
    """
    if data.startswith(jpeg.JPEG_MAGIC):
        segments: Iterator[object] = jpeg.segments(data, jpeg.START_OF_SCAN)
        announced_size = jpeg.announced_size
    elif data.startswith(PNG_MAGIC):
        segments, announced_size = _png_chunks(data), _png_size
    else:
        return FailureReason.NOT_AN_IMAGE
    if sum(1 for _ in islice(segments, MAX_SEGMENTS + 1)) > MAX_SEGMENTS:
        return FailureReason.TOO_MANY_SEGMENTS
    size = announced_size(data)
    if refused := refuse_size(size):
        return refused
    most_scans = min(MAX_SCANS, MAX_SCANNED_PIXELS // max(1, size.height * size.width))
    # Counting marker bytes cannot miss a scan, but can count bytes that are not a scan.
    has_marker = data.startswith(jpeg.JPEG_MAGIC) and data.count(SCAN_MARKER) > most_scans
    return FailureReason.TOO_MANY_SCANS if has_marker and jpeg.count_scans(data) > most_scans else None


def refuse_size(size: ImageSize) -> FailureReason | None:
    """Why an image of this size must not be decoded; None if it may."""
    if size.height * size.width > MAX_PIXELS:
        return FailureReason.TOO_MANY_PIXELS
    return FailureReason.TOO_LONG if max(size) > MAX_SIDE else None


def is_cut_short(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end marker, as after an interrupted copy. Decoders complete it with grey."""
    if data.startswith(jpeg.JPEG_MAGIC):
        pixels = (start for marker, start, _ in jpeg.segments(data) if marker == jpeg.START_OF_SCAN)
        return data.rfind(END_MARKER, next(pixels, len(data))) < 0
    return all(chunk_type != b"IEND" for chunk_type, _, _ in _png_chunks(data))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, offset of the content and its length, of each chunk up to the last."""
    position, chunk_type = len(PNG_MAGIC), b""
    while position < len(data) and chunk_type != b"IEND":
        n_bytes = int.from_bytes(data[position : position + 4], "big")
        chunk_type = data[position + 4 : position + 8]
        yield chunk_type, position + 8, n_bytes
        position += PNG_FRAMING_BYTES + n_bytes


def _png_size(data: bytes) -> ImageSize:
    """The size in the last header before the pixels, which Pillow uses; 0x0 if there is no header."""
    size = ImageSize(0, 0)
    for chunk_type, start, n_bytes in _png_chunks(data):
        if chunk_type in (b"IDAT", b"fdAT"):
            break
        if chunk_type == b"IHDR" and n_bytes >= PNG_HEADER_BYTES:
            width = int.from_bytes(data[start : start + 4], "big")
            height = int.from_bytes(data[start + 4 : start + 8], "big")
            size = ImageSize(height, width)
    return size
