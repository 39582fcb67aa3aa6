"""Reads that hang."""

from __future__ import annotations

import threading
import time

import pytest

from inference.process import read_timeout
from inference.process.read_timeout import ReadTimeout, ReadTimeoutError, StorageUnavailableError


@pytest.fixture
def hang() -> object:
    """An event that work can wait for; set at the end, so that no thread is left behind."""
    event = threading.Event()
    yield event
    event.set()


def test_work_in_time_gives_its_result_or_its_error() -> None:
    wait = ReadTimeout(5.0)
    assert wait(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        wait(lambda: 1 // 0)


def test_work_that_hangs_is_given_up_in_time(hang: threading.Event) -> None:
    wait = ReadTimeout(0.05)
    start = time.monotonic()
    with pytest.raises(ReadTimeoutError, match="no answer within 0.05 s"):
        wait(hang.wait)
    assert time.monotonic() - start < 10
    assert wait(lambda: 1) == 1


def test_when_nothing_comes_back_waiting_ends(hang: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_timeout, "MAX_HANGING", 3)
    wait = ReadTimeout(0.01)
    for _ in range(3):
        with pytest.raises(ReadTimeoutError, match="no answer"):
            wait(hang.wait)
    patient = ReadTimeout(60.0)
    patient._n_hanging = wait._n_hanging
    start = time.monotonic()
    with pytest.raises(StorageUnavailableError, match="3 reads hang for more than 60 s; progress is saved") as error:
        patient(lambda: 1)
    assert error.value.exit_code == 3
    assert time.monotonic() - start < 5
    hang.set()
    for _ in range(500):
        if not wait._n_hanging:
            break
        time.sleep(0.01)
    assert wait(lambda: 1) == 1  # the mount is back
