"""The number of images in one call of a network of OpenVINO, where more of them do not change an answer by a bit.

Some processors compute an image faster in a large call, others in a small one. The first batches of a run measure it with
one network at one size, for all. Later runs of a bundle on the same kind of machine find the result.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt
import structlog

from inference.core.sequences import Probabilities
from inference.settings.cache import read_cached, write_cached

log = structlog.get_logger()

SMALL, LARGE = 2, 8
"""Images in a call. A signal is handled between calls."""
N_PAIRS = 3
"""Timings of small calls beside a large one."""
MIN_TIMED = 2 * SMALL
"""Fewest images in small calls that are timed."""
CLEARLY_FASTER = 0.98
"""Largest share of the time of small calls that decides for large ones."""
KIND = "calls"
"""Kind of the cached results."""

Inputs = Mapping[str, npt.NDArray[np.float32]]
"""(N, H, W, 3) by input name, RGB, 0-255."""


class Step(Enum):
    """The treatment of the next images of a network."""

    CALL_SMALL, CALL_LARGE, COMPARE, TIME = range(4)


@dataclass
class CallSize:
    """The choice between small and large calls for the networks of a run.

    Attributes
    ----------
    images : the choice; None until it is measured
    is_exact : whether a large call gave the bits of small ones, by network and size
    """

    images: int | None = None
    is_exact: dict[str, bool] = field(default_factory=dict)
    _shares: list[float] = field(default_factory=list)
    _key: tuple[object, ...] = ()

    def recall(self, *key: object) -> None:
        """Use the choice that was kept under a key, if there is one, and keep a new one there."""
        self._key = key
        found = read_cached(KIND, *key) or {}
        images, is_exact = found.get("images"), found.get("is_exact")
        if images in (SMALL, LARGE) and isinstance(is_exact, dict):
            self.images, self.is_exact = images, {name: one is True for name, one in is_exact.items()}

    def next_step(self, name: str, n_left: int) -> Step:
        """The step for a network at a size with `n_left` images to answer."""
        if self.images == SMALL or not self.is_exact.get(name, True):
            return Step.CALL_SMALL
        if self.images == LARGE:
            if n_left < LARGE:
                return Step.CALL_SMALL
            return Step.CALL_LARGE if name in self.is_exact else Step.COMPARE
        if n_left < LARGE + MIN_TIMED or (self.is_exact and name not in self.is_exact):
            return Step.CALL_SMALL
        return Step.TIME if self.is_exact else Step.COMPARE

    def compared(self, name: str, *, is_exact: bool) -> None:
        """Note whether a large call of a network at a size gave the bits of small ones."""
        self.is_exact[name] = is_exact
        if not self.images and not is_exact:
            self.images = SMALL
        self._keep()

    def timed(self, small: float, large: float) -> None:
        """Note the seconds of an image in small calls and in a large one."""
        self._shares.append(large / small)
        if len(self._shares) == N_PAIRS:
            share = statistics.median(self._shares)
            self.images = LARGE if share <= CLEARLY_FASTER else SMALL
            log.info("size of calls measured", images=self.images, large_to_small=round(share, 3))
            self._keep()

    def _keep(self) -> None:
        if self._key and self.images:
            write_cached({"images": self.images, "is_exact": self.is_exact}, KIND, *self._key)


@dataclass(frozen=True)
class SplitNetwork:
    """A network that takes any even number of images, and passes on a few in each call.

    Attributes
    ----------
    name : of the network, for `size`
    before_call : called before each call, which may take seconds; raises to stop
    """

    name: str
    network: Callable[[Inputs], Probabilities]
    size: CallSize
    before_call: Callable[[], None]

    def __call__(self, inputs: Inputs, /) -> Probabilities:
        """Answers of the network: (N, C) to N images."""
        n_images, height, width, _ = next(iter(inputs.values())).shape
        parts: list[Probabilities] = []
        first = 0
        while first < n_images:
            parts.append(self._answers(f"{self.name} {height}x{width}", inputs, first, n_images - first))
            first += len(parts[-1])
        return np.concatenate(parts)

    def _answers(self, name: str, inputs: Inputs, first: int, n_left: int) -> Probabilities:
        """Answers to the next images, as many as the choice takes now."""
        step = self.size.next_step(name, n_left)
        if step in (Step.CALL_SMALL, Step.CALL_LARGE):
            return self._call(inputs, first, LARGE if step is Step.CALL_LARGE else SMALL)
        n_small = LARGE if step is Step.COMPARE else min(LARGE, n_left - LARGE)
        begun = time.perf_counter()
        small = np.concatenate([self._call(inputs, first + k, SMALL) for k in range(0, n_small, SMALL)])
        if step is Step.COMPARE:
            try:
                is_exact = small.tobytes() == self._call(inputs, first, LARGE).tobytes()
            except (RuntimeError, MemoryError):  # OpenVINO's, for example without memory for so large a call
                is_exact = False
            self.size.compared(name, is_exact=is_exact)
            return small
        between = time.perf_counter()
        large = self._call(inputs, first + n_small, LARGE)
        self.size.timed((between - begun) / n_small, (time.perf_counter() - between) / LARGE)
        return np.concatenate([small, large])

    def _call(self, inputs: Inputs, first: int, n_images: int) -> Probabilities:
        self.before_call()
        return self.network({name: images[first : first + n_images] for name, images in inputs.items()})
