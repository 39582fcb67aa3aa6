"""What effort a budget leaves, from measured rates."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.passes import Effort
from inference.core.choices import Precision
from inference.execution.deadline import DeadlinePolicy, Step
from inference.execution.throughput import GPU_LOAD, MARGIN_SHARE, BatchTiming, MeasuredThroughput

COSTS = {
    Effort.FULL: 36.0,
    Effort.NO_LARGE_TTA: 27.0,
    Effort.NO_TTA: 21.0,
    Effort.ONE_SIZE: 12.0,
    Effort.FIRST_NETWORK: 3.0,
    Effort.PRIORS: 0.0,
}
"""By hand: 5 outputs of 3 frames, 3 of them large, mirrored, and 2 + 4 passes on the whole sequence."""
NOTHING_YET = BatchTiming((0,) * 10, Effort.FULL, 0.0, 0.0, 0.0)


def unmeasured(budget: float, *, load_seconds: float = math.inf) -> DeadlinePolicy:
    costs = {(effort, n_frames): cost * (n_frames == 3) for effort, cost in COSTS.items() for n_frames in (0, 3)}
    return DeadlinePolicy(budget, MeasuredThroughput(costs, GPU_LOAD), load_seconds=load_seconds)


def measured(budget: float, *, postprocess: float = 0.0, load_seconds: float = math.inf) -> DeadlinePolicy:
    """A policy that knows 10 sequences, which took 36 s each in the networks at full effort: a second a unit of cost."""
    policy = unmeasured(budget, load_seconds=load_seconds)
    policy.observe(BatchTiming((3,) * 10, Effort.FULL, 360.0, 0.0, 0.0), postprocess)
    return policy


def test_enough_time_means_full_effort() -> None:
    step = measured(36 * 100 / (1 - MARGIN_SHARE) + 1).next_step(100, 100, 8, 0.0)
    assert step == Step(8, Effort.FULL, Precision.FLOAT32)


@pytest.mark.parametrize("effort", [Effort.NO_LARGE_TTA, Effort.NO_TTA, Effort.ONE_SIZE, Effort.FIRST_NETWORK])
def test_the_most_effort_that_fits_is_chosen(effort: Effort) -> None:
    just_enough = 100 * COSTS[effort] / (1 - MARGIN_SHARE) + 1
    assert measured(just_enough).effort_for(100, 100, 8, 0.0) is effort
    too_little = 100 * COSTS[effort] / (1 - MARGIN_SHARE) - 1
    assert measured(too_little).effort_for(100, 100, 8, 0.0) == min(effort + 1, Effort.FIRST_NETWORK)


def test_the_second_phase_is_part_of_the_plan() -> None:
    policy = measured(36 * 100 / (1 - MARGIN_SHARE) + 1, postprocess=1.0)
    assert policy.effort_for(100, 100, 8, 0.0) is Effort.NO_LARGE_TTA
    needed = (36 * 100 + 0.01 * 10_000) / (1 - MARGIN_SHARE)  # 100 sequences are left, but all get a row
    assert measured(needed + 1, postprocess=0.01).effort_for(100, 10_000, 8, 0.0) is Effort.FULL
    assert measured(needed - 1, postprocess=0.01).effort_for(100, 10_000, 8, 0.0) is Effort.NO_LARGE_TTA


def test_a_wild_guess_about_the_second_phase_does_not_take_all_the_time() -> None:
    policy = measured(10_000.0, postprocess=1e6)
    assert policy.effort_for(100, 100, 8, 0.0) is Effort.FULL  # 3600 s of the 7500 s that are left


def test_no_time_for_another_batch_of_the_cheapest_network_means_priors() -> None:
    policy = measured(100.0)
    assert policy.effort_for(100, 100, 8, 95 - 8 * 3 - 1) is Effort.FIRST_NETWORK
    assert policy.effort_for(100, 100, 8, 95 - 8 * 3 + 1) is Effort.PRIORS


def test_before_anything_was_measured_effort_is_full_until_the_time_is_over() -> None:
    policy = unmeasured(100.0)
    assert policy.next_step(10**6, 10**6, 8, 90.0) == Step(1, Effort.FULL, Precision.FLOAT32)
    policy.observe(NOTHING_YET, 0.0)  # a batch without a readable photo measures nothing
    assert policy.next_step(10**6, 10**6, 8, 90.0).n_sequences == 1
    assert policy.next_step(10**6, 10**6, 8, 95.1).effort is Effort.PRIORS


def test_more_effort_comes_back_only_with_slack() -> None:
    policy = measured(36 * 100 / (1 - MARGIN_SHARE))
    assert policy.next_step(101, 101, 8, 0.0).effort is Effort.NO_LARGE_TTA
    assert policy.next_step(99, 101, 8, 0.0).effort is Effort.NO_LARGE_TTA
    assert policy.next_step(89, 101, 8, 0.0).effort is Effort.FULL


def test_mixed_precision_is_tried_once_before_anything_is_left_out() -> None:
    policy = measured(100 * COSTS[Effort.NO_TTA] / (1 - MARGIN_SHARE) + 1, load_seconds=5.0)
    assert policy.next_step(100, 100, 8, 0.0) == Step(8, Effort.FULL, Precision.FLOAT32, tries_lower=True)
    assert policy.next_step(100, 100, 8, 0.0) == Step(8, Effort.NO_TTA, Precision.FLOAT32)


def test_mixed_precision_is_not_tried_where_loading_takes_more_than_a_tenth_of_the_time_left() -> None:
    policy = measured(1000.0, load_seconds=91.0)
    assert policy.next_step(100, 100, 8, 100.0).tries_lower is False  # 900 s are left
    assert measured(1000.0, load_seconds=89.0).next_step(100, 100, 8, 100.0).tries_lower is True
    assert measured(1000.0, load_seconds=1.0).next_step(10**6, 10**6, 8, 940.0) == Step(
        8, Effort.PRIORS, Precision.FLOAT32
    )


def test_after_mixed_precision_was_adopted_measuring_begins_again_at_full_effort() -> None:
    policy = measured(100 * COSTS[Effort.NO_TTA] / (1 - MARGIN_SHARE) + 1)
    assert policy.next_step(100, 100, 8, 0.0).effort is Effort.NO_TTA
    policy.adopt(Precision.MIXED)
    assert policy.effort is Effort.FULL
    assert policy.next_step(100, 100, 8, 0.0) == Step(1, Effort.FULL, Precision.MIXED, is_mixed=True)


def test_a_run_without_a_budget_is_never_short_of_time() -> None:
    policy = measured(math.inf, postprocess=1e9, load_seconds=0.0)
    policy.observe(BatchTiming((3,) * 10, Effort.FULL, 1e9, 1e9, 1e9), 1e9)
    assert policy.next_step(10**9, 10**9, 8, 1e12) == Step(8, Effort.FULL, Precision.FLOAT32)


@given(st.floats(1, 1e5), st.floats(0, 1e5), st.integers(1, 10**6), st.integers(1, 64))
def test_less_time_never_means_more_effort(budget: float, now: float, n_left: int, n_batch: int) -> None:
    before = measured(budget).effort_for(n_left, n_left, n_batch, now)
    assert measured(budget).effort_for(n_left, n_left, n_batch, now + 10) >= before
    assert measured(budget).effort_for(n_left + 10, n_left + 10, n_batch, now) >= before


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive, got 0"):
        unmeasured(0)
