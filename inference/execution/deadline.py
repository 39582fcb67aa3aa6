"""The deadline: what was measured decides how much effort, and which precision, the sequences that are left get."""

import math
from dataclasses import dataclass

from inference.bundle.passes import Effort
from inference.core.choices import Precision
from inference.execution.throughput import MARGIN_SHARE, BatchTiming, MeasuredThroughput

CUTOFF_SHARE = 0.97
"""At this share of the budget the best submission so far becomes final, whatever the run is doing."""
MAX_POSTPROCESS_SHARE = 0.2
"""Largest share of the budget that is kept for the second phase."""
UPGRADE_SLACK = 0.9
"""More effort again only if it would end within this share of the time left: no wavering between two levels."""
MIXED_LOAD_SHARE = 0.1
"""Largest share of the time left that loading the networks in mixed precision may take."""


@dataclass(frozen=True)
class Step:
    """What comes next.

    Attributes
    ----------
    n_sequences : that are computed together
    is_mixed : whether mixed precision was turned on to save time
    tries_mixed : whether to compare the records with those in mixed precision, which may then be adopted
    """

    n_sequences: int
    effort: Effort
    precision: Precision
    is_mixed: bool = False
    tries_mixed: bool = False


class DeadlinePolicy:
    """How much effort the time leaves for the rest. Times in seconds since the run began."""

    def __init__(
        self,
        budget: float,
        throughput: MeasuredThroughput,
        precision: Precision = Precision.FLOAT32,
        *,
        load_seconds: float = math.inf,
        starts_small: bool = True,
    ) -> None:
        """Plan to be ready within `budget` seconds; infinite: full effort in the precision that was selected.

        Parameters
        ----------
        precision : that was selected
        load_seconds : what loading the networks in mixed precision takes; infinite where that cannot be tried
        starts_small : single sequences until the first measurement, since a batch might take all the time there is
        """
        if budget <= 0:
            raise ValueError(f"a budget must be positive, got {budget} s")
        self.budget = budget
        self.effort = Effort.FULL
        self._precision = precision
        self._is_mixed = False
        self._throughput = throughput
        self._load_seconds = load_seconds
        self._starts_small = starts_small
        self._postprocess = 0.0

    def next_step(self, n_left: int, n_all: int, n_batch: int, now: float) -> Step:
        """What the next `n_batch` of the `n_left` sequences get; the second phase handles all `n_all`."""
        self.effort = self.effort_for(n_left, n_all, n_batch, now)
        is_short_of_time = Effort.FULL < self.effort < Effort.PRIORS
        if is_short_of_time and self._load_seconds <= MIXED_LOAD_SHARE * (self.budget - now):
            self._load_seconds = math.inf  # only once
            return Step(n_batch, Effort.FULL, self._precision, tries_mixed=True)
        is_small = self._starts_small and not self._throughput.is_measured
        return Step(1 if is_small else n_batch, self.effort, self._precision, self._is_mixed)

    def observe(self, batch: BatchTiming, postprocess_seconds_per_sequence: float) -> None:
        """Learn from a batch, and what the second phase takes as far as it is known."""
        self._throughput.observe(batch)
        self._postprocess = postprocess_seconds_per_sequence

    def adopt_mixed(self) -> None:
        """Mixed precision holds: use it from now on; what was measured and decided before no longer counts."""
        self._precision, self._is_mixed, self.effort = Precision.MIXED, True, Effort.FULL
        self._throughput.reset()

    def effort_for(self, n_left: int, n_all: int, n_batch: int, now: float) -> Effort:
        """The most effort at which the sequences that are left are done in time.

        If even the cheapest network cannot look at all of them, it looks at as many as it can; the rest gets the priors.
        """
        # A projection of the second phase alone never takes the photos all their time.
        finish = min(n_all * self._postprocess, self.budget * MAX_POSTPROCESS_SHARE)
        left = self.budget * (1 - MARGIN_SHARE) - now - finish
        if left <= n_batch * self._throughput.seconds_per_sequence(Effort.FIRST_NETWORK):
            return Effort.PRIORS
        if not self._throughput.is_measured:
            return self.effort
        for effort in Effort:
            slack = UPGRADE_SLACK if effort < self.effort else 1.0
            if n_left * self._throughput.seconds_per_sequence(effort) <= left * slack:
                return min(effort, Effort.FIRST_NETWORK)
        return Effort.FIRST_NETWORK
