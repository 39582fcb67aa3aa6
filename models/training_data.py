"""Sequences of the training seasons -> batches of what a network looks at, through the pipeline's own views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from inference.decoding import work_ahead
from inference.domain import ImageSize, View
from inference.info_strip import black_out_strip
from inference.views import make_views, same_size

if TYPE_CHECKING:
    from collections.abc import Generator

    from models.frame_cache import CachedFrame, FrameCache
    from models.labels import Targets

    Images = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    """(N, H, W, 3), RGB, 0-255: uint8 for frames, float32 for mean and background."""

N_SEQUENCE_FRAMES = 3
"""Photos of a sequence that the views on the whole sequence are made of (REFERENCE.md section 3.1)."""
AHEAD_BATCHES = 2
"""Batches a thread that may wait for the network."""


def photos_needed(views: tuple[View, ...]) -> int:
    """How many photos of a sequence are decoded: a network on frames learns from the first one only."""
    return 1 if views == (View.FRAME,) else N_SEQUENCE_FRAMES


def frames_required(views: tuple[View, ...]) -> int:
    """How many readable frames a sequence must have to take part."""
    return 1 if views == (View.FRAME,) else 2


@dataclass(frozen=True)
class Examples:
    """Sequences that a network can learn from, or be validated with.

    Attributes
    ----------
    seq_ids : N of them, sorted
    frames : where their frames are in the cache
    targets : uint8 (N, C)
    n_left_out : sequences with too few readable frames
    """

    seq_ids: tuple[str, ...]
    frames: tuple[tuple[CachedFrame, ...], ...]
    targets: Targets
    n_left_out: int

    def __len__(self) -> int:
        return len(self.seq_ids)


def examples_of(seq_ids: list[str], targets: Targets, cache: FrameCache, views: tuple[View, ...]) -> Examples:
    """The sequences with enough readable frames for the views."""
    entries = [cache.entry(seq_id) for seq_id in seq_ids]
    rows = [row for row, entry in enumerate(entries) if len(entry.frames) >= frames_required(views)]
    return Examples(
        seq_ids=tuple(seq_ids[row] for row in rows),
        frames=tuple(entries[row].frames for row in rows),
        targets=targets[rows],
        n_left_out=len(seq_ids) - len(rows),
    )


@dataclass(frozen=True)
class BatchPlan:
    """Which examples come together, and which of them are mirrored."""

    rows: npt.NDArray[np.int64]
    is_mirrored: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    """What a step learns from.

    Attributes
    ----------
    images : (N, H, W, 3) for each input of the network, in its order
    targets : uint8 (N, C)
    """

    images: tuple[Images, ...]
    targets: Targets


def shuffled_batches(n_examples: int, batch_size: int, seed: int, epoch: int) -> list[BatchPlan]:
    """Every example once, in an order and with mirrorings that depend on seed and epoch alone."""
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(n_examples)
    is_mirrored = random.random(n_examples) < 1 / 2
    return [
        BatchPlan(order[start : start + batch_size], is_mirrored[start : start + batch_size])
        for start in range(0, n_examples, batch_size)
    ]


def ordered_batches(n_examples: int, batch_size: int) -> list[BatchPlan]:
    """Every example once, in order, as it is."""
    rows = np.arange(n_examples)
    return [
        BatchPlan(part, np.zeros(len(part), np.bool_))
        for part in (rows[start : start + batch_size] for start in range(0, n_examples, batch_size))
    ]


class Views:
    """What the inputs of a network see of some sequences, at one size; threads may share it.

    Where all of them together take at most `kept_bytes`, they are kept in memory after they were made once: small sizes of
    some thousand sequences are then as fast as the network.
    """

    def __init__(
        self, cache: FrameCache, examples: Examples, views: tuple[View, ...], size: ImageSize, kept_bytes: int
    ) -> None:
        """Views of the sequences of a cache."""
        self.targets = examples.targets
        self._cache, self._examples, self._views, self._size = cache, examples, views, size
        n_bytes = sum(1 if view is View.FRAME else 4 for view in views) * size.height * size.width * 3
        self._kept: dict[int, tuple[Images, ...]] | None = {} if n_bytes * len(examples) <= kept_bytes else None

    def of(self, row: int, *, mirror: bool) -> tuple[Images, ...]:
        """What each input sees of the sequence of a row: (H, W, 3) each. All inputs are mirrored, or none."""
        images = None if self._kept is None else self._kept.get(row)
        if images is None:
            images = self._made(row)
            if self._kept is not None:
                self._kept[row] = images
        return tuple(image[:, ::-1] if mirror else image for image in images)

    def _made(self, row: int) -> tuple[Images, ...]:
        frames = self._examples.frames[row][: photos_needed(self._views)]
        stack, _ = same_size([self._cache.read(frame) for frame in frames])
        made = make_views(black_out_strip(stack), [(view, self._size) for view in self._views])
        return tuple(
            made[view, self._size][0] if view is View.FRAME else made[view, self._size] for view in self._views
        )


def load_batches(views: Views, plans: list[BatchPlan], n_workers: int) -> Generator[Batch]:
    """Batches in the order of the plans, made ahead by threads. Results do not depend on their number."""

    def load(plan: BatchPlan) -> Batch:
        loaded = [
            views.of(int(row), mirror=bool(mirror)) for row, mirror in zip(plan.rows, plan.is_mirrored, strict=True)
        ]
        return Batch(tuple(np.stack(images) for images in zip(*loaded, strict=True)), views.targets[plan.rows])

    yield from work_ahead(load, plans, n_workers, AHEAD_BATCHES * n_workers)
