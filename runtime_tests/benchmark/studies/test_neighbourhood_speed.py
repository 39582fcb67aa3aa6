"""The speed figure of the neighbours, in miniature."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.studies import neighbourhood_speed


def test_the_figures_tell_seconds_memory_and_coverage_of_each_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = neighbourhood_speed.measure_neighbours
    monkeypatch.setattr(neighbourhood_speed, "measure_neighbours", lambda command: measure(command, 20_000))
    path = tmp_path / "neighbours.json"
    done = CliRunner().invoke(app, ["study", "neighbourhood", "--json", str(path)])
    assert done.exit_code == 0, done.output
    figures = json.loads(path.read_text())
    assert figures["sequences"] == 20_000
    assert [one["windows_seconds"] for one in figures["windows"]] == [[10], [60], [300], [60, 300]]
    for one in figures["windows"]:
        for window, coverage in zip(one["windows_seconds"], one["coverage"], strict=True):
            # Uniform moments of 20,000 sequences: the chance that another camera fires within the window.
            rate = 20_000 * (224 / 225) * (2 * window + 1) / (11 * 365 * 24 * 3600)
            expected = 1 - math.exp(-rate)
            # They come in pairs: four standard deviations.
            assert coverage == pytest.approx(expected, abs=4 * math.sqrt(2 * expected / 20_000))
        assert one["seconds"] > 0
        assert 20 < one["peak_mb"] < 2000
