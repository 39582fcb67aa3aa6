"""Bounds of a mean by betting, and the verdict on a lower precision.

Expected values come from the formulas of the paper in loops, from all orders of small populations, and from counting.
"""

from __future__ import annotations

import doctest
import math
import time
from itertools import permutations, product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.precision import betting
from inference.precision.betting import CLIP, Verdict, judge, mean_bounds

ALPHA = 0.05
REPETITIONS = 2000
Floats = npt.NDArray[np.float64]


def standard_deviations(n: int) -> float:
    """Three, of the share of misses among n."""
    return 3 * math.sqrt(ALPHA * (1 - ALPHA) / n)


def upper_wealth(values: list[float], n_population: int, largest: float, mean: float) -> float:
    """The wealth against a mean that is too large, step by step, in the notation of the paper."""
    total = 0.0
    for bet, first in ((0.2, 0.1), (0.5, 0.2), (0.75, 0.3), (0.95, 0.4)):
        wealth = first
        for k, value in enumerate(values):
            m = (n_population * mean - sum(values[:k])) / largest / (n_population - k)
            wealth *= 1 + bet / (1 - m) * (m - value / largest)
        total += wealth
    return total


def lower_wealth(values: list[float], n_population: int, largest: float, mean: float) -> float:
    """The same against a mean that is too small."""
    total = 0.0
    for bet in (0.001, 0.01, 0.1, 0.5, 0.95):
        wealth = 1 / 5
        for k, value in enumerate(values):
            m = (n_population * mean - sum(values[:k])) / largest / (n_population - k)
            wealth *= 1 + bet / m * (value / largest - m)
        total += wealth
    return total


@pytest.mark.parametrize(("n", "n_population"), [(1, 2), (12, 13), (30, 50), (60, 100_000)])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_wealth_reaches_its_limit_at_the_bounds(
    n: int, n_population: int, confidence: float, random: np.random.Generator
) -> None:
    for _ in range(5):
        values = random.beta(0.5, 1.5, n) * 7.0
        least, most = values.sum() / n_population, (values.sum() + 7.0 * (n_population - n)) / n_population
        lower, upper = mean_bounds(values, n_population, 7.0, confidence)
        limit, small = 1 / (1 - confidence), 1e-9 * 7.0
        assert upper_wealth(values.tolist(), n_population, 7.0, upper - small) < limit
        assert lower_wealth(values.tolist(), n_population, 7.0, lower + small) < limit
        if upper < most - 2 * small:
            assert upper_wealth(values.tolist(), n_population, 7.0, upper + small) >= limit
        if lower > least + 2 * small:
            assert lower_wealth(values.tolist(), n_population, 7.0, lower - small) >= limit


def population(law: str, random: np.random.Generator) -> Floats:
    """500 values in [0, 1]."""
    if law == "rare harm":
        return np.append(np.ones(5), random.exponential(1e-4, 495))
    if law == "rare benefit":
        return np.append(np.zeros(5), 1 - random.exponential(1e-4, 495))
    if law == "zero or one":
        return np.repeat([0.0, 1.0], 250)
    return np.minimum(random.lognormal(-6, 2, 500), 1)


@pytest.mark.parametrize("law", ["rare harm", "rare benefit", "zero or one", "lognormal"])
def test_bounds_are_missed_as_rarely_as_promised(law: str, random: np.random.Generator) -> None:
    values = population(law, random)
    mean = values.mean()
    bounds = np.array([mean_bounds(random.permutation(values)[:60], 500, 1.0) for _ in range(REPETITIONS)])
    assert np.mean(bounds[:, 0] > mean) <= ALPHA + standard_deviations(REPETITIONS)
    assert np.mean(bounds[:, 1] < mean) <= ALPHA + standard_deviations(REPETITIONS)


@pytest.mark.parametrize("confidence", [0.75, 0.95])
def test_misses_of_every_population_of_zeros_and_ones_are_rare_exactly(confidence: float) -> None:
    """All orders of 9 drawn of 50, each with its probability, for each number of ones in the population."""
    n, n_population, largest = 9, 50, 0.35
    orders = [np.array(order) * largest for order in product((0.0, 1.0), repeat=n)]
    bounds = np.array([mean_bounds(order, n_population, largest, confidence) for order in orders])
    n_ones = np.array([round(order.sum() / largest) for order in orders])
    misses = []
    for n_harmed in range(n_population + 1):
        probability = np.array(
            [
                math.perm(n_harmed, ones) * math.perm(n_population - n_harmed, n - ones) / math.perm(n_population, n)
                for ones in range(n + 1)
            ]
        )[n_ones]
        assert probability.sum() == pytest.approx(1)
        mean, rounding = largest * n_harmed / n_population, 1e-12
        misses.append(
            (probability[bounds[:, 0] > mean + rounding].sum(), probability[bounds[:, 1] < mean - rounding].sum())
        )
    assert np.max(misses) <= 1 - confidence
    assert (np.max(misses, axis=0) > (1 - confidence) / 8).all(), "the bounds are not needlessly wide"


@pytest.mark.parametrize("values", [(0, 0, 0, 1, 2, 9), (0, 8, 9, 9, 9, 9), (0, 1, 3, 5, 7, 9), (4, 4, 4, 5, 5, 5)])
def test_misses_over_all_orders_of_six_values_are_rare_exactly(values: tuple[int, ...]) -> None:
    """Drawing 5 of 6 makes the denominator matter: the last values are known from the others."""
    bounds = np.array([mean_bounds(np.array(order[:5], float), 6, 9.0, 0.75) for order in permutations(values)])
    mean = sum(values) / 6
    assert np.mean(bounds[:, 0] > mean + 1e-9) <= 0.25
    assert np.mean(bounds[:, 1] < mean - 1e-9) <= 0.25


samples = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 1e-300])), max_size=40)


@given(sample=samples, n_more=st.integers(0, 60), largest=st.floats(1e-3, 1e3), confidence=st.floats(0.01, 0.999))
@settings(max_examples=60, deadline=None)
def test_bounds_are_possible_means(sample: list[float], n_more: int, largest: float, confidence: float) -> None:
    values = np.array(sample, float) * largest
    n_population = len(sample) + n_more
    lower, upper = mean_bounds(values, n_population, largest, confidence)
    rounding = 1e-12 * largest
    assert 0 <= lower <= upper + rounding
    assert upper <= largest
    assert lower * n_population >= values.sum() - rounding * n_population
    assert upper * n_population <= values.sum() + n_more * largest + rounding * n_population


@given(sample=samples.filter(bool), largest=st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_bounds_of_a_large_population_contain_the_mean_of_the_sample(sample: list[float], largest: float) -> None:
    values = np.array(sample, float) * largest
    lower, upper = mean_bounds(values, 10**9, largest)
    assert lower <= values.mean() + 1e-6 * largest
    assert upper >= values.mean() - 1e-6 * largest


@given(sample=samples.filter(bool), largest=st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_bounds_of_a_whole_population_are_its_mean(sample: list[float], largest: float) -> None:
    values = np.array(sample, float) * largest
    assert mean_bounds(values, len(sample), largest) == pytest.approx((values.mean(),) * 2, abs=1e-12 * largest)


@given(sample=samples, n_more=st.integers(0, 1000), exponent=st.integers(-20, 20))
@settings(max_examples=60, deadline=None)
def test_bounds_scale_with_the_values(sample: list[float], n_more: int, exponent: int) -> None:
    """By a power of two, which changes no digit."""
    values, scale = np.array([round(one, 9) for one in sample], float), 2.0**exponent
    lower, upper = mean_bounds(values, len(sample) + n_more, 1.0)
    assert mean_bounds(values * scale, len(sample) + n_more, scale) == (lower * scale, upper * scale)


@given(sample=samples, n_more=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_more_confidence_never_narrows_the_bounds(sample: list[float], n_more: int) -> None:
    values, n_population = np.array(sample, float), len(sample) + n_more
    (lower, upper), (lowest, highest) = (mean_bounds(values, n_population, 1.0, one) for one in (0.9, 0.99))
    assert lowest <= lower
    assert upper <= highest


@pytest.mark.parametrize("n_population", [0, 1, 100])
def test_nothing_is_known_without_a_sample(n_population: int) -> None:
    assert mean_bounds(np.array([]), n_population, 0.35) == (0, 0.35)


def test_values_of_float32_are_used_in_float64() -> None:
    values = np.linspace(0, 0.3, 50, dtype=np.float32)
    assert mean_bounds(values, 900, 0.35) == mean_bounds(values.astype(np.float64), 900, 0.35)


@pytest.mark.parametrize(
    ("values", "n_population", "largest", "confidence", "message"),
    [
        ([0.1], 5, 1.0, 1.0, "confidence must be between 0 and 1, got 1.0"),
        ([0.1], 5, 1.0, 0.0, "confidence must be between 0 and 1, got 0.0"),
        ([0.1], 5, 0.0, 0.95, "largest must be positive and finite, got 0.0"),
        ([0.1], 5, math.inf, 0.95, "largest must be positive and finite, got inf"),
        ([0.1, 0.1], 1, 1.0, 0.95, "at most its population of 1, got 2 values"),
        ([0.1, 1.0000001], 5, 1.0, 0.95, r"values must be one row in \[0, 1\], got \[1.0000001\] in shape \(2,\)"),
        ([0.1, -1e-9], 5, 1.0, 0.95, r"values must be one row in \[0, 1\], got \[-1.e-09\]"),
        ([0.1, math.nan], 5, 1.0, 0.95, r"got \[nan\]"),
        ([[0.1, 0.1]], 5, 1.0, 0.95, r"in shape \(1, 2\)"),
    ],
)
def test_values_and_arguments_out_of_range_are_refused(
    values: list[float], n_population: int, largest: float, confidence: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mean_bounds(np.array(values), n_population, largest, confidence)


BOUND = 0.1


def sequences(n: int, ratio: float, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Increases and entropies whose means have about this ratio."""
    entropies = random.beta(1, 9, n) * math.log(2)
    return ratio * entropies * random.exponential(1, n), entropies


@pytest.mark.parametrize(
    ("n", "ratio", "verdict"),
    [
        (2000, 0.01, Verdict.HELD),
        (2000, 1.0, Verdict.BROKEN),
        (2000, 0.1, Verdict.NOT_SHOWN),
        (20, 0.01, Verdict.NOT_SHOWN),
        (2, 1.0, Verdict.NOT_SHOWN),
    ],
)
def test_a_long_sample_is_judged_and_a_short_one_is_not(
    n: int, ratio: float, verdict: Verdict, random: np.random.Generator
) -> None:
    assert judge(*sequences(n, ratio, random), BOUND, 60_000).verdict is verdict


def test_rare_harm_is_found(random: np.random.Generator) -> None:
    increases, entropies = sequences(4000, 0.0, random)
    increases[random.choice(4000, 200, replace=False)] = 0.34
    assert increases.mean() > 2 * BOUND * entropies.mean()
    assert judge(increases, entropies, BOUND, 60_000).verdict is Verdict.BROKEN


def smallest_sample(bets: tuple[tuple[float, float], ...], gain: float, limit: float) -> int:
    """Equal sequences until the wealth reaches its limit, if a bet of all would win this share each time."""
    return next(n for n in range(1000) if sum(first * (1 + bet * gain) ** n for bet, first in bets) >= limit)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_smallest_sample_that_holds_is_the_one_of_the_formula(confidence: float) -> None:
    """The share is accepted / CLIP for a large run without any increase."""
    accepted = 0.3 * BOUND
    bets = ((0.2, 0.1), (0.5, 0.2), (0.75, 0.3), (0.95, 0.4))
    n = smallest_sample(bets, accepted / 0.35, 1 / (1 - confidence))
    if confidence == 0.95:
        assert n == pytest.approx(1.3 / accepted, rel=0.1)
    zeros, entropies = np.zeros(n), np.full(n, 0.3)
    assert judge(zeros, entropies, BOUND, 10**9, confidence).verdict is Verdict.HELD
    assert judge(zeros[1:], entropies[1:], BOUND, 10**9, confidence).verdict is Verdict.NOT_SHOWN


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_smallest_sample_that_breaks_is_the_one_of_the_formula(confidence: float) -> None:
    """The share is (increase - accepted) / (bound * ln 2): no increase at all would lose it all."""
    increase, accepted = 0.04, 0.3 * BOUND
    bets = ((0.001, 0.2), (0.01, 0.2), (0.1, 0.2), (0.5, 0.2), (0.95, 0.2))
    n = smallest_sample(bets, (increase - accepted) / (BOUND * math.log(2)), 1 / (1 - confidence))
    increases, entropies = np.full(n, increase), np.full(n, 0.3)
    assert judge(increases, entropies, BOUND, 10**9, confidence).verdict is Verdict.BROKEN
    assert judge(increases[1:], entropies[1:], BOUND, 10**9, confidence).verdict is Verdict.NOT_SHOWN


def test_an_increase_above_the_clip_delays_that_the_bound_is_held() -> None:
    def smallest(increase: float) -> int:
        def verdict(n: int) -> Verdict:
            return judge(np.append(np.zeros(n - 1), increase), np.full(n, 0.3), BOUND, 250).verdict

        return next(n for n in range(30, 250) if verdict(n) is Verdict.HELD)

    assert smallest(0.1) < smallest(0.35) < smallest(1.0)


@pytest.mark.parametrize(("ratio", "wrong"), [(1.01, Verdict.HELD), (0.99, Verdict.BROKEN)])
@pytest.mark.parametrize("is_rare", [False, True])
def test_verdicts_are_wrong_as_rarely_as_promised(
    ratio: float, wrong: Verdict, is_rare: bool, random: np.random.Generator
) -> None:
    """Of runs just beyond the bound and just inside it, with the increase in all sequences or in 1 % of them."""
    increases, entropies = sequences(1000, 1.0, random)
    if is_rare:
        increases, entropies = np.repeat([1.0, 0.0], [10, 990]), entropies / 5
    increases *= ratio * BOUND * entropies.mean() / increases.mean()
    assert increases.max() < CLIP
    drawn = [random.permutation(1000)[:300] for _ in range(200)]
    verdicts = [judge(increases[one], entropies[one], BOUND, 1000).verdict for one in drawn]
    assert verdicts.count(wrong) / 200 <= ALPHA + standard_deviations(200)


@pytest.mark.parametrize("increase", [0.02, 0.05, 3.0])
def test_a_wholly_sampled_run_is_judged_by_its_means(increase: float, random: np.random.Generator) -> None:
    """An increase above CLIP counts in full."""
    increases, entropies = sequences(200, 0.03, random)
    increases[7] = increase
    judged = judge(increases, entropies, BOUND, 200)
    assert judged.verdict is (Verdict.HELD if increases.mean() <= BOUND * entropies.mean() else Verdict.BROKEN)
    assert judged.verdict is (Verdict.BROKEN if increase > 1 else Verdict.HELD)
    assert (judged.kl_lower, judged.kl_upper) == pytest.approx((increases.mean(),) * 2)


def test_a_sample_whose_means_break_the_bound_is_not_held() -> None:
    """Clipped increases alone would keep it."""
    increases, entropies = np.zeros(2000), np.full(2000, 0.3)
    increases[::100] = 5.0
    clipped = judge(np.minimum(increases, CLIP), entropies, BOUND, 100_000)
    judged = judge(increases, entropies, BOUND, 100_000)
    assert (clipped.verdict, clipped.n_clipped) == (Verdict.HELD, 0)
    assert (judged.verdict, judged.n_clipped) == (Verdict.NOT_SHOWN, 20)
    assert judged.mean_kl == pytest.approx(20 * 5.0 / 2000)
    excess = 20 * (5.0 - 0.35) / 100_000
    assert judged.kl_lower == pytest.approx(clipped.kl_lower + excess)
    assert judged.kl_upper == pytest.approx(clipped.kl_upper + excess)


def test_figures_are_those_of_the_sample(random: np.random.Generator) -> None:
    increases, entropies = sequences(400, 0.2, random)
    judged = judge(increases, entropies, BOUND, 5000, confidence=0.9)
    assert (judged.n_sampled, judged.n_population, judged.bound, judged.n_clipped) == (400, 5000, BOUND, 0)
    assert judged.mean_kl == pytest.approx(math.fsum(increases) / 400)
    assert judged.mean_entropy == pytest.approx(math.fsum(entropies) / 400)
    assert (judged.kl_lower, judged.kl_upper) == mean_bounds(increases, 5000, 0.35, 0.9)


@pytest.mark.parametrize("n_population", [0, 1000])
@pytest.mark.parametrize("bound", [0.0, BOUND])
def test_nothing_is_shown_without_a_sample(n_population: int, bound: float) -> None:
    judged = judge(np.array([]), np.array([]), bound, n_population)
    assert (judged.verdict, judged.n_sampled, judged.n_clipped) == (Verdict.NOT_SHOWN, 0, 0)
    assert (judged.mean_kl, judged.mean_entropy, judged.kl_lower, judged.kl_upper) == (None, None, 0, CLIP)


def test_rounding_beyond_the_range_is_harmless() -> None:
    increases, entropies = np.full(3, -1e-17), np.full(3, math.log(2) + 1e-15)
    assert judge(increases, entropies, 0.0, 3).kl_upper == 0
    assert judge(increases, entropies, 0.0, 3).verdict is Verdict.HELD
    assert judge(increases, entropies, BOUND, 3).verdict is Verdict.HELD


@pytest.mark.parametrize(
    ("increases", "entropies", "bound", "message"),
    [
        ([0.1, 0.1], [0.1], 0.1, r"each increase must have an entropy, got shapes \(2,\) and \(1,\)"),
        ([0.1], [0.1], -0.1, "bound must be finite and not negative, got -0.1"),
        ([0.1], [0.1], math.inf, "bound must be finite and not negative, got inf"),
        ([0.1], [0.1], math.nan, "bound must be finite and not negative, got nan"),
        ([-0.1], [0.1], 0.1, r"increases must be one row in \[0, inf\], got \[-0.1\]"),
        ([math.inf], [0.1], 0.1, r"increases must be one row in \[0, inf\], got \[inf\]"),
        ([0.1], [0.7], 0.1, r"entropies must be one row in \[0, 0.693147\], got \[0.7\]"),
    ],
)
def test_impossible_increases_entropies_and_bounds_are_refused(
    increases: list[float], entropies: list[float], bound: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        judge(np.array(increases), np.array(entropies), bound, 5)


def test_the_example_is_right() -> None:
    failed, tried = doctest.testmod(betting)
    assert (failed, tried > 0) == (0, True)


@pytest.mark.timing
def test_twenty_thousand_sequences_take_less_than_a_second(random: np.random.Generator) -> None:
    increases, entropies = sequences(20_000, 0.1, random)
    start = time.monotonic()
    judge(increases, entropies, BOUND, 60_000)
    assert time.monotonic() - start < 1
