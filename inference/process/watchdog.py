"""The deadline holds whatever the run is doing."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from inference.core.errors import HakunaError
from inference.process.progress import RunState

log = structlog.get_logger()

FLUSH_SECONDS = 0.1


def log_with_timeout(say: Callable[[], None]) -> None:
    """Say something, but not for longer than a moment: nobody may read it, and a full pipe never takes it."""
    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    thread.join(FLUSH_SECONDS)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


@contextmanager
def watchdog(state: RunState, at_seconds: float, action: Callable[[], int]) -> Iterator[None]:
    """Unless the block ends before, act at `at_seconds` after the run began and end the process.

    It does not matter what the run is doing then, nor whether it will ever come back from it. `action` returns the exit
    code.
    """
    is_over = threading.Event()

    def wait() -> None:
        if is_over.wait(max(0.0, at_seconds - state.seconds())) or not state.end.acquire(blocking=False):
            return
        code = HakunaError.exit_code
        try:
            code = action()
        except HakunaError as error:
            said = str(error)
            log_with_timeout(lambda: log.error("the last moment", error=said))  # noqa: TRY400  # said elsewhere
            code = error.exit_code
        except BaseException:  # noqa: BLE001  # told, and the process ends all the same
            said = traceback.format_exc()
            log_with_timeout(lambda: log.error("the last moment", traceback=said))  # noqa: TRY400
        finally:
            # Nobody may read what the run says any more: that must not keep it from ending.
            log_with_timeout(_flush)
            os._exit(code)

    thread = threading.Thread(target=wait, name="last resort", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
