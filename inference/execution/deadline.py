"""The deadline: measured rates decide the effort and precision of the remaining sequences."""

import math
from dataclasses import dataclass

from inference.bundle.passes import Effort
from inference.core.choices import Precision
from inference.execution.throughput import MARGIN_SHARE, BatchTiming, MeasuredThroughput

CUTOFF_SHARE = 0.97
"""At this share of the budget the best submission so far becomes final, whatever stage the run is in."""
MAX_POSTPROCESS_SHARE = 0.2
"""Largest share of the budget reserved for the second phase."""
UPGRADE_SLACK = 0.9
"""Effort rises again only if the run would then end within this share of the time left, to avoid oscillation."""
LOAD_SHARE = 0.1
"""Largest share of the time left for loading the networks in a lower precision."""


@dataclass(frozen=True)
class Step:
    """The next block of sequences.

    Attributes
    ----------
    n_sequences : number of sequences computed together
    is_mixed : whether a lower precision was turned on to save time
    tries_lower : whether to try a lower precision now, before the block
    """

    n_sequences: int
    effort: Effort
    precision: Precision
    is_mixed: bool = False
    tries_lower: bool = False


class DeadlinePolicy:
    """Decides how much effort the time left allows. Times are in seconds since the run began."""

    def __init__(
        self,
        budget: float,
        throughput: MeasuredThroughput,
        precision: Precision = Precision.FLOAT32,
        *,
        load_seconds: float = math.inf,
        starts_small: bool = True,
    ) -> None:
        """Plan to finish within `budget` seconds; infinite: full effort in the selected precision.

        Parameters
        ----------
        precision : the selected precision
        load_seconds : time to load the networks in a lower precision; infinite without one to try
        starts_small : single sequences until the first measurement, since a batch might take all the time left
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
        """Effort and precision for the next `n_batch` of `n_left` sequences; the second phase handles all `n_all`."""
        self.effort = self.effort_for(n_left, n_all, n_batch, now)
        is_short_of_time = Effort.FULL < self.effort < Effort.PRIORS
        if is_short_of_time and self._load_seconds <= LOAD_SHARE * (self.budget - now):
            self._load_seconds = math.inf  # only once
            return Step(n_batch, Effort.FULL, self._precision, tries_lower=True)
        is_small = self._starts_small and not self._throughput.is_measured
        return Step(1 if is_small else n_batch, self.effort, self._precision, self._is_mixed)

    def observe(self, batch: BatchTiming, postprocess_seconds_per_sequence: float) -> None:
        """Update the rates with a batch and the second phase's time, as far as it is known."""
        self._throughput.observe(batch)
        self._postprocess = postprocess_seconds_per_sequence

    def adopt(self, precision: Precision) -> None:
        """Use a lower precision from now on; earlier measurements and decisions no longer count."""
        self._precision, self._is_mixed, self.effort = precision, True, Effort.FULL
        self._throughput.reset()

    def effort_for(self, n_left: int, n_all: int, n_batch: int, now: float) -> Effort:
        """The most effort at which the remaining sequences finish in time.

        If even the cheapest network cannot process all of them, it processes as many as it can; the rest get priors.
        """
        # The projection of the second phase alone never takes all the time from the photos.
        finish = min(n_all * self._postprocess, self.budget * MAX_POSTPROCESS_SHARE)
        left = self.budget * (1 - MARGIN_SHARE) - now - finish
        if left <= n_batch * self._throughput.seconds_per_sequence(Effort.FIRST_NETWORK):
            return Effort.PRIORS
        if not self._throughput.is_measured:
            return self.effort

        def fits(effort: Effort) -> bool:  # priors always do
            slack = UPGRADE_SLACK if effort < self.effort else 1.0
            return n_left * self._throughput.seconds_per_sequence(effort) <= left * slack

        return min(next(filter(fits, Effort)), Effort.FIRST_NETWORK)
