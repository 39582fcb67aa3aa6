"""Log of a run: warnings and, on request, log lines for people; JSON lines for programs."""

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TextIO, cast

import structlog

from inference.settings.verbosity import Verbosity, verbosity

PROGRESS_INTERVAL_SECONDS = 30.0
YELLOW, PLAIN = "\x1b[33m", "\x1b[0m"


def configure_logging(log_format: str, *, shows_log: bool = False) -> bool:
    """Send log lines to stderr; returns whether they are for people rather than for programs.

    People see warnings, and all lines with `-v` or if the log is the output of a command (`shows_log`). Programs get
    all lines. With `-q` both get only errors.
    """
    logging.getLogger("absl").setLevel(logging.ERROR)  # Keras logs notes on file formats there
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    human = is_terminal if log_format == "auto" else log_format == "console"
    coloured = bool(os.environ.get("FORCE_COLOR") or is_terminal) and not os.environ.get("NO_COLOR")
    shows_info = shows_log or not human or verbosity() is Verbosity.VERBOSE
    level = logging.INFO if shows_info else logging.WARNING
    processors: list[Any] = [structlog.processors.add_log_level]
    if human and not shows_info:
        processors.append(partial(_sentence, coloured=coloured))
    else:
        processors.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
        processors.append(
            structlog.dev.ConsoleRenderer(colors=coloured) if human else structlog.processors.JSONRenderer()
        )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR if verbosity() is Verbosity.QUIET else level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Listener())),
        cache_logger_on_first_use=False,
    )
    return human


def log_failure(exit_code: int, error: str, hint: str = "") -> None:
    """Log the event `failed`, the last one of a process, if this process has a log and it is for programs."""
    if isinstance(structlog.get_config()["processors"][-1], structlog.processors.JSONRenderer):
        facts = {"exit_code": exit_code, "error": error} | ({"hint": hint} if hint else {})
        structlog.get_logger().error("failed", **facts)


def _sentence(_: Any, __: str, event: structlog.typing.EventDict, *, coloured: bool) -> str:
    """`warning: frames resized to the first frame's size (count 3)`."""
    level, text = event.pop("level"), event.pop("event")
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in event.items())
    start = f"{YELLOW}{level}:{PLAIN}" if coloured else f"{level}:"
    return f"{start} {text} ({facts})" if facts else f"{start} {text}"


class _Listener:
    """Standard error, whose reader may disappear: later lines are lost, and the run continues.

    `sys.stderr` is looked up for each line: while a terminal shows a bar, lines appear above it.
    """

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # a broken pipe, a full disk; a closed stream
            if sys.stderr is not None:
                sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            if sys.stderr is not None:
                sys.stderr.flush()


class LoggedProgress:
    """One log line every 30 s with rate and remaining time, and one at the end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start: tuple[float, int] | None = None
        self._last = clock()

    def __call__(self, n_done: int, n_all: int) -> None:
        """Report that `n_done` of `n_all` sequences are finished."""
        now = self._clock()
        if self._start is None:
            self._start = (now, n_done)
        if n_done < n_all and now - self._last < PROGRESS_INTERVAL_SECONDS:
            return
        self._last = now
        elapsed = now - self._start[0]
        rate = (n_done - self._start[1]) / elapsed if elapsed > 0 else 0.0
        eta = round((n_all - n_done) / rate) if rate else None
        structlog.get_logger().info(
            "progress", done=n_done, total=n_all, sequences_per_second=round(rate, 3), eta_seconds=eta
        )
