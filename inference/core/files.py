"""Files that are absent, old or complete, never partial; and their hashes."""

import csv
import errno
import fcntl
import glob
import hashlib
import json
import os
import secrets
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import IO, Any

from inference.core.errors import HakunaError, InputError, OutputError

HASH_BLOCK_BYTES = 1 << 20
TEMPORARY_BYTES = 4
"""Random part of the name of a temporary file, in hexadecimal."""
MAX_JSON_BYTES = 16 << 20
"""Larger than any JSON file this program writes; a sparse file can claim terabytes."""


@contextmanager
def os_errors(error: type[HakunaError], message: str, hint: str = "") -> Iterator[None]:
    """Turn an OSError (no such file, permission denied) into `error` with the message and the reason."""
    try:
        yield
    except OSError as problem:
        raise error(f"{message}, got: {problem.strerror or problem}", hint=hint) from problem


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn a failed write (disk full, read-only, no such folder) into an OutputError that names the file."""
    with os_errors(OutputError, f"{path} must be writable"):
        yield


def is_plain_path(path: str) -> bool:
    """Whether a path leads below a folder and is in normal form."""
    pure = PurePosixPath(path)
    return path.isprintable() and pure.parts[:1] not in ((), ("/",)) and ".." not in pure.parts and str(pure) == path


def nearest_folder(path: Path) -> Path:
    """The closest thing above a path that exists: the folder in which missing folders would be made."""
    return next(one for one in path.absolute().parents if one.exists())


def make_folder(path: Path) -> None:
    """Make a folder for outputs of the user, and those above it, unless it exists. Raises OutputError."""
    with output_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def make_parent(path: Path) -> None:
    """Make the folder that an output of the user is written to, and those above it. Raises OutputError."""
    make_folder(path.parent)


def check_folder(path: Path, error: type[HakunaError], wanted: str, hint: str = "") -> None:
    """Raise `error` where a folder that must be there is not."""
    if not os.path.isdir(path):
        got = "a file" if os.path.exists(path) else "no such folder"
        raise error(f"{path}: must be {wanted}, got {got}", hint=hint)


def check_run_folder(path: Path) -> None:
    """Raise InputError where the output folder of a finished run is not."""
    check_folder(path, InputError, "the output folder of a finished run", "`hakuna predict` makes one")


def atomic_writer(path: Path) -> AbstractContextManager[IO[str]]:
    """Write a text file under a temporary name; rename it once it is complete and on disk."""
    return _atomic(path, "w", encoding="utf-8", newline="")


def atomic_binary_writer(path: Path) -> AbstractContextManager[IO[bytes]]:
    """The same for bytes; the file supports reading back and seeking."""
    return _atomic(path, "w+b")


@contextmanager
def _atomic(path: Path, mode: str, **text: Any) -> Iterator[IO[Any]]:
    with output_errors(path):
        temporary = _temporary_beside(path)
        try:
            with temporary.open(mode.replace("w", "x"), **text) as file:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_SH)
                yield file
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)  # before the lock ends with the file
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _temporary_beside(path: Path) -> Path:
    """A name in the same folder that no other process uses. Such files of killed processes are removed.

    The writer of such a file holds a lock on it. Raises OSError.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 2 * TEMPORARY_BYTES}.partial"):
        with suppress(OSError), open(left, "rb", opener=regular_file) as file:  # OSError: locked, or gone
            is_old = time.time() - os.fstat(file.fileno()).st_mtime > 1  # noqa: TID251  # a new one may not be locked yet
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_old:
                left.unlink()
    return path.with_name(f".{path.name}.{secrets.token_hex(TEMPORARY_BYTES)}.partial")


def regular_file(path: str, flags: int) -> int:
    """An opener that raises OSError for anything but a regular file, and never waits for a pipe."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", path)


@contextmanager
def atomic_csv(path: Path) -> Iterator[Any]:
    """Write a CSV file in the same way, with line feeds as line ends; yields a `csv.writer`."""
    with atomic_writer(path) as file:
        # Python 3.11 quotes a carriage return only if lines end in one; unquoted, no reader reads it back.
        yield csv.writer(SimpleNamespace(write=lambda row: file.write(f"{row[:-2]}\n")), lineterminator="\r\n")


def write_json(content: Any, path: Path, *, ensure_ascii: bool = True) -> None:
    """Write indented JSON with a final newline in the same way. Raises ValueError for NaN, which JSON does not have."""
    with atomic_writer(path) as file:
        json.dump(content, file, indent=1, ensure_ascii=ensure_ascii, allow_nan=False)
        file.write("\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file written by this program. Raises OSError, ValueError, RecursionError."""
    with open(path, "rb", opener=regular_file) as file:
        return json.loads(file.read(MAX_JSON_BYTES))


def walk(
    folder: Path, on_error: Callable[[OSError], object] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield path, subfolders (remove those to skip) and all other names, links included, of each folder from the top.

    Names are sorted. `os.walk` and `Path.rglob` are not used: before Python 3.12 they raise RecursionError at a
    thousand nested folders. Raises OSError for an unreadable folder, unless `on_error` handles it.
    """
    waiting = [str(folder)]
    while waiting:
        parent = waiting.pop()
        folders: list[str] = []
        others: list[str] = []
        try:
            with os.scandir(parent) as entries:
                for entry in entries:
                    (folders if entry.is_dir(follow_symlinks=False) else others).append(entry.name)
        except OSError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        folders.sort()
        yield parent, folders, sorted(others)
        waiting += [os.path.join(parent, name) for name in reversed(folders)]


def files_below(folder: Path) -> list[Path]:
    """Everything below a folder except folders, sorted. Links are not followed. Raises OSError."""
    return sorted(Path(parent, name) for parent, _, names in walk(folder) for name in names)


def remove_tree(folder: Path) -> None:
    """Remove a folder and everything below it, at any depth, including unreadable items of its owner. Raises OSError.

    `shutil.rmtree` recurses, and fails on paths longer than the system's limit (4,096 bytes).
    """
    for command in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
        # In a separate session, so that Ctrl-C does not end it halfway.
        done = subprocess.run([*command, "--", str(folder)], capture_output=True, check=False, start_new_session=True)  # noqa: S603
    if done.returncode:
        raise OSError(done.stderr.decode(errors="replace").partition("\n")[0])


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises OSError if it is not a regular file."""
    with open(path, "rb", opener=regular_file) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
