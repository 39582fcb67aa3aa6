"""Enforces the deadline, whatever the run is doing."""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import structlog

from inference.core.errors import HakunaError
from inference.process.progress import FAILED, OUT_OF_TIME, RunState

log = structlog.get_logger()

POLL_SECONDS = 0.2
"""Interval at which a waiting run checks whether it has to stop."""
FLUSH_SECONDS, LAST_BEAT_SECONDS = 0.1, 1.0
"""How long the end of the process waits for a line of the log, and for `status.json`."""


def log_with_timeout(write: Callable[..., object], *what: object, **facts: object) -> None:
    """Log, but wait only briefly: a pipe that nobody reads fills up and then blocks forever."""
    ends_within(lambda: write(*what, **facts), FLUSH_SECONDS)


def ends_within(action: Callable[[], object], seconds: float, check: Callable[[], None] = lambda: None) -> bool:
    """Run the action in a thread, which is left alone after this time; returns whether it has ended.

    `check` is called often meanwhile, and may raise. The program must end with `exit_process`.
    """
    thread, deadline = threading.Thread(target=action, daemon=True), time.monotonic() + seconds
    _left_alone[:] = [thread, *(one for one in _left_alone if one.is_alive())]
    thread.start()
    while thread.is_alive() and (left := deadline - time.monotonic()) > 0:
        check()
        thread.join(min(left, POLL_SECONDS))
    if has_ended := not thread.is_alive():
        _left_alone.remove(thread)
    return has_ended


_left_alone: list[threading.Thread] = []


def exit_process(code: int) -> NoReturn:
    """End the program like `sys.exit`; at once if a library hangs in a thread, since its orderly end would hang or crash."""
    if any(thread.is_alive() for thread in _left_alone):
        ends_within(_flush, LAST_BEAT_SECONDS)
        os._exit(code)
    sys.exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


@contextmanager
def watchdog(
    state: RunState,
    at_seconds: float,
    action: Callable[[], tuple[int, dict[str, Any]]],
    last_beat: Callable[[str], None],
) -> Iterator[None]:
    """Unless the block ends first, run `action` at `at_seconds` after the start of the run, and end the process.

    This works whatever the run is doing, even if it hangs. `action` returns the exit code and the facts of the event
    `complete`, which is logged at the very end. `last_beat` gets the last stage for `status.json`.
    """
    is_over = threading.Event()

    def wait() -> None:
        """Sleep until then; act, unless the run is over or is naming its own submission."""
        if is_over.wait(max(0.0, at_seconds - state.seconds())) or not state.submission_lock.acquire(blocking=False):
            return
        code, end = HakunaError.exit_code, partial(log.error, "failed")
        try:
            code, facts = action()
            end = partial(log.info, "complete", **facts)
        except HakunaError as error:
            code = error.exit_code
            end = partial(end, exit_code=code, error=str(error), **({"hint": error.hint} if error.hint else {}))
        except BaseException:  # noqa: BLE001  # logged; the process ends anyway
            end = partial(end, exit_code=code, traceback=traceback.format_exc())
        finally:
            ends_within(lambda: last_beat(FAILED if code else OUT_OF_TIME), LAST_BEAT_SECONDS)
            log_with_timeout(end)  # last: the run itself may have logged something meanwhile
            # A full pipe that nobody reads must not keep the process from ending.
            log_with_timeout(_flush)
            os._exit(code)

    thread = threading.Thread(target=wait, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
