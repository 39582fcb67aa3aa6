"""The cost of a lower precision: probabilities of the same sequences compared with those in float32."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.core.sequences import Probabilities

SMALLEST_PROBABILITY = 1e-7
"""Probabilities are clipped to [this, 1 - this] in logarithms: half the spacing of float32 just below one."""


@dataclass(frozen=True)
class PrecisionComparison:
    """The cost of a lower precision, in the competition's metric.

    If the float32 probabilities p are right, predicting q instead adds KL(p || q) to the expected log loss, which
    itself is the entropy of p.
    """

    n_sequences: int
    mean_kl: float
    """Expected increase of the log loss, mean over sequences and classes."""
    mean_entropy: float
    """Expected log loss in float32, averaged in the same way."""
    bound: float
    """Largest accepted ratio mean_kl / mean_entropy."""
    n_repeated: int = 0
    """Calls repeated in float32 because their answers overflowed the lower precision."""

    @property
    def relative_increase(self) -> float:
        """The ratio compared with the bound."""
        return self.mean_kl / self.mean_entropy

    @property
    def holds(self) -> bool:
        """Whether the lower precision may be used. It may not if any call overflowed."""
        return not self.n_repeated and self.relative_increase <= self.bound


def compare_precisions(
    float32: Probabilities, lower: Probabilities, bound: float, n_repeated: int = 0
) -> PrecisionComparison:
    """Compare the final probabilities of the same sequences in both precisions, float32 (N, C)."""
    if not len(float32):
        raise ValueError("a comparison must have at least one sequence, got none")
    increases, entropies = increases_and_entropies(float32, lower)
    return PrecisionComparison(len(increases), float(increases.mean()), float(entropies.mean()), bound, n_repeated)


def increases_and_entropies(
    float32: Probabilities, lower: Probabilities
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """KL(p || q) and the entropy of p, means over the classes: float32 (N, C) each -> float64 (N,) each."""
    low, high = SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY
    p, q = (np.clip(one.astype(np.float64), low, high) for one in (float32, lower))
    entropy = -(p * np.log(p) + (1 - p) * np.log1p(-p))
    cross_entropy = -(p * np.log(q) + (1 - p) * np.log1p(-q))
    return (cross_entropy - entropy).mean(axis=1), entropy.mean(axis=1)
