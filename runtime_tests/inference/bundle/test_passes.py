"""Which network looks at what, at each effort."""

from __future__ import annotations

import pytest

from inference.bundle.passes import Effort, passes_for, relative_cost
from inference.bundle.reader import Bundle

SMALL, LARGE = 360 * 480, 384 * 512
FULL = {("v1", 360, True), ("v1", 384, True), ("v2", 360, True), ("v2", 384, True), ("v3", 384, True)}
WHOLE = {("background", 360, False), ("background", 384, False), ("two_branch", 360, False), ("two_branch", 384, False)}
"""The published ensemble: network, height, mirrored."""


def asked(bundle: Bundle, effort: Effort, *, flip_tta: bool = True) -> set[tuple[str, int, bool]]:
    passes = passes_for(bundle.manifest, effort, flip_tta=flip_tta)
    assert [(one.network.name, one.size) for one in passes] == [
        (network.name, size) for network in bundle.manifest.networks for size in network.sizes
    ]
    return {(one.network.name, one.size.height, one.mirror) for one in passes if one.is_asked}


@pytest.mark.parametrize(
    ("effort", "expected"),
    [
        (Effort.FULL, FULL | WHOLE),
        (Effort.NO_LARGE_TTA, {(name, height, mirror and height == 360) for name, height, mirror in FULL} | WHOLE),
        (Effort.NO_TTA, {(name, height, False) for name, height, _ in FULL} | WHOLE),
        (
            Effort.ONE_SIZE,
            {("v1", 360, False), ("v2", 360, False), ("v3", 384, False)}
            | {("background", 360, False), ("two_branch", 360, False)},
        ),
        (Effort.FIRST_NETWORK, {("v1", 360, False)}),
        (Effort.PRIORS, set()),
    ],
)
def test_the_published_ensemble_degrades_in_this_order(
    effort: Effort, expected: set[tuple[str, int, bool]], tiny_bundle: Bundle
) -> None:
    assert asked(tiny_bundle, effort) == expected


def test_mirror_images_stay_off_where_they_were_not_asked_for(tiny_bundle: Bundle) -> None:
    assert asked(tiny_bundle, Effort.FULL, flip_tta=False) == asked(tiny_bundle, Effort.NO_TTA)


def test_another_ensemble_degrades_too(second_bundle: Bundle) -> None:
    costs = [
        relative_cost(passes_for(second_bundle.manifest, effort, flip_tta=True), second_bundle.manifest.n_frames)
        for effort in Effort
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[Effort.FIRST_NETWORK] > costs[Effort.PRIORS] == 0


@pytest.mark.parametrize(
    ("n_frames", "cost"),
    [
        (0, 0),
        (1, 2 * (2 * SMALL + 3 * LARGE)),
        (3, 6 * (2 * SMALL + 3 * LARGE) + 3 * SMALL + 3 * LARGE),  # 36 passes
    ],
)
def test_cost_counts_the_pixels_that_backbones_look_at(n_frames: int, cost: int, tiny_bundle: Bundle) -> None:
    assert relative_cost(passes_for(tiny_bundle.manifest, Effort.FULL, flip_tta=True), n_frames) == cost
