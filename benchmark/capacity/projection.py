"""The duration of a workload, computed from those of its parts: always a projection, never a measurement.

`inference.execution.throughput` combines the parts, as in a run with a budget.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.capacity.device_profiles import HIGH, LOW, MID, PROFILED, Basis, Profile
from benchmark.capacity.rates import Rates, profile_rates
from benchmark.capacity.workloads import Workload
from inference.bundle.manifest import Manifest
from inference.bundle.passes import Effort, Pass, passes_for
from inference.core.choices import Precision
from inference.execution.throughput import fits, run_seconds, seconds_per_sequence

LABEL = "projection"
MEASURED = "measured"
"""The level of speed of this machine; those of profiles are low, mid and high."""
PRECISION_OF_TURNS = 0.01
"""Share of a number to which its turning point is found."""
ENSEMBLES = tuple(effort for effort in Effort if effort < Effort.PRIORS)
"""The degradation order of `hakuna predict --budget`."""


@dataclass(frozen=True)
class Projection:
    """A projected run.

    Attributes
    ----------
    sequences : sequences of the workload
    networks, photos : seconds per sequence if the other one took no time
    """

    sequences: int
    rates: Rates
    ensemble: Effort
    precision: Precision
    level: str
    networks: float
    photos: float

    @property
    def seconds(self) -> float:
        """Wall time of the whole run."""
        rates, n_sequences = self.rates, self.sequences
        per_sequence = seconds_per_sequence(self.networks, self.photos, rates.network_load)
        return run_seconds(rates.startup, n_sequences, per_sequence, n_sequences, rates.finish_per_sequence)

    def fits(self, budget: float) -> bool:
        """Whether it ends within a budget in seconds, with the margin of a run with `--budget`."""
        return fits(self.seconds, budget)


def project(
    workload: Workload, manifest: Manifest, rates: Rates, *, ensemble: Effort, precision: Precision, level: str
) -> Projection:
    """Project a workload for one ensemble."""
    passes = passes_for(manifest, ensemble, flip_tta=True)
    networks = network_seconds(passes, workload.frame_shares, rates) + rates.other_per_sequence
    photos = sum(
        size.share * share * rates.photos(size.as_image_size(), n_frames)
        for size in workload.photo_sizes
        for n_frames, share in workload.frame_shares.items()
    )
    return Projection(workload.sequences, rates, ensemble, precision, level, networks, photos)


def network_seconds(passes: Iterable[Pass], frame_shares: Mapping[int, float], rates: Rates) -> float:
    """Expected seconds per sequence in the networks, including calls that are not full.

    `frame_shares` is the share of sequences by number of frames.
    """
    n_sequences = rates.sequences_per_batch
    frames = sums_of(frame_shares, n_sequences)
    moving_share = sum(share for n_frames, share in frame_shares.items() if n_frames > 1)
    moving = sums_of({0: 1 - moving_share, 1: moving_share}, n_sequences)
    seconds = 0.0
    for one in passes:
        if not one.is_asked:
            continue
        name, size = one.network.name, one.size.as_image_size()
        copies = 1 + one.mirror
        step = rates.images_per_call // copies
        full_call = rates.call(name, size, step * copies)
        for n_images, share in enumerate(frames if one.network.per_frame else moving):
            n_full, rest = divmod(n_images, step)
            seconds += share * (n_full * full_call + (rates.call(name, size, rest * copies) if rest else 0.0))
    return float(seconds) / n_sequences


def sums_of(shares: Mapping[int, float], n_terms: int) -> npt.NDArray[np.float64]:
    """Probability of each sum of `n_terms` independent numbers with the given shares: float64 (largest sum + 1,)."""
    one = np.zeros(max(shares) + 1)
    for value, share in shares.items():
        one[value] += share
    sums = np.ones(1)
    for _ in range(n_terms):
        sums = np.convolve(sums, one)
    return sums


def profile_table(workload: Workload, manifest: Manifest, profile: Profile) -> list[Projection]:
    """Every ensemble in the precisions of profiles at every level."""
    return [
        project(workload, manifest, rates, ensemble=ensemble, precision=precision, level=level)
        for precision in PROFILED
        for level in (LOW, MID, HIGH)
        for rates in [profile_rates(profile, manifest, precision, level)]
        for ensemble in ENSEMBLES
    ]


@dataclass(frozen=True)
class Decisive:
    """A number of a profile on which a verdict hangs: at `turns_at` the workload no longer fits, or fits."""

    name: str
    value: float
    basis: Basis
    turns_at: float


def decisive_assumptions(
    workload: Workload, manifest: Manifest, profile: Profile, verdict: Projection, budget: float
) -> list[Decisive]:
    """The numbers of a profile, assumed or measured, of which half or twice the value turns a verdict; closest first."""

    def turns(path: tuple[str, ...], value: float) -> bool:
        changed = profile.with_value(path, value)
        rates = profile_rates(changed, manifest, verdict.precision, verdict.level)
        other = project(
            workload, manifest, rates, ensemble=verdict.ensemble, precision=verdict.precision, level=verdict.level
        )
        return other.fits(budget) is not verdict.fits(budget)

    found = []
    for path, number in profile.assumptions():
        far = next((one * number.value for one in (1 / 2, 2) if turns(path, one * number.value)), None)
        if number.basis is not Basis.SPECIFIED and far is not None:
            near = number.value
            while abs(far - near) > PRECISION_OF_TURNS * number.value:
                middle = (near + far) / 2
                near, far = (near, middle) if turns(path, middle) else (middle, far)
            found.append(Decisive(" ".join(path).replace("_", " "), number.value, number.basis, far))
    return sorted(found, key=lambda one: abs(math.log(one.turns_at / one.value)))
