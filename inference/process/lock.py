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
LOCK_NAME = ".lock"
"""An empty file beside the outputs. NFS passes locks of files that are open for writing to its server, but none of folders."""
FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # something else may have its name


@contextmanager
def locked(path: Path) -> Iterator[OutputFolder]:
    """Lock the folder, and create it if necessary. If the block fails, new folders that are empty are removed.

    The lock ends with the process in any case; a process that is killed leaves the file, which locks nothing. The lock
    holds between machines where their file system passes locks on.

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
        folder = os.stat(path)
        descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | FLAGS, 0o666)
    is_mine = may_be_empty = False
    try:
        try:
            _lock(descriptor, path, fcntl.LOCK_EX)
        except OSError as error:
            raise OutputError(f"{path}: must be on a file system with locks, got: {error.strerror or error}") from error
        if not (is_mine := _is_at(path / LOCK_NAME, os.fstat(descriptor))):
            raise LockedError(f"{path}: must not be in use, but another run is just leaving it")
        try:
            yield OutputFolder(path)
        except (HakunaError, OSError) as error:
            if not _is_at(path, folder):
                raise OutputError(f"{path}: must stay until the run ends, but was moved or deleted") from error
            may_be_empty = True
            raise
    finally:
        if is_mine and _is_at(path / LOCK_NAME, os.fstat(descriptor)):
            with suppress(OSError):
                (path / LOCK_NAME).unlink()
        os.close(descriptor)  # before that, NFS keeps the file under another name
        with suppress(OSError):  # the first one that is not empty
            for one in made if may_be_empty else ():
                one.rmdir()


def check_unlocked(path: Path) -> None:
    """Raise LockedError while a run writes to the folder. Where the file system has no locks, none does."""
    with suppress(OSError):
        descriptor = os.open(path / LOCK_NAME, os.O_RDONLY | FLAGS)
        try:
            _lock(descriptor, path, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)


def _lock(descriptor: int, path: Path, kind: int) -> None:
    """Raises LockedError, or OSError where the file system has no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockedError(f"{path}: must not be in use, but another run writes to it") from error


def _is_at(path: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), status)
    except OSError:
        return False
