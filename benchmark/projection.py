"""How long a workload takes, from what its parts take: never a measurement, always a projection.

    start-up + sequences x max(networks, photos, shared cores) + sequences x finishing

Photos are decoded while the networks work. Where both use the same cores they cannot take less than the work of both:
that is the third term. On a GPU the networks leave nearly all cores to the photos. On a CPU both take turns: a call of a
network that has to share the cores with decoding waits for its slowest thread, so the work adds up although the networks,
alone, leave some of each core idle (benchmark/results/projection_validation.json).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from inference.budget import MARGIN_SHARE
from inference.bundle import Manifest, Provenance, feature_names
from inference.domain import LABELS, Effort, ImageSize, Precision
from inference.passes import passes_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy.typing as npt

    from benchmark.profiles import Profile
    from benchmark.workloads import Workload
    from inference.passes import Pass
    from models.recipes import Recipe

LABEL = "projection"
LOW, MEASURED = "low", "measured"
"""Levels of speed that verdicts are on."""
ENSEMBLES = tuple(effort for effort in Effort if effort < Effort.PRIORS)
"""What `hakuna predict --budget` degrades to, in this order."""
PROFILED_PHOTO = ImageSize(1536, 2048)
"""The size that a profile's photo seconds are for; others take as much longer as they have more pixels."""


@dataclass(frozen=True)
class Rates:
    """What the parts of a run take on a machine, in seconds.

    Attributes
    ----------
    call : of one call of a network at a size with so many images, mirror images included
    photos : of a sequence with so many photos of a size, all cores decoding and nobody else at work
    network_load : share of all cores that the networks keep busy while they are called, 0-1
    other_per_sequence : of the thread that calls the networks, beside calling them
    finish_per_sequence : of the second phase, which begins when all photos are done
    sequences_per_batch, images_per_call : how the networks are called
    """

    startup: float
    call: Callable[[str, ImageSize, int], float]
    photos: Callable[[ImageSize, int], float]
    network_load: float
    other_per_sequence: float
    finish_per_sequence: float
    sequences_per_batch: int
    images_per_call: int


@dataclass(frozen=True)
class Projection:
    """A projected run.

    Attributes
    ----------
    networks, photos : seconds of a sequence if the other one took no time
    shared : seconds of a sequence that the cores need for both
    """

    workload: str
    ensemble: Effort
    precision: Precision
    level: str
    startup: float
    networks: float
    photos: float
    shared: float
    finish: float
    sequences: int

    @property
    def seconds(self) -> float:
        """Wall time of the whole run."""
        per_sequence = max(self.networks, self.photos, self.shared) + self.finish
        return self.startup + self.sequences * per_sequence

    def fits(self, budget: float) -> bool:
        """Whether it ends within a budget in seconds, with the margin that a run with `--budget` keeps."""
        return self.seconds <= budget * (1 - MARGIN_SHARE)


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
    return Projection(
        workload=workload.name,
        ensemble=ensemble,
        precision=precision,
        level=level,
        startup=rates.startup,
        networks=networks,
        photos=photos,
        shared=photos + rates.network_load * networks,
        finish=rates.finish_per_sequence,
        sequences=workload.sequences,
    )


def network_seconds(passes: Iterable[Pass], frame_shares: Mapping[int, float], rates: Rates) -> float:
    """Expected seconds of a sequence in the networks, calls that are not full included.

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
    """How likely each sum of `n_terms` independent numbers is, whose shares are given: float64 (largest sum + 1,)."""
    one = np.zeros(max(shares) + 1)
    for value, share in shares.items():
        one[value] += share
    sums = np.ones(1)
    for _ in range(n_terms):
        sums = np.convolve(sums, one)
    return sums


def manifest_of(recipe: Recipe) -> Manifest:
    """What the bundle of a recipe would say about itself, without any files."""
    networks = tuple(network.as_network() for network in recipe.networks)
    nobody = Provenance(recipe=recipe.name, hakuna_version="", tensorflow_version="", keras_version="", sources={})
    return Manifest(
        format_version=1,
        name=recipe.name,
        description=recipe.description,
        demo=True,
        labels=LABELS,
        priors=recipe.priors,
        ensemble=recipe.as_ensemble(),
        networks=networks,
        feature_names=feature_names(recipe.as_ensemble(), networks),
        files={},
        provenance=nobody,
    )


def profile_rates(
    profile: Profile, operations: Mapping[tuple[str, ImageSize], int], precision: Precision
) -> dict[str, Rates]:
    """Rates of a device that is not there, by level: low, mid, high."""
    arithmetic = profile.mixed if precision is Precision.MIXED else profile.float32
    return {
        level: _profile_rates(profile, operations, per_second)
        for level, per_second in arithmetic.operations_per_second.items()
    }


def _profile_rates(
    profile: Profile, operations: Mapping[tuple[str, ImageSize], int], operations_per_second: float
) -> Rates:
    n_call, cores = profile.calls.images_per_call, profile.cores.value

    def call(name: str, size: ImageSize, _: int) -> float:
        return n_call * operations[name, size] / operations_per_second  # every call is padded to the same shape

    def photos(size: ImageSize, n_frames: int) -> float:
        pixels = size.height * size.width / (PROFILED_PHOTO.height * PROFILED_PHOTO.width)
        return n_frames * pixels * profile.photo_core_seconds.value / cores

    return Rates(
        startup=profile.startup_seconds.value,
        call=call,
        photos=photos,
        network_load=1 / cores,  # the thread that feeds the device
        other_per_sequence=0.0,
        finish_per_sequence=profile.finish_seconds_per_sequence.value,
        sequences_per_batch=profile.calls.sequences_per_batch,
        images_per_call=n_call,
    )


def profile_table(
    workload: Workload, manifest: Manifest, profile: Profile, operations: Mapping[tuple[str, ImageSize], int]
) -> list[Projection]:
    """Every ensemble in both precisions at every level."""
    return [
        project(workload, manifest, rates, ensemble=ensemble, precision=precision, level=level)
        for precision in Precision
        for level, rates in profile_rates(profile, operations, precision).items()
        for ensemble in ENSEMBLES
    ]
