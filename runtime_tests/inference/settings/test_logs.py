"""What a run tells while it runs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator

import pytest
import structlog

from inference.settings.logs import LoggedProgress, configure_logging, live_progress


@pytest.fixture(autouse=True)
def defaults_again() -> Iterator[None]:
    yield
    structlog.reset_defaults()


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_one_json_line_every_30_seconds_with_rate_and_eta(capsys: pytest.CaptureFixture[str]) -> None:
    assert configure_logging("json") is False
    clock = Clock()
    progress = LoggedProgress(clock)
    for seconds in range(0, 101, 10):
        clock.now = float(seconds)
        progress(seconds, 200)
    clock.now = 105.0
    progress(200, 200)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["done"] for line in lines] == [30, 60, 90, 200]
    assert lines[0]["sequences_per_second"] == 1.0
    assert [line["eta_seconds"] for line in lines] == [170, 140, 110, 0]


def test_console_progress_shows_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert configure_logging("console") is True
    with live_progress() as on_progress:
        on_progress(0, 10)
        on_progress(10, 10)
    assert "10/10" in capsys.readouterr().err


class Broken(io.StringIO):
    """A pipe whose reader went away."""

    def write(self, _: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("stderr", [None, Broken()])
def test_nobody_has_to_listen(stderr: io.StringIO | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    assert configure_logging("auto") is False
    structlog.get_logger().warning("said to nobody")
