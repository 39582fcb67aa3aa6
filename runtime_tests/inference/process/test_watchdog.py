"""Actions that hang do not hold a program."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from inference.core.errors import InterruptedRunError
from inference.process.watchdog import ends_within
from runtime_tests.running import HAKUNA, environment

HANGS = """
import sys, threading, time
from inference.process.watchdog import ends_within, exit_process
stuck = threading.Event()
seconds = float(sys.argv[1])
assert ends_within(lambda: time.sleep(seconds), 0.5) is (seconds < 0.5)
sys.stdout.write("flushed")
class Late:
    def __del__(self):
        sys.stdout.write(", orderly")
late = Late()
exit_process(7)
"""
"""A program whose action takes some seconds, and that ends with 7."""


def test_an_action_that_hangs_is_left_alone() -> None:
    hang = threading.Event()
    assert not ends_within(hang.wait, 0.05)
    hang.set()
    assert ends_within(hang.wait, 10.0)


def test_a_wait_is_interrupted_by_its_check() -> None:
    hang, asked = threading.Event(), []

    def check() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise InterruptedRunError("stopped", 15)

    with pytest.raises(InterruptedRunError):
        ends_within(hang.wait, 60.0, check)
    hang.set()


@pytest.mark.parametrize(("seconds", "printed"), [(0.0, "flushed, orderly"), (60.0, "flushed")])
def test_a_program_ends_at_once_if_an_action_hangs(seconds: float, printed: str) -> None:
    command = [sys.executable, "-c", HANGS, str(seconds)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=30, env=environment(), cwd=HAKUNA.parent
    )
    assert (done.returncode, done.stdout) == (7, printed), done.stderr
