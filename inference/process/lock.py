"""A lock on the output folder: one run at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NewType

from inference.core.errors import HakunaError, LockedError, OutputError
from inference.core.files import output_errors

OutputFolder = NewType("OutputFolder", Path)
"""A folder that only this run writes to. Made by `locked`."""


@contextmanager
def locked(path: Path) -> Iterator[OutputFolder]:
    """Lock the folder, and create it if necessary. If the block fails, new folders that are empty are removed.

    The lock is on the folder itself: it leaves no file behind and ends with the process in any case.

    Raises
    ------
    LockedError
        Another run holds the lock.
    OutputError
        The folder cannot be created, or was moved or deleted before the block failed.
    """
    with output_errors(path):
        made = [one for one in (path, *path.parents) if not one.exists()]
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            _lock(descriptor, path, fcntl.LOCK_EX)
        except OSError as error:
            raise OutputError(f"{path}: must be on a file system with locks, got: {error.strerror or error}") from error
        try:
            yield OutputFolder(path)
        except (HakunaError, OSError) as error:
            if not _is_at(path, descriptor):
                raise OutputError(f"{path}: must stay until the run ends, but was moved or deleted") from error
            with suppress(OSError):  # the first one that is not empty
                for folder in made:
                    folder.rmdir()
            raise
    finally:
        os.close(descriptor)


def check_unlocked(path: Path) -> None:
    """Raise LockedError while a run writes to the folder. Where the file system has no locks, none does."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            _lock(descriptor, path, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, kind: int) -> None:
    """Raises LockedError, or OSError where the file system has no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockedError(f"{path}: must not be in use, but another run writes to it") from error


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False
