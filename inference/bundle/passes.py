"""Selects the networks and sizes that run at each effort, with or without mirror images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # command lines that name an effort avoid importing pydantic
    from inference.bundle.manifest import Manifest, Network, Size


class Effort(IntEnum):
    """Degradation levels when time is short, from everything to nothing."""

    FULL = 0
    """Everything that the bundle lists."""
    NO_LARGE_TTA = 1
    """No mirror images at the largest size."""
    NO_TTA = 2
    """No mirror images."""
    ONE_SIZE = 3
    """Each network at its smallest size only."""
    FIRST_NETWORK = 4
    """Only the first network on frames."""
    PRIORS = 5
    """No network runs."""

    @property
    def label(self) -> str:
        """Its name for people and for `run.json`."""
        return self.name.lower().replace("_", " ")


EFFORTS_IN_WORDS = {
    Effort.FULL.label: "the full ensemble",
    Effort.NO_LARGE_TTA.label: "no mirror images at the larger size",
    Effort.NO_TTA.label: "no mirror images",
    Effort.ONE_SIZE.label: "one size for each network",
    Effort.FIRST_NETWORK.label: "only the first network",
    Effort.PRIORS.label: "only the usual share of each class (priors)",
}
"""By label, for messages and pages."""
STACKABLE_EFFORT = Effort.NO_TTA
"""Up to this level every output exists, as the stackers expect; they were trained without mirror images anyway."""


@dataclass(frozen=True)
class Pass:
    """One output of the records: a network at a size.

    Attributes
    ----------
    is_asked : False if the output is skipped to save time
    mirror : average each image with its mirror image
    """

    network: Network
    size: Size
    is_asked: bool
    mirror: bool


def passes_for(manifest: Manifest, effort: Effort, *, flip_tta: bool) -> tuple[Pass, ...]:
    """Every output of the bundle in order, and whether and how it is computed."""
    largest = max(_pixels(size) for network in manifest.networks for size in network.sizes)
    passes = []
    for network in manifest.networks:
        smallest = min(network.sizes, key=_pixels)
        for size in network.sizes:
            mirror = flip_tta and network.flip_tta and effort < Effort.NO_TTA
            if effort == Effort.NO_LARGE_TTA and _pixels(size) == largest:
                mirror = False
            is_asked = effort < Effort.ONE_SIZE or (effort < Effort.PRIORS and size == smallest)
            if effort == Effort.FIRST_NETWORK and network != manifest.frame_networks[0]:
                is_asked = False
            passes.append(Pass(network, size, is_asked, mirror))
    return tuple(passes)


def relative_cost(passes: tuple[Pass, ...], n_frames: int) -> float:
    """Cost of the networks for a sequence of `n_frames`, in pixels that pass through a backbone."""
    cost = 0.0
    for one in passes:
        n_images = n_frames if one.network.per_frame else (n_frames > 1) * len(one.network.inputs)
        cost += one.is_asked * (1 + one.mirror) * n_images * _pixels(one.size)
    return cost


def _pixels(size: Size) -> int:
    return size.height * size.width
