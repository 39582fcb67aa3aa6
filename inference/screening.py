"""A path from the metadata -> bytes that are safe to hand to a decoder."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from inference.domain import FailureReason, FrameFailure

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 50_000_000
MAX_SCANS = 256
"""Limits of RELIABILITY.md "Images"; the largest real photos have 8 MP, 1.5 MB and 1 scan."""

JPEG_MAGIC = b"\xff\xd8"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_SIZE_OFFSET = 16
SCAN_MARKER = b"\xff\xda"
MARKERS_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA), 0xFF})
"""TEM, RSTn, SOI, EOI; and the two bytes that make an FF no marker: a stuffed zero, a fill byte."""
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG SOF0..SOF15 without DHT, JPG and DAC (ITU-T T.81, table B.1)."""


def read_image_file(data_folder: Path, file_name: str) -> bytes | FrameFailure:
    """Read a photo below the data folder, or tell why it cannot be a photo.

    Never opens anything outside the folder, never blocks on a pipe, never reads more than 64 MiB.
    """
    path = safe_path(data_folder, file_name)
    if path is None:
        return FrameFailure(file_name, FailureReason.UNSAFE_PATH)
    try:
        data = _read_regular_file(path)
    except FileNotFoundError:
        return FrameFailure(file_name, FailureReason.MISSING)
    except OSError as error:
        return FrameFailure(file_name, FailureReason.UNREADABLE, error.strerror or str(error))
    if isinstance(data, FailureReason):
        return FrameFailure(file_name, data)
    refused = refuse_header(data)
    return FrameFailure(file_name, refused) if refused else data


def refuse_header(data: bytes) -> FailureReason | None:
    """Why these bytes must not reach a decoder, from their first few; None if they may."""
    if data.startswith(JPEG_MAGIC):
        n_pixels = _jpeg_pixels(data)
        if data.count(SCAN_MARKER) > MAX_SCANS:
            return FailureReason.TOO_MANY_SCANS
    elif data.startswith(PNG_MAGIC):
        width = int.from_bytes(data[PNG_SIZE_OFFSET : PNG_SIZE_OFFSET + 4], "big")
        height = int.from_bytes(data[PNG_SIZE_OFFSET + 4 : PNG_SIZE_OFFSET + 8], "big")
        n_pixels = width * height
    else:
        return FailureReason.NOT_AN_IMAGE
    return FailureReason.TOO_MANY_PIXELS if n_pixels > MAX_PIXELS else None


def safe_path(data_folder: Path, file_name: str) -> str | None:
    """Absolute path of a file below the folder after links are followed, or None."""
    parts = file_name.split("/")
    if not file_name or "\0" in file_name or "\\" in file_name or file_name.startswith("/") or ".." in parts:
        return None
    root = os.path.realpath(data_folder)
    try:
        path = os.path.realpath(os.path.join(root, file_name))
    except (OSError, ValueError):
        return None
    return path if path.startswith(root.rstrip("/") + "/") else None


def _read_regular_file(path: str) -> bytes | FailureReason:
    # Without O_NONBLOCK, opening a pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return FailureReason.NOT_A_FILE
        if status.st_size == 0:
            return FailureReason.EMPTY_FILE
        if status.st_size > MAX_FILE_BYTES:
            return FailureReason.TOO_LARGE
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE_BYTES)
    finally:
        os.close(descriptor)


def _jpeg_pixels(data: bytes) -> int:
    """Largest height x width that a frame header before the first scan announces; 0 if there is none."""
    position, largest = len(JPEG_MAGIC), 0
    while 0 <= (position := data.find(b"\xff", position)) < len(data) - 9:
        marker = data[position + 1]
        if marker in MARKERS_WITHOUT_LENGTH:
            position += 1
            continue
        if marker == SCAN_MARKER[1]:
            break
        if marker in FRAME_MARKERS:
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            width = int.from_bytes(data[position + 7 : position + 9], "big")
            largest = max(largest, height * width)
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return largest
