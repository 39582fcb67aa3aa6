"""The speed figure of the neighbours, in miniature."""

from __future__ import annotations

import json
import math

import pytest

from benchmark.studies.neighbourhood_speed import measure_neighbours


def test_the_figures_tell_seconds_memory_and_coverage_of_each_window() -> None:
    figures = json.loads(json.dumps(measure_neighbours("hakuna study neighbourhood", 20_000)))
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
