"""What effort a budget leaves, from measured rates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.passes import Effort
from inference.execution.deadline import MARGIN_SHARE, WINDOW_BATCHES, Batch, DeadlinePolicy

COSTS = {
    Effort.FULL: 36.0,
    Effort.NO_LARGE_TTA: 27.0,
    Effort.NO_TTA: 21.0,
    Effort.ONE_SIZE: 12.0,
    Effort.FIRST_NETWORK: 3.0,
    Effort.PRIORS: 0.0,
}
"""By hand: 5 outputs of 3 frames, 3 of them large, mirrored, and 2 + 4 passes on the whole sequence."""


def measured(budget: float, effort: Effort = Effort.FULL, **changes: float) -> DeadlinePolicy:
    """A pace that knows 10 sequences, which took 36 s in the networks at full effort: a second a unit of cost."""
    pace = DeadlinePolicy(budget, COSTS)
    cost = 10 * COSTS[effort]
    facts = {"network_seconds": cost, "photo_seconds": 0.0} | changes
    pace.observe(Batch(n_sequences=10, cost=cost, full_cost=360.0, **facts))
    return pace


def test_enough_time_means_full_effort() -> None:
    assert measured(36 * 100 / (1 - MARGIN_SHARE) + 1).effort_for(100, 100, 8, 0.0) is Effort.FULL


@pytest.mark.parametrize("effort", [Effort.NO_LARGE_TTA, Effort.NO_TTA, Effort.ONE_SIZE, Effort.FIRST_NETWORK])
def test_the_most_effort_that_fits_is_chosen(effort: Effort) -> None:
    just_enough = 100 * COSTS[effort] / (1 - MARGIN_SHARE) + 1
    assert measured(just_enough).effort_for(100, 100, 8, 0.0) is effort
    too_little = 100 * COSTS[effort] / (1 - MARGIN_SHARE) - 1
    assert measured(too_little).effort_for(100, 100, 8, 0.0) == min(effort + 1, Effort.FIRST_NETWORK)


def test_rates_measured_at_little_effort_say_what_more_would_cost() -> None:
    pace = measured(1e6, Effort.ONE_SIZE)
    assert pace.seconds_per_sequence(Effort.FULL) == pytest.approx(36.0)
    assert pace.seconds_per_sequence(Effort.FIRST_NETWORK) == pytest.approx(3.0)


def test_photos_that_are_slower_than_the_networks_decide() -> None:
    pace = measured(1e6, photo_seconds=400.0)
    assert pace.seconds_per_sequence(Effort.FULL) == pytest.approx(40.0)
    assert pace.seconds_per_sequence(Effort.FIRST_NETWORK) == pytest.approx(40.0)


def test_the_second_phase_is_part_of_the_plan() -> None:
    pace = measured(36 * 100 / (1 - MARGIN_SHARE) + 1)
    pace.postprocess_seconds_per_sequence = 1.0
    assert pace.effort_for(100, 100, 8, 0.0) is Effort.NO_LARGE_TTA


def test_a_wild_guess_about_the_second_phase_does_not_take_all_the_time() -> None:
    pace = measured(10_000.0)
    pace.postprocess_seconds_per_sequence = 1e6
    assert pace.effort_for(100, 100, 8, 0.0) is Effort.FULL  # 3600 s of the 7500 s that are left


def test_no_time_for_another_batch_of_the_cheapest_network_means_priors() -> None:
    pace = measured(100.0)
    assert pace.effort_for(100, 100, 8, 95 - 8 * 3 - 1) is Effort.FIRST_NETWORK
    assert pace.effort_for(100, 100, 8, 95 - 8 * 3 + 1) is Effort.PRIORS


def test_before_anything_was_measured_effort_is_full_until_the_time_is_over() -> None:
    pace = DeadlinePolicy(100.0, COSTS)
    assert pace.effort_for(10**6, 10**6, 8, 90.0) is Effort.FULL
    assert pace.effort_for(10**6, 10**6, 8, 95.1) is Effort.PRIORS


def test_more_effort_comes_back_only_with_slack() -> None:
    pace = measured(36 * 100 / (1 - MARGIN_SHARE))
    assert pace.effort_for(101, 101, 8, 0.0) is Effort.NO_LARGE_TTA
    assert pace.effort_for(99, 101, 8, 0.0) is Effort.NO_LARGE_TTA
    assert pace.effort_for(89, 101, 8, 0.0) is Effort.FULL


def test_old_batches_are_forgotten() -> None:
    pace = measured(1e6)
    for _ in range(WINDOW_BATCHES):
        pace.observe(Batch(10, 360.0, 360.0, 720.0, 0.0))
    assert pace.seconds_per_sequence(Effort.FULL) == pytest.approx(72.0)
    assert pace.effort_for(100_000, 100_000, 8, 0.0) > Effort.FULL
    pace.forget()
    assert not pace.is_measured
    assert pace.effort is Effort.FULL


@given(st.floats(1, 1e5), st.floats(0, 1e5), st.integers(1, 10**6), st.integers(1, 64))
def test_less_time_never_means_more_effort(budget: float, now: float, n_left: int, n_batch: int) -> None:
    before = measured(budget).effort_for(n_left, n_left, n_batch, now)
    assert measured(budget).effort_for(n_left, n_left, n_batch, now + 10) >= before
    assert measured(budget).effort_for(n_left + 10, n_left + 10, n_batch, now) >= before


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive, got 0"):
        DeadlinePolicy(0, COSTS)
