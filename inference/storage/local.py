"""Photos in a folder of this machine: safe paths, folder entries, regular files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from inference.core.sequences import FailureReason

STAT_FAILURES = frozenset(
    {
        FailureReason.UNSAFE_PATH,
        FailureReason.MISSING,
        FailureReason.NOT_A_FILE,
        FailureReason.EMPTY_FILE,
        FailureReason.TOO_LARGE,
    }
)
"""Failures that a look at the folder entry finds again as long as nobody mends them."""


def entry_of(data_folder: Path, file_name: str) -> os.stat_result | FailureReason:
    """The folder entry of a photo, or why it is none."""
    path = safe_path(data_folder, file_name)
    if path is None:
        return FailureReason.UNSAFE_PATH
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return FailureReason.MISSING
    except OSError:
        return FailureReason.UNREADABLE
    return refuse_entry(status) or status


MAX_FILE_BYTES = 64 << 20


def refuse_entry(status: os.stat_result) -> FailureReason | None:
    """Why a file with such a folder entry is not read; None if it may be."""
    if not stat.S_ISREG(status.st_mode):
        return FailureReason.NOT_A_FILE
    if not status.st_size:
        return FailureReason.EMPTY_FILE
    return FailureReason.TOO_LARGE if status.st_size > MAX_FILE_BYTES else None


def safe_path(data_folder: Path, file_name: str) -> str | None:
    """Absolute path of a file below the folder after links are followed, or None."""
    parts = file_name.split("/")
    if not file_name or "\0" in file_name or "\\" in file_name or file_name.startswith("/") or ".." in parts:
        return None
    root = os.path.realpath(data_folder)
    try:
        os.fsencode(file_name)  # half a surrogate pair is no name of a file
        path = os.path.realpath(os.path.join(root, file_name))
    except (OSError, ValueError):
        return None
    # Behind a loop of links, realpath leaves links as they are, which may lead outside: its answer must be final.
    if not path.startswith(root.rstrip("/") + "/") or os.path.realpath(path) != path:
        return None
    return path


def read_regular_file(path: str) -> bytes | FailureReason:
    """The bytes of a regular file, or why there are none."""
    # Without O_NONBLOCK, opening a pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if refused := refuse_entry(status):
            return refused
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE_BYTES)
    finally:
        os.close(descriptor)
