"""Files that are either absent, old or complete, and their hashes."""

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from inference.core.errors import OutputError

HASH_BLOCK_BYTES = 1 << 20


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn a failing write (disk full, read-only, no such folder) into an OutputError that names the file."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} must be writable, got: {error.strerror or error}") from error


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[str]]:
    """Write a text file under a temporary name and give it its own name when it is complete and on disk."""
    with _final_when_complete(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file
        _to_disk(file)


@contextmanager
def atomic_binary_writer(path: Path) -> Iterator[IO[bytes]]:
    """The same for bytes; the file can be read back and sought in."""
    with _final_when_complete(path) as temporary, temporary.open("w+b") as file:
        yield file
        _to_disk(file)


@contextmanager
def _final_when_complete(path: Path) -> Iterator[Path]:
    """A temporary name beside the path, which becomes the path if the block ends without an error."""
    temporary = path.with_name(f".{path.name}.partial")
    with output_errors(path):
        try:
            yield temporary
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_csv(path: Path) -> Iterator[Any]:
    """Write a CSV file in the same way; gives a `csv.writer`."""
    with atomic_writer(path) as file:
        yield csv.writer(file, lineterminator="\n")


def write_json(content: Any, path: Path, *, ensure_ascii: bool = True) -> None:
    """Write indented JSON with a final line end in the same way."""
    with atomic_writer(path) as file:
        json.dump(content, file, indent=1, ensure_ascii=ensure_ascii)
        file.write("\n")


def _to_disk(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
