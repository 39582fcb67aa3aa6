"""Work that may hang, such as reading from a mount that has gone away: waited for, then abandoned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

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
        future: Future[Result] = Future()
        # A thread that hangs in the kernel cannot be ended; as a daemon it does not keep the program from ending.
        threading.Thread(target=_run, args=(future, work), name="read", daemon=True).start()
        if future not in wait([future], self.seconds).done:
            with self._lock:
                self._n_hanging += 1
            future.add_done_callback(self._on_late_return)  # at once if it has finished in this very moment
            if not future.done():
                raise ReadTimeoutError(f"no answer within {self.seconds:g} s")
        return future.result()

    def _on_late_return(self, _: Future[Result]) -> None:
        with self._lock:
            self._n_hanging -= 1


def _run(future: Future[Result], work: Callable[[], Result]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001  # handed to whoever waits
        future.set_exception(error)
