"""How long a run takes, from what its parts take: pure arithmetic for the deadline, the plan and the projections.

Photos are decoded while the networks work. On a GPU both overlap, and the slower one decides. On a CPU they share the
cores: a call of a network that competes with decoding waits for its slowest thread, so the work adds up although the
networks, alone, leave some of each core idle (benchmark/results/projection_validation.json).
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from inference.bundle.passes import Effort

MARGIN_SHARE = 0.05
"""Share of a budget that plans leave unused."""
WINDOW_BATCHES = 20
"""Latest batches that the rates are measured on."""
CPU_LOAD, GPU_LOAD = 1.0, 0.0
"""Share of the cores that networks on such a device keep from the photos."""


def seconds_per_sequence(networks: float, photos: float, network_load: float) -> float:
    """Wall seconds of a sequence, from what networks and photos would take if the other one took no time.

    `network_load` is the share of all cores that the networks keep busy while they are called, 0-1.
    """
    return max(networks, photos + network_load * networks)


def run_seconds(startup: float, n_left: int, per_sequence: float, n_all: int, finish_per_sequence: float) -> float:
    """Wall seconds of a run that computes `n_left` records and makes a submission of all `n_all`."""
    return startup + n_left * per_sequence + n_all * finish_per_sequence


def fits(seconds: float, budget: float) -> bool:
    """Whether a run of so many seconds ends within a budget in seconds, with the margin that plans leave."""
    return seconds <= budget * (1 - MARGIN_SHARE)


@dataclass(frozen=True)
class BatchTiming:
    """What one batch took, in seconds.

    Attributes
    ----------
    frames : readable frames of each sequence
    network_seconds : in the networks
    photo_seconds : of the decoding threads for so many sequences, divided by their number
    wait_seconds : that the networks waited for the photos
    """

    frames: tuple[int, ...]
    effort: Effort
    network_seconds: float
    photo_seconds: float
    wait_seconds: float


class MeasuredThroughput:
    """What a sequence takes at every effort, from the latest batches, whatever effort they had."""

    def __init__(self, costs: Mapping[tuple[Effort, int], float], network_load: float) -> None:
        """`costs` is the work of the networks on a sequence, in any unit, by effort and number of frames."""
        self._costs = costs
        self._network_load = network_load
        self._batches: deque[BatchTiming] = deque(maxlen=WINDOW_BATCHES)

    @property
    def is_measured(self) -> bool:
        """Whether any network has seen a photo yet."""
        return any(self._cost(batch, batch.effort) for batch in self._batches)

    def observe(self, batch: BatchTiming) -> None:
        """Learn from a batch."""
        self._batches.append(batch)

    def reset(self) -> None:
        """The networks have changed: what was measured no longer holds."""
        self._batches.clear()

    def seconds_per_sequence(self, effort: Effort) -> float:
        """Projected wall seconds of a sequence like the latest ones; 0 before the first measurement.

        What shares the cores slows each other down while it is measured. Both times are scaled so that, together, they
        take the time that has passed.
        """
        if effort == Effort.PRIORS or not self.is_measured:
            return 0.0
        networks = sum(batch.network_seconds for batch in self._batches)
        photos = sum(batch.photo_seconds for batch in self._batches)
        passed = networks + sum(batch.wait_seconds for batch in self._batches)
        together = seconds_per_sequence(networks, photos, self._network_load)
        scale = min(1.0, passed / together) / sum(len(batch.frames) for batch in self._batches)
        done = sum(self._cost(batch, batch.effort) for batch in self._batches)
        wanted = sum(self._cost(batch, effort) for batch in self._batches)
        return seconds_per_sequence(scale * networks * wanted / done, scale * photos, self._network_load)

    def _cost(self, batch: BatchTiming, effort: Effort) -> float:
        return sum(self._costs[effort, n_frames] for n_frames in batch.frames)
