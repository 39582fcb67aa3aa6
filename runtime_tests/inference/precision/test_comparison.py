"""The proof that a lower precision does no harm."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inference.precision.comparison import compare_precisions


def test_increase_is_the_expected_log_loss_of_the_other_minus_its_own(random: np.random.Generator) -> None:
    p = random.uniform(0.001, 0.999, (5, 54)).astype(np.float32)
    q = np.clip(p + random.normal(0, 0.01, p.shape), 0.001, 0.999).astype(np.float32)

    def loss(truth: float, said: float) -> float:
        return -(truth * math.log(said) + (1 - truth) * math.log(1 - said))

    pairs = [(float(a), float(b)) for a, b in zip(p.ravel(), q.ravel(), strict=True)]
    entropy = sum(loss(a, a) for a, _ in pairs) / len(pairs)
    increase = sum(loss(a, b) - loss(a, a) for a, b in pairs) / len(pairs)
    proof = compare_precisions(p, q, bound=1e-3)
    assert proof.mean_entropy == pytest.approx(entropy, rel=1e-9)
    assert proof.mean_kl == pytest.approx(increase, rel=1e-6)
    assert proof.relative_increase == pytest.approx(increase / entropy, rel=1e-6)
    assert proof.n_sequences == 5


def test_the_same_answer_holds_and_another_one_does_not(random: np.random.Generator) -> None:
    p = random.uniform(0, 1, (4, 54)).astype(np.float32)
    assert compare_precisions(p, p, bound=0.0).holds
    assert not compare_precisions(p, 1 - p, bound=1e-3).holds


def test_certain_probabilities_are_finite_and_nan_never_holds() -> None:
    certain = np.array([[0, 1]], np.float32)
    assert compare_precisions(certain, certain, bound=1e-3).holds
    assert math.isfinite(compare_precisions(certain, 1 - certain, bound=1e-3).mean_kl)
    assert not compare_precisions(certain, np.full((1, 2), np.nan, np.float32), bound=1e-3).holds


def test_a_proof_without_sequences_is_refused() -> None:
    nothing = np.empty((0, 54), np.float32)
    with pytest.raises(ValueError, match="at least one sequence, got none"):
        compare_precisions(nothing, nothing, bound=1e-3)
