"""Signals end a run in order."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from inference.core.errors import SIGNAL_EXIT_BASE
from inference.process.progress import RunState

WAKE_UP = signal.SIGUSR2
"""Wakes the thread that waits for signals, when the run is over."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, WAKE_UP)
GRACE_SECONDS = 6.0
"""After a signal the run stops before the next call of a network; a call that takes longer than this is cut off. Records
are with the operating system already. Together less than the 8 s promised, and the 10 s that Docker waits."""


@contextmanager
def graceful_shutdown(state: RunState) -> Iterator[None]:
    """SIGTERM and SIGINT ask the run to stop: at the next call of a network, or for good after 6 s or a second signal.

    The signals are blocked, here and in all threads to come, and a thread waits for them: Python's own handlers only run
    between two steps of the main thread, which may sit in a network for seconds, and on the alternate stack that
    TensorFlow or DALI gives that thread they do not even fit (a signal then ends the process with SIGSEGV). So this must
    be entered in the main thread, before libraries make threads of their own.
    """
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    thread = threading.Thread(target=_wait_for_signals, args=(state,), name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        if thread.ident is not None and thread.is_alive():
            signal.pthread_kill(thread.ident, WAKE_UP)
        thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _wait_for_signals(state: RunState) -> None:
    """Until the run has ended by itself, or does not after a signal."""
    first = signal.sigwait(SIGNALS)
    if first == WAKE_UP:
        return
    state.stop_signal = int(first)
    second = signal.sigtimedwait(SIGNALS, GRACE_SECONDS)
    if second is None or second.si_signo != WAKE_UP:
        os._exit(SIGNAL_EXIT_BASE + (second.si_signo if second else int(first)))
