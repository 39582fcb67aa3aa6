"""How a run reports while it runs: console lines and a bar for people, JSON lines for programs."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, TextIO, cast

import structlog

PROGRESS_INTERVAL_SECONDS = 30.0


def configure_logging(log_format: str) -> bool:
    """Send log lines to stderr; returns whether they are for people rather than for programs."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # Keras reports file formats there
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    human = is_terminal if log_format == "auto" else log_format == "console"
    coloured = bool(os.environ.get("FORCE_COLOR") or is_terminal) and not os.environ.get("NO_COLOR")
    renderer: Any = structlog.dev.ConsoleRenderer(colors=coloured) if human else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Listener(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    return human


class _Listener:
    """A stream whose reader may go away: what is written then is lost, and the run goes on."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # a broken pipe, a full disk; a stream that was closed
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()


class LoggedProgress:
    """One log line every 30 s with rate and time to go, and one at the end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start: tuple[float, int] | None = None
        self._last = clock()

    def __call__(self, n_done: int, n_all: int) -> None:
        """Tell that `n_done` of `n_all` sequences are done."""
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


def progress_for(human: bool) -> AbstractContextManager[Callable[[int, int], None]]:
    """A live bar for people, log lines for programs."""
    return live_progress() if human else nullcontext(LoggedProgress())


@contextmanager
def live_progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal with rate and time to go."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("sequences"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("sequences", rate="", start=False)

        def on_progress(n_done: int, n_all: int) -> None:
            bar.start_task(task)
            speed = bar.tasks[task].speed
            bar.update(task, completed=n_done, total=n_all, rate=f"{speed:.2f}/s" if speed else "")

        yield on_progress
