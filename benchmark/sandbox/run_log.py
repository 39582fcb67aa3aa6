"""The log of a program, limited in size."""

import os
import threading
from pathlib import Path
from typing import Self

from inference.core.errors import HakunaError, OutputError
from inference.core.files import output_errors

LOG_LIMIT_BYTES = 64 << 20
"""A program whose output never ends must not fill the disk: log.txt holds this much, the console everything."""
TAIL_BYTES = 1 << 14
"""Of a program's output: enough for the last error."""


class RunLog:
    """`log.txt` and the console: both get every byte at once."""

    def __init__(self, path: Path, console: int | None, *, fresh: bool, limit: int = LOG_LIMIT_BYTES) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with output_errors(path):
            self._file = os.open(path, flags | (os.O_TRUNC if fresh else 0), 0o644)
        self._path = path
        self._console: int | None = console
        self._n_left = limit
        self._tail = b""
        self._lock = threading.Lock()
        self.failure: OutputError | None = None
        """The reason why `log.txt` is not complete: the program continues all the same."""

    def say(self, text: str) -> None:
        """A line of our own; names of files that are not UTF-8 are escaped."""
        self._put(f"hakuna: {text}\n".encode(errors="backslashreplace"))

    def say_error(self, error: HakunaError) -> None:
        """An error, and its hint."""
        self.say(str(error))
        if error.hint:
            self.say(f"hint: {error.hint}")

    def write(self, data: bytes) -> None:
        """Output of a program, as it is."""
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        self._put(data)

    def tail(self) -> str:
        """The end of the program's output."""
        return self._tail.decode(errors="replace")

    def _put(self, data: bytes) -> None:
        with self._lock:
            if self.failure is None:
                try:
                    self._write_file(data)
                except OSError as error:
                    self.failure = OutputError(f"{self._path} must be writable, got: {error.strerror or error}")
            if self._console is not None:
                try:
                    _write_all(self._console, data)
                except OSError:
                    self._console = None  # its reader is gone; log.txt has the output

    def _write_file(self, data: bytes) -> None:
        if self._n_left > 0:
            _write_all(self._file, data[: self._n_left])
            self._n_left -= len(data)
            if self._n_left <= 0:
                _write_all(self._file, b"\nhakuna: log.txt is full, the rest is on the console only\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
