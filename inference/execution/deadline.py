"""The deadline: what was measured decides how much effort the sequences that are left can get."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from inference.bundle.passes import Effort

MARGIN_SHARE = 0.05
"""Share of the budget that plans leave unused."""
CUTOFF_SHARE = 0.97
"""At this share of the budget the best submission so far becomes final, whatever the run is doing."""
MAX_POSTPROCESS_SHARE = 0.2
"""Largest share of the budget that is kept for the second phase."""
UPGRADE_SLACK = 0.9
"""More effort again only if it would end within this share of the time left: no wavering between two levels."""
WINDOW_BATCHES = 20
"""Batches that the rates are measured on."""


@dataclass(frozen=True)
class Batch:
    """What one batch took.

    Attributes
    ----------
    n_sequences : in the batch, those without a readable photo included
    cost : work that the networks did, `passes.relative_cost` added up
    full_cost : work that they would have done at full effort
    network_seconds : in the networks
    photo_seconds : what the decoding threads need for so many sequences, divided by their number
    """

    n_sequences: int
    cost: float
    full_cost: float
    network_seconds: float
    photo_seconds: float


class DeadlinePolicy:
    """How fast a run goes, and what effort that leaves for the rest. Times in seconds since the run began."""

    def __init__(self, budget: float, costs: Mapping[Effort, float]) -> None:
        """Plan to be ready within `budget` seconds; `costs` is the relative cost of a whole sequence at each effort."""
        if budget <= 0:
            raise ValueError(f"a budget must be positive, got {budget} s")
        self.budget = budget
        self._shares = {effort: cost / costs[Effort.FULL] for effort, cost in costs.items()}
        self._batches: deque[Batch] = deque(maxlen=WINDOW_BATCHES)
        self._effort = Effort.FULL
        self.postprocess_seconds_per_sequence = 0.0
        """What the second phase takes, once that is known."""

    @property
    def cutoff(self) -> float:
        """When the best submission so far becomes final."""
        return self.budget * CUTOFF_SHARE

    @property
    def is_measured(self) -> bool:
        """Whether any network was asked yet."""
        return any(batch.cost for batch in self._batches)

    @property
    def effort(self) -> Effort:
        """What was decided last."""
        return self._effort

    def observe(self, batch: Batch) -> None:
        """Learn from a batch."""
        self._batches.append(batch)

    def forget(self) -> None:
        """The networks have changed: what was measured and decided no longer holds."""
        self._batches.clear()
        self._effort = Effort.FULL

    def seconds_per_sequence(self, effort: Effort) -> float:
        """Projected wall time of a sequence: the slower of networks and photos, which work at the same time."""
        if effort == Effort.PRIORS or not self.is_measured:
            return 0.0
        n_sequences = sum(batch.n_sequences for batch in self._batches)
        seconds_per_cost = sum(batch.network_seconds for batch in self._batches) / sum(
            batch.cost for batch in self._batches
        )
        full_cost = sum(batch.full_cost for batch in self._batches) / n_sequences
        photos = sum(batch.photo_seconds for batch in self._batches) / n_sequences
        return max(seconds_per_cost * full_cost * self._shares[effort], photos)

    def effort_for(self, n_left: int, n_all: int, n_batch: int, now: float) -> Effort:
        """The most effort at which the sequences that are left are done in time.

        If even the cheapest network cannot look at all of them, it looks at as many as it can; the rest gets the
        priors. `n_batch` sequences come next; the second phase handles all `n_all`.
        """
        # A projection of the second phase alone never takes the photos all their time.
        finish = min(n_all * self.postprocess_seconds_per_sequence, self.budget * MAX_POSTPROCESS_SHARE)
        left = self.budget * (1 - MARGIN_SHARE) - now - finish
        if left <= n_batch * self.seconds_per_sequence(Effort.FIRST_NETWORK):
            self._effort = Effort.PRIORS
            return self._effort
        if self.is_measured:
            self._effort = min(self._most_effort(n_left, left), Effort.FIRST_NETWORK)
        return self._effort

    def _most_effort(self, n_left: int, seconds_left: float) -> Effort:
        for effort in Effort:
            slack = UPGRADE_SLACK if effort < self._effort else 1.0
            if n_left * self.seconds_per_sequence(effort) <= seconds_left * slack:
                return effort
        return Effort.PRIORS
