"""Orderly end of a program at SIGTERM and SIGINT.

The signals are blocked in the main thread and in all later threads, and a separate thread waits for them. Python's own
handlers have two problems. They only run between two steps of the main thread, which may be in a network for seconds.
They do not fit on the alternate stack that TensorFlow or DALI gives that thread: a signal then ends the process with
SIGSEGV. So the contexts here must be entered in the main thread, before libraries start threads.
"""

import os
import signal
import sys
import threading
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from inference.core.errors import SIGNAL_EXIT_BASE
from inference.process.progress import RunState

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
WAKE_UP = signal.SIGUSR2
"""Wakes the thread that waits for signals, when it must stop waiting."""
SIGNALS = (*STOP_SIGNALS, WAKE_UP)
GRACE_SECONDS = 6.0
"""After a signal the run stops before the next network call; a call that takes longer than this is cut off. Records
have already been passed to the operating system. The total is below the promised 8 s, and below the 10 s of Docker."""
CLEAN_UP_SECONDS = 1.0
"""The same for commands without progress to save: long enough to remove temporary files."""


@contextmanager
def exit_at_signals() -> Iterator[None]:
    """SIGTERM and SIGINT end the program with 143 and 130, whatever it is doing, also as process 1 of a container.

    For the first lines of main programs: a signal during the import of libraries is not lost. The main thread leaves
    the block by SystemExit; if it cannot within a second, the process ends. Python discards a SystemExit in a callback
    of its own, such as that of a weak reference, and would print its traceback; libraries turn it into their errors.
    """
    print_discarded, first = sys.unraisablehook, 0

    def leave(number: int, _: FrameType | None) -> None:
        nonlocal first
        first = number
        sys.unraisablehook = lambda what: None if what.exc_type is SystemExit else print_discarded(what)
        raise SystemExit(SIGNAL_EXIT_BASE + number)

    earlier = {number: signal.signal(number, leave) for number in STOP_SIGNALS}
    try:
        with taking_signals(lambda number: interrupt_main(signal.Signals(number)), CLEAN_UP_SECONDS):
            yield
    except BaseException:
        if first:
            raise SystemExit(SIGNAL_EXIT_BASE + first) from None
        raise
    finally:
        sys.unraisablehook = print_discarded
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextmanager
def graceful_shutdown(state: RunState) -> Iterator[None]:
    """SIGTERM and SIGINT stop the run at the next network call; after 6 s or a second signal the process ends."""

    def ask(number: int) -> None:
        state.stop_signal = number

    with taking_signals(ask, GRACE_SECONDS):
        yield


@contextmanager
def taking_signals(on_first: Callable[[int], object] | None = None, grace: float = GRACE_SECONDS) -> Iterator[None]:
    """Block SIGTERM and SIGINT; an outer context receives none until the block ends.

    Parameters
    ----------
    on_first : called in another thread with the first signal; None: the block waits for signals itself
    grace : seconds until the process ends if the block has not ended; a second signal ends it at once
    """
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    if _waiting:
        _waiting[-1].stop()
    _waiting.append(_Waiter(on_first, grace))
    try:
        _waiting[-1].start()
        yield
    finally:
        _waiting.pop().stop()
        if _waiting:
            _waiting[-1].start()
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


@contextmanager
def signals_reach_children() -> Iterator[None]:
    """Processes that are started in the block receive SIGTERM and SIGINT. The outer context still takes the first one."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    is_main = threading.current_thread() is threading.main_thread()

    def set_handlers(chosen: dict[signal.Signals, Any]) -> None:
        for number, handler in chosen.items() if is_main else ():
            signal.signal(number, handler)

    def pass_on(number: int, _: FrameType | None) -> None:
        set_handlers(handlers)
        if waiter and waiter.ident:
            signal.pthread_kill(waiter.ident, number)

    if waiter := _waiting[-1].thread if _waiting else None:
        set_handlers(dict.fromkeys(STOP_SIGNALS, pass_on))
    earlier = signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
        set_handlers(handlers)  # libraries may have set their own


class _Waiter:
    """A thread that waits for signals, if it has a function to call."""

    def __init__(self, on_first: Callable[[int], object] | None, grace: float) -> None:
        self._on_first, self._grace = on_first, grace
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        if self._on_first:
            self.thread = threading.Thread(target=self._wait, args=(self._on_first,), name="signals", daemon=True)
            self.thread.start()

    def stop(self) -> None:
        if self.thread and self.thread.ident is not None and self.thread.is_alive():
            signal.pthread_kill(self.thread.ident, WAKE_UP)
            self.thread.join()

    def _wait(self, on_first: Callable[[int], object]) -> None:
        first = signal.sigwait(SIGNALS)
        if first == WAKE_UP:
            return
        on_first(int(first))
        second = signal.sigtimedwait(SIGNALS, self._grace)
        if second is None or second.si_signo != WAKE_UP:
            os._exit(SIGNAL_EXIT_BASE + (second.si_signo if second else int(first)))


_waiting: list[_Waiter] = []
"""The last one receives the signals; only the main thread changes the list."""
