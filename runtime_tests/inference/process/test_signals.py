"""SIGTERM and SIGINT end a program whatever it is doing, and reach the programs that it starts."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from inference.process.children import exit_with_parent, launched
from inference.process.progress import RunState
from inference.process.signals import exit_at_signals, graceful_shutdown, taking_signals

PROGRAM = """
import os, signal, sys, threading, time, weakref
from inference.process.progress import RunState
from inference.process.signals import exit_at_signals, graceful_shutdown, taking_signals

def work():  # Python's own steps: the main thread leaves by itself
    print("ready", flush=True)
    while True:
        pass

def wait():  # nothing wakes it
    lock = threading.Lock()
    lock.acquire()
    threading.Timer(0.3, print, ["ready"], {"flush": True}).start()
    lock.acquire()

def after_a_run():
    with graceful_shutdown(RunState()):
        pass
    work()

def after_a_rehearsal():
    with taking_signals():
        pass
    wait()

def between():  # pending when the program begins to wait for signals again
    with taking_signals():
        print("ready", flush=True)
        while not signal.sigpending():
            pass
    while True:
        pass

def in_a_library():  # pydantic turns whatever is raised while it builds a model into its own error
    try:
        work()
    except BaseException as error:
        raise ValueError("a model could not be built") from error

def in_a_callback():  # Python discards what a weak reference's callback raises
    class Something:
        pass

    def look(_):
        print("ready", flush=True)
        while True:
            pass

    something = Something()
    reference = weakref.ref(something, look)
    del something
    while True:
        pass

with exit_at_signals():
    try:
        globals()[sys.argv[1]]()
    finally:
        print("cleaned up", flush=True)
"""


def ending(what: str, number: signal.Signals) -> tuple[int, str, float]:
    """Exit code, what was printed and seconds after a signal that comes when the program is ready for it."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    start = time.monotonic()
    process.send_signal(number)
    printed, _ = process.communicate(timeout=20)
    return process.returncode, printed, time.monotonic() - start


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("what", ["work", "after_a_run", "between", "in_a_library"])
def test_a_signal_ends_a_program_and_it_cleans_up(what: str, number: signal.Signals, code: int) -> None:
    assert ending(what, number)[:2] == (code, "cleaned up\n")


@pytest.mark.parametrize("what", ["wait", "after_a_rehearsal", "in_a_callback"])
def test_a_program_that_nothing_wakes_is_ended(what: str) -> None:
    code, printed, seconds = ending(what, signal.SIGTERM)
    assert (code, printed) == (143, "")  # no time to clean up
    assert 0.9 < seconds < 5


def test_afterwards_signals_and_handlers_are_as_they_were() -> None:
    def state() -> tuple[object, ...]:
        return (
            signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            signal.getsignal(signal.SIGTERM),
            signal.getsignal(signal.SIGINT),
        )

    within: list[tuple[object, ...]] = []

    def fail() -> None:
        with exit_at_signals(), taking_signals():
            within.append(state())
            raise ZeroDivisionError

    before = state()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert state() == before != within[0]


def blocked_signals(status: str) -> int:
    """The mask of a process from its /proc/PID/status."""
    return int(status.split("SigBlk:")[1].split(maxsplit=1)[0], 16)


def test_processes_that_are_started_inherit_no_blocked_signal() -> None:
    look = ["cat", "/proc/self/status"]
    with graceful_shutdown(RunState()):
        assert blocked_signals(subprocess.run(look, capture_output=True, text=True, check=True).stdout)
        assert not blocked_signals(subprocess.run(launched(look), capture_output=True, text=True, check=True).stdout)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn, initializer=exit_with_parent) as pool:
            assert pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result() == set()
            assert pool.submit(signal.getsignal, signal.SIGINT).result() is signal.SIG_IGN
