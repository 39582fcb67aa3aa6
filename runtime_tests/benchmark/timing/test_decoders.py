"""Decoders side by side on a few small photos."""

import math
import os
from pathlib import Path

import pytest

from benchmark.timing.decoders import DAMAGED_SHARES, compare_decoders


@pytest.mark.e2e
def test_every_decoder_is_timed_and_its_pixels_and_damage_are_told(season: Path) -> None:
    allowed = os.sched_getaffinity(0)
    figures = compare_decoders(season, "hakuna bench decoders", rounds=1)
    assert os.sched_getaffinity(0) == allowed
    assert figures["decoders"]["pillow"]["times_faster_than_pillow"] == 1
    assert figures["decoders"]["pillow"]["values_equal_to_pillow"] == 1
    assert figures["decoders"]["fast"]["milliseconds_per_photo"] > 0
    for share, cost in zip(DAMAGED_SHARES, figures["damage"].values(), strict=True):
        assert math.isclose(cost["damaged"], share * cost["photos"], abs_tol=1)
        assert cost["slow_down"].keys() == figures["decoders"].keys()
