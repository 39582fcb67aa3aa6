"""Confidence bounds of a mean by betting, and the verdict of a sample on the cost of a lower precision.

Source: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024),
arXiv 2010.09686, section 5: sampling without replacement.

Bets are made against the hypothesis that the population has a certain mean. If it has, the next value is expected to
be the mean of those not yet drawn, and the bets are fair. The wealth starts at one and then reaches 1 / alpha with
probability alpha at most. The lower bound is the smallest mean that the wealth does not refute.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating[Any]]

CONFIDENCE = 0.95
"""Of each bound alone."""
CLIP = 0.35
"""An increase counts as this at most. One confident class lost of 54 costs 0.30, which is ln(1e7) / 54 at the smallest
probability, 1e-7. HELD needs a sample in proportion to the clip."""
MOST_ENTROPY = math.log(2)
"""Of a class: its probability is 1/2."""
ROUNDING = 1e-12
"""Increases and entropies may be out of range by this, as sums in float64 can be."""
UPPER_BETS = ((0.2, 0.1), (0.5, 0.2), (0.75, 0.3), (0.95, 0.4))
"""Pairs for the upper bound: share of the wealth that is bet, and first wealth. Large bets suit small means."""
LOWER_BETS = ((0.001, 0.2), (0.01, 0.2), (0.1, 0.2), (0.5, 0.2), (0.95, 0.2))
"""The same for the lower bound. Small bets keep their wealth until a rare large value is drawn."""
N_BISECTIONS = 45
"""A bound is then too wide by 3e-14 of the largest value at most."""


class Verdict(StrEnum):
    """On the claim that the mean increase over a run is at most `bound` times its mean entropy."""

    HELD = "held"
    BROKEN = "broken"
    NOT_SHOWN = "not shown"
    """The sample is too small for either."""


@dataclass(frozen=True)
class Judgement:
    """A verdict and its figures.

    Attributes
    ----------
    mean_kl, mean_entropy : of the sample; None without one
    kl_lower, kl_upper : bounds of the run's mean increase; the upper one takes CLIP as the largest outside the sample
    n_clipped : increases in the sample that are above CLIP
    """

    n_sampled: int
    n_population: int
    mean_kl: float | None
    mean_entropy: float | None
    kl_lower: float
    kl_upper: float
    bound: float
    n_clipped: int
    verdict: Verdict


def mean_bounds(
    values: Values, n_population: int, largest: float, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Lower and upper confidence bound of the mean of a population of `n_population` values in [0, largest].

    Each bound alone holds with at least `confidence`, so both together with at least 2 * confidence - 1. This is true of
    any population and sample size, if neither size nor order of the sample depends on the values.

    values : floating (N,) in [0, largest], drawn without replacement, in the random order of the draw
    Returns 0 and `largest` if nothing was drawn; both are the mean, up to rounding, if everything was.
    Raises ValueError if a value or an argument is out of range.

    >>> lower, upper = mean_bounds(np.zeros(1000), n_population=20_000, largest=1.0)
    >>> lower, round(upper, 5)
    (0.0, 0.00361)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    if not 0 < largest < math.inf:
        raise ValueError(f"largest must be positive and finite, got {largest}")
    if len(values) > n_population:
        raise ValueError(f"a sample must be at most its population of {n_population}, got {len(values)} values")
    shares = _in_range("values", values, largest) / largest
    lower = _lower_bound(shares, n_population, 1 - confidence, LOWER_BETS)
    upper = 1 - _lower_bound(1 - shares, n_population, 1 - confidence, UPPER_BETS)
    return largest * lower, largest * upper


def judge(
    increases: Values, entropies: Values, bound: float, n_population: int, confidence: float = CONFIDENCE
) -> Judgement:
    """Judge the claim "mean increase <= bound * mean entropy" over a run, from a random sample of its sequences.

    increases : floating (N,), at least 0: expected increase of the log loss, KL(p || q), mean over classes
    entropies : floating (N,) in [0, ln 2]: entropy of p, mean over classes
    Both are in the random order of the draw, without replacement. Raises ValueError if an argument is out of range.

    The mean of increase - bound * entropy has confidence bounds, which are compared with zero. BROKEN is wrong with
    probability 1 - confidence at most. So is HELD, if no increase outside the sample is above CLIP; those inside count
    in full. HELD is not given if the means of the sample break the bound. At 95 % and without any increase, HELD needs
    about 1.3 / (bound * mean entropy) sequences of a large run, and fewer of a small one.
    """
    if increases.shape != entropies.shape:
        raise ValueError(f"each increase must have an entropy, got shapes {increases.shape} and {entropies.shape}")
    if not 0 <= bound < math.inf:
        raise ValueError(f"bound must be finite and not negative, got {bound}")
    kl = _in_range("increases", increases, math.inf, ROUNDING)
    entropy = _in_range("entropies", entropies, MOST_ENTROPY, ROUNDING)
    clipped = np.minimum(kl, CLIP)
    zero = bound * MOST_ENTROPY  # is added to each difference, which is then in [0, CLIP + zero]
    lower, upper = mean_bounds(clipped + (zero - bound * entropy), n_population, CLIP + zero, confidence)
    kl_lower, kl_upper = mean_bounds(clipped, n_population, CLIP, confidence)
    excess = float((kl - clipped).sum()) / max(n_population, 1)
    verdict = Verdict.NOT_SHOWN
    if lower + excess > zero:
        verdict = Verdict.BROKEN
    elif upper + excess <= zero and kl.sum() <= bound * entropy.sum():
        verdict = Verdict.HELD
    return Judgement(
        n_sampled=len(kl),
        n_population=n_population,
        mean_kl=float(kl.mean()) if len(kl) else None,
        mean_entropy=float(entropy.mean()) if len(kl) else None,
        kl_lower=kl_lower + excess,
        kl_upper=kl_upper + excess,
        bound=bound,
        n_clipped=int((kl > CLIP).sum()),
        verdict=verdict,
    )


def is_broken(judgement: dict[str, Any] | None) -> bool:
    """Whether the figures of a judgement, if any, show that the lower precision costs more than its bound."""
    return judgement is not None and judgement["verdict"] == Verdict.BROKEN


def _in_range(name: str, values: Values, largest: float, rounding: float = 0.0) -> npt.NDArray[np.float64]:
    """The same numbers without the rounding below 0 or above the largest. Raises ValueError if there are others."""
    exact = values.astype(np.float64)
    inside = np.isfinite(exact) & (exact >= -rounding) & (exact <= largest + rounding)
    if exact.ndim != 1 or not inside.all():
        wrong = exact[~inside][:1]
        raise ValueError(f"{name} must be one row in [0, {largest:.6g}], got {wrong} in shape {values.shape}")
    return np.clip(exact, 0, largest)


def _lower_bound(shares: Values, n_population: int, alpha: float, bets: tuple[tuple[float, float], ...]) -> float:
    """Lower bound of the mean of values in [0, 1], by bisection.

    A hypothesis is the sum of the values that were not drawn, from 0 to their number; no other mean is possible. A bet
    multiplies its wealth by 1 - bet + bet * value / expected value, which is not negative. A larger sum raises each
    expected value and thus lowers the wealth, so all hypotheses up to some sum are refuted.
    """
    n = len(shares)
    if n_population == 0:
        return 0.0
    bet, first_wealth = np.array(bets).T
    n_left = n_population - np.arange(n)  # before each draw
    drawn_later = shares[::-1].cumsum()[::-1]  # with its own value
    refuted, possible = 0.0, float(n_population - n)
    for _ in range(N_BISECTIONS if possible else 0):
        undrawn = (refuted + possible) / 2
        gain = shares * n_left / (drawn_later + undrawn) - 1
        log_wealth = np.log(first_wealth) + np.log1p(np.outer(bet, gain)).sum(axis=1)
        if np.logaddexp.reduce(log_wealth) >= -math.log(alpha):
            refuted = undrawn
        else:
            possible = undrawn
    return (float(shares.sum()) + refuted) / n_population
