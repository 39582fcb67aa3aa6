"""The context of a command: log, orderly end at signals, progress."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from inference.core.choices import LogFormat
from inference.process.progress import Progress, RunState, process_start
from inference.process.signals import graceful_shutdown
from inference.settings.verbosity import Verbosity, verbosity


@dataclass(frozen=True)
class Session:
    """`is_human`: the log is for a person rather than for a program."""

    state: RunState
    is_human: bool

    def progress(self) -> AbstractContextManager[Progress]:
        """The phase and a bar for people, log lines for programs."""
        return progress_for(self.is_human, lambda: self.state.phase)


@contextmanager
def session(log_format: LogFormat | None = None, *, shows_log: bool = False) -> Iterator[Session]:
    """Start the log; SIGTERM and SIGINT stop the work and save progress. A budget counts from the process's start.

    `shows_log`: the log is the output of the command, on a terminal too.
    """
    from inference.settings.logs import configure_logging
    from inference.settings.settings import load_settings

    configure_logging(log_format or LogFormat.AUTO)  # for wrong settings
    is_human = configure_logging(load_settings(log_format=log_format).log_format, shows_log=shows_log)
    state = RunState(started=process_start())
    with graceful_shutdown(state):
        yield Session(state, is_human)


def progress_for(is_human: bool, phase: Callable[[], str]) -> AbstractContextManager[Progress]:
    """The phase and a bar for people, log lines for programs, nothing with `-q`."""
    if verbosity() is Verbosity.QUIET:
        return nullcontext(_unseen)
    if is_human:
        from inference.cli.progress import live_progress

        return live_progress(phase)
    from inference.settings.logs import LoggedProgress

    return nullcontext(LoggedProgress())


def working(phase: str) -> AbstractContextManager[Progress]:
    """The same for a command without a log: only on a terminal."""
    is_watched = sys.stderr is not None and sys.stderr.isatty()
    return progress_for(is_human=True, phase=lambda: phase) if is_watched else nullcontext(_unseen)


def _unseen(_n_done: int, _n_all: int) -> None:
    """Ignore progress."""
