"""Photos in a local folder: safe paths, folder entries, regular files."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from inference.core.sequences import FailureReason, FrameFailure
from inference.storage.interface import MAX_FILE_BYTES, Entry

Result = TypeVar("Result")


@dataclass(frozen=True)
class LocalFolder:
    """The photos below a folder. Nothing outside it is opened or inspected, wherever links lead."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def entry(self, name: str) -> Entry | FrameFailure:
        """The folder entry of a photo."""
        return self._of_photo(name, _entry)

    def read(self, name: str) -> bytes | FrameFailure:
        """The bytes of a photo. Never waits for the writer of a pipe."""
        return self._of_photo(name, read_regular_file)

    def _of_photo(self, name: str, look: Callable[[str], Result | FailureReason]) -> Result | FrameFailure:
        path = safe_path(self.folder, name)
        if path is None:
            return FrameFailure(name, FailureReason.UNSAFE_PATH)
        try:
            found = look(path)
        except (FileNotFoundError, NotADirectoryError):
            return FrameFailure(name, FailureReason.MISSING)
        except OSError as error:
            return FrameFailure(name, FailureReason.UNREADABLE, error.strerror or str(error))
        return FrameFailure(name, found) if isinstance(found, FailureReason) else found


def safe_path(folder: Path, name: str) -> str | None:
    """Absolute path of a file below the folder after resolving links, or None."""
    parts = name.split("/")
    if not name or "\0" in name or "\\" in name or name.startswith("/") or ".." in parts:
        return None
    root = os.path.realpath(folder)
    try:
        os.fsencode(name)  # half a surrogate pair cannot be a file name
        path = os.path.realpath(os.path.join(root, name))
    except (OSError, ValueError):
        return None
    # In a loop of links, realpath leaves links that may lead outside: its result must be a fixed point.
    if not path.startswith(root.rstrip("/") + "/") or os.path.realpath(path) != path:
        return None
    return path


def read_regular_file(path: str) -> bytes | FailureReason:
    """The bytes of a regular file, or the reason why it is not read. Raises OSError."""
    # Without O_NONBLOCK, opening a pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if refused := _refused(os.fstat(descriptor)):
            return refused
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE_BYTES)  # a limit in case the file grows
    finally:
        os.close(descriptor)


def _entry(path: str) -> Entry | FailureReason:
    status = os.stat(path)
    return _refused(status) or Entry(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _refused(status: os.stat_result) -> FailureReason | None:
    """Why a file with this folder entry is not read; None if it may be."""
    if not stat.S_ISREG(status.st_mode):
        return FailureReason.NOT_A_FILE
    if not status.st_size:
        return FailureReason.EMPTY_FILE
    return FailureReason.TOO_LARGE if status.st_size > MAX_FILE_BYTES else None
