"""Training throughput: what is made of the seconds of rounds, and that a short measurement has all its figures."""

from __future__ import annotations

from pathlib import Path

from benchmark.studies.training_throughput import measure_training, summary
from inference.core.sequences import ImageSize


def test_rates_are_medians_of_rounds_and_ratios_are_taken_within_a_round() -> None:
    rounds = [
        {"input": 1.0, "steps": 10.0, "training": 10.0},
        {"input": 4.0, "steps": 20.0, "training": 25.0},
        {"input": 2.0, "steps": 40.0, "training": 80.0},
    ]
    assert summary(rounds, 80) == {
        "images_per_second": {"input": 40.0, "steps": 4.0, "training": 3.2},
        "spread": {"input": [20.0, 80.0], "steps": [2.0, 8.0], "training": [1.0, 8.0]},
        "input_over_step": 10.0,
        "share_of_steps_alone": 0.8,
    }


def test_input_steps_and_both_together_are_measured(tmp_path: Path) -> None:
    figures = measure_training(
        tmp_path,
        n_workers=2,
        command="hakuna study training",
        application="tiny",
        n_sequences=8,
        repeats=2,
        photo_size=ImageSize(96, 128),
    )
    rates, spread = figures["images_per_second"], figures["spread"]
    assert figures["command"] == "hakuna study training"
    assert list(rates) == ["input", "steps", "training"]
    for name, rate in rates.items():
        assert 0 < spread[name][0] <= rate <= spread[name][1]
    assert figures["sequences"] == 8
    assert figures["input_over_step"] > 0
    assert figures["share_of_steps_alone"] > 0
    assert 10_000 < figures["cache_bytes_per_frame"] < 384 * 512 * 3
