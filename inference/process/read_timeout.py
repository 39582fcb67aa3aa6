"""Work that may hang, such as reading from a mount that has gone away: waited for, then abandoned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from inference.core.errors import InputError

Result = TypeVar("Result")

MAX_HANGING = 64
"""Threads that may hang at once. When so many reads do not come back, the mount is gone: going on would only turn all
that is left into failures."""


class ReadTimeoutError(Exception):
    """The work took too long."""


class StorageUnavailableError(InputError):
    """So much work hangs that none can be expected to come back."""


class ReadTimeout:
    """Runs work in threads of their own and waits for each a limited time. Threads may share it."""

    def __init__(self, seconds: float) -> None:
        """Wait `seconds` for each piece of work."""
        self.seconds = seconds
        self._lock = threading.Lock()
        self._n_hanging = 0

    def __reduce__(self) -> tuple[type[ReadTimeout], tuple[float]]:
        """A copy in another process waits as long, and begins with no reads that hang."""
        return ReadTimeout, (self.seconds,)

    def __call__(self, work: Callable[[], Result]) -> Result:
        """The result, or error, of the work.

        Raises
        ------
        ReadTimeoutError
            It takes too long; the thread is abandoned.
        StorageUnavailableError
            Too many others hang already.
        """
        with self._lock:
            if self._n_hanging >= MAX_HANGING:
                raise StorageUnavailableError(
                    f"photos: must be readable, but {self._n_hanging} reads hang for more than {self.seconds:g} s; "
                    "progress is saved, run again when they are"
                )
        attempt = _Attempt(work, self._on_late_return)
        # A thread that hangs in the kernel cannot be ended; as a daemon it does not keep the program from ending.
        threading.Thread(target=attempt.run, name="read", daemon=True).start()
        if not attempt.wait(self.seconds):
            with self._lock:
                self._n_hanging += 1
            if attempt.abandon():
                raise ReadTimeoutError(f"no answer within {self.seconds:g} s")
            self._on_late_return()  # it finished in this very moment
        return attempt.result()

    def _on_late_return(self) -> None:
        with self._lock:
            self._n_hanging -= 1


class _Attempt(Generic[Result]):
    """One piece of work, its outcome, and whether its caller still waits."""

    def __init__(self, work: Callable[[], Result], on_late: Callable[[], None]) -> None:
        self._work = work
        self._on_late = on_late
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._result: list[Result] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:  # noqa: BLE001  # handed to whoever waits
            self._error = error
        with self._lock:
            self._done.set()
            is_abandoned = self._is_abandoned
        if is_abandoned:
            self._on_late()

    def wait(self, seconds: float) -> bool:
        return self._done.wait(seconds)

    def abandon(self) -> bool:
        """Stop waiting; False if it finished before."""
        with self._lock:
            self._is_abandoned = not self._done.is_set()
            return self._is_abandoned

    def result(self) -> Result:
        if self._error is not None:
            raise self._error
        return self._result[0]
