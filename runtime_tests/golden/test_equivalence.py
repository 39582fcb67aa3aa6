"""The published program's submission of the `smooth` case from every decoder, engine and precision."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from inference.bundle.reader import Bundle
from inference.core.choices import DecoderName, EngineName, Precision
from inference.networks.engine import find_engine
from runtime_tests.processors import with_fast_bfloat16
from runtime_tests.running import run
from runtime_tests.tables import probabilities

pytestmark = pytest.mark.e2e
LARGEST, MEAN, KL = 1e-5, {"dali": 1e-3, "mixed": 5e-3}, 2e-4
"""Bounds of the issue "Speed"."""

DECODERS = [DecoderName.PILLOW, DecoderName.FAST, DecoderName.DALI]
ENGINES = [EngineName.TENSORFLOW, EngineName.OPENVINO]
EVERY_PAIR = {
    (EngineName.TENSORFLOW, DecoderName.PILLOW, Precision.FLOAT32),
    (EngineName.OPENVINO, DecoderName.PILLOW, Precision.MIXED),
    (EngineName.TENSORFLOW, DecoderName.FAST, Precision.MIXED),
    (EngineName.OPENVINO, DecoderName.FAST, Precision.FLOAT32),
    (EngineName.TENSORFLOW, DecoderName.DALI, Precision.FLOAT32),
    (EngineName.OPENVINO, DecoderName.DALI, Precision.MIXED),
}
"""Every engine with every decoder and precision, every decoder with every precision; the other six are run by `make test-slow`."""
COMBINATIONS = [
    pytest.param(*one, marks=[] if one in EVERY_PAIR else pytest.mark.slow)
    for one in product(ENGINES, DECODERS, Precision)
]


def mean_kl(expected: npt.NDArray[np.float64], got: npt.NDArray[np.float64]) -> float:
    """Expected increase of the log loss per sequence and class, both outcomes of each class counted."""
    p, q = (np.clip(one, 1e-15, 1 - 1e-15) for one in (expected, got))
    return float(np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))))


@pytest.mark.parametrize(("engine", "decoder", "precision"), COMBINATIONS)
def test_submission_is_the_published_one(
    engine: EngineName,
    decoder: DecoderName,
    precision: Precision,
    smooth_bundle: Bundle,
    reference_case: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with_fast_bfloat16(monkeypatch)
    if precision is Precision.MIXED and precision not in find_engine(engine).lower_precisions:
        pytest.skip(f"{engine} has no mixed precision on this device")
    report: dict[str, Any] = run(
        reference_case / "data", smooth_bundle, tmp_path, engine=engine, decoder=decoder, precision=precision
    )
    assert report["precision"]["used"] == precision.value
    _, expected = probabilities(reference_case / "smooth" / "expected_submission.csv", first="")
    _, got = probabilities(tmp_path / "submission.csv")
    difference = np.abs(got - expected)
    if precision is Precision.MIXED:
        assert difference.mean() <= MEAN["mixed"]
        assert mean_kl(expected, got) <= KL
    elif decoder is DecoderName.DALI:
        assert 0 < difference.mean() <= MEAN["dali"]
    else:
        assert difference.max() <= LARGEST


def test_kl_divergence_is_seen() -> None:
    # By hand: 0.5 ln(0.5/0.6) + 0.5 ln(0.5/0.4) = 0.0204110
    assert mean_kl(np.array([[0.5]]), np.array([[0.6]])) == pytest.approx(0.0204110, abs=1e-7)
