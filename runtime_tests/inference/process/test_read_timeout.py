"""Reads that hang."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from inference.core.choices import DecoderName, Preset
from inference.core.sequences import FailureReason, FrameFailure, Image, Sequence
from inference.images import decoder
from inference.images.decoder import decode_sequences, find_decoder
from inference.images.reading import read_image_file
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
    assert time.monotonic() - start < 2
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


def test_a_photo_whose_reading_hangs_is_a_failure_of_its_own_sequence(
    season: Path, hang: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [path.relative_to(season).as_posix() for path in sorted(season.glob("S1/*/*/*.JPG"))[1:3]]

    def slow(folder: Path, name: str) -> bytes | FrameFailure:
        if name == names[0]:
            hang.wait()
        return read_image_file(folder, name)

    monkeypatch.setattr(decoder, "read_image_file", slow)
    sequences = [Sequence("a", (Image(names[0], ""), Image(names[1], ""))), Sequence("b", (Image(names[1], ""),))]
    hung, good = decode_sequences(
        sequences, season, Preset.QUARTER, 3, find_decoder(DecoderName.FAST), ReadTimeout(0.2)
    )
    assert [failure.reason for failure in hung.failures] == [FailureReason.TIMED_OUT]
    assert (hung.frames[0] == good.frames[0]).all()
    assert not good.failures
