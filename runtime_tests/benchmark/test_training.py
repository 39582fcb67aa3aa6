"""Training throughput: a short measurement has all its figures, and they hang together."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.training import measure_training
from inference.domain import ImageSize


def test_input_steps_and_both_together_are_measured(tmp_path: Path) -> None:
    figures = measure_training(
        tmp_path, n_workers=2, application="tiny", n_sequences=8, repeats=2, photo_size=ImageSize(96, 128)
    )
    rates, spread = figures["images_per_second"], figures["spread"]
    assert list(rates) == ["input", "steps", "training"]
    for name, rate in rates.items():
        assert 0 < spread[name][0] <= rate <= spread[name][1]
    assert figures["sequences"] == 8
    assert figures["input_over_step"] == pytest.approx(rates["input"] / rates["steps"], rel=0.5)
    assert figures["share_of_steps_alone"] > 0
    assert 10_000 < figures["cache_bytes_per_frame"] < 384 * 512 * 3
