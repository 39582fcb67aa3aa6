"""The arithmetic of a projection; expected values are worked out by hand or by drawing lots."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.capacity.device_profiles import load_profile
from benchmark.capacity.projection import network_seconds, profile_table, project, sums_of
from benchmark.capacity.rates import Rates, profile_rates
from benchmark.capacity.workloads import PhotoSize, Workload, load_workload
from inference.bundle.manifest import Manifest
from inference.bundle.passes import Effort, passes_for
from inference.core.choices import Precision
from inference.core.sequences import ImageSize
from inference.networks.forward import MAX_CALL_IMAGES
from models.spec.recipe import Recipe, manifest_of

PHOTO = ImageSize(1536, 2048)
SMALL, LARGE = 50.9e9, 59.4e9
"""Operations of a pass, as the issue counts them."""


@pytest.fixture
def manifest(recipe: Recipe) -> Manifest:
    return manifest_of(recipe)


def workload(frames: dict[str, float], n_sequences: int = 1000) -> Workload:
    return Workload.model_validate(
        {
            "format_version": 1,
            "name": "test",
            "source": "made up",
            "sequences": n_sequences,
            "frames": frames,
            "photo_sizes": (PhotoSize(height=1536, width=2048, share=1.0),),
        }
    )


def rates(*, second_per_image: float = 0.01, photo: float = 0.02, load: float = 0.0, batch: int = 8) -> Rates:
    return Rates(
        startup=5.0,
        call=lambda _name, _size, n_images: n_images * second_per_image,
        photos=lambda _size, n_frames: n_frames * photo,
        network_load=load,
        other_per_sequence=0.0,
        finish_per_sequence=0.001,
        sequences_per_batch=batch,
        images_per_call=MAX_CALL_IMAGES,
    )


def test_a_full_sequence_costs_36_passes(manifest: Manifest) -> None:
    """As the published program does: 5 x 3 x 2 + 2 + 2 x 2; one call of the two-branch network is two passes."""
    passes = passes_for(manifest, Effort.FULL, flip_tta=True)
    assert network_seconds(passes, {3: 1.0}, rates(second_per_image=1.0)) == pytest.approx(5 * 3 * 2 + 2 + 2)


def test_networks_and_photos_overlap_and_the_slower_one_counts(manifest: Manifest) -> None:
    passes_of_a_frame = 5 * 2
    fast_photos = project(
        workload({"1": 1.0}), manifest, rates(), ensemble=Effort.FULL, precision=Precision.FLOAT32, level="low"
    )
    assert fast_photos.seconds == pytest.approx(5 + 1000 * (passes_of_a_frame * 0.01 + 0.001))
    slow_photos = project(
        workload({"1": 1.0}), manifest, rates(photo=0.5), ensemble=Effort.FULL, precision=Precision.FLOAT32, level="low"
    )
    assert slow_photos.seconds == pytest.approx(5 + 1000 * (0.5 + 0.001))


def test_what_shares_the_cores_takes_the_work_of_both(manifest: Manifest) -> None:
    both = project(
        workload({"1": 1.0}),
        manifest,
        rates(photo=0.05, load=0.9),
        ensemble=Effort.FULL,
        precision=Precision.FLOAT32,
        level="low",
    )
    assert both.seconds == pytest.approx(5 + 1000 * (0.05 + 0.9 * 0.1 + 0.001))


def test_sums_are_as_likely_as_lots_that_are_drawn(random: np.random.Generator) -> None:
    shares = {1: 0.1, 2: 0.2, 3: 0.7}
    drawn = random.choice(list(shares), p=list(shares.values()), size=(200_000, 5)).sum(axis=1)
    assert sums_of(shares, 5) == pytest.approx(np.bincount(drawn, minlength=16) / len(drawn), abs=0.005)


def test_padded_calls_cost_as_much_as_full_ones(manifest: Manifest) -> None:
    """8 sequences of 3 frames are 24 images; with their mirror images two calls of 32."""
    profile = load_profile("v100")
    profile = profile.model_copy(update={"calls": profile.calls.model_copy(update={"sequences_per_batch": 8})})
    sizes = {(network.name, size.as_image_size()): 1 for network in manifest.networks for size in network.sizes}
    low = profile_rates(profile, sizes, Precision.FLOAT32)["low"]
    [first, *_] = passes_for(manifest, Effort.FULL, flip_tta=True)
    per_second = 0.35 * 15.7e12
    assert network_seconds([first], {3: 1.0}, low) == pytest.approx(2 * 32 / per_second / 8)


def test_a_v100_does_as_many_sequences_as_the_desk_estimate(manifest: Manifest) -> None:
    """A desk estimate: 10,000 to 20,000 an hour in float32, 20,000 to 41,000 in mixed precision (36 passes)."""
    operations = {
        (network.name, size.as_image_size()): round(len(network.inputs) * (SMALL if size.height == 360 else LARGE))
        for network in manifest.networks
        for size in network.sizes
    }
    season = workload({"3": 1.0})
    per_hour = {
        (one.precision, one.level): 3600 / max(one.networks, one.photos + one.rates.network_load * one.networks)
        for one in profile_table(season, manifest, load_profile("v100"), operations)
        if one.ensemble is Effort.FULL
    }
    for precision, low, high in ((Precision.FLOAT32, 10_000, 20_000), (Precision.MIXED, 20_000, 41_000)):
        assert 0.85 * low < per_hour[precision, "low"] < per_hour[precision, "high"] < high


def test_season_11_does_not_fit_an_hour_and_less_effort_takes_less_time(manifest: Manifest) -> None:
    operations = {
        (network.name, size.as_image_size()): round(SMALL * len(network.inputs))
        for network in manifest.networks
        for size in network.sizes
    }
    table = profile_table(load_workload("season11"), manifest, load_profile("v100"), operations)
    assert len(table) == 2 * 3 * 5
    assert not any(one.fits(3600) for one in table)
    assert any(one.fits(8 * 3600) for one in table)
    low = [one.seconds for one in table if one.level == "low" and one.precision is Precision.MIXED]
    assert low == sorted(low, reverse=True)


def test_a_plan_leaves_the_margin_of_a_run_with_a_budget_unused(manifest: Manifest) -> None:
    one = project(
        workload({"1": 1.0}), manifest, rates(), ensemble=Effort.FULL, precision=Precision.FLOAT32, level="low"
    )
    assert one.fits(one.seconds / 0.95 + 0.01)
    assert not one.fits(one.seconds / 0.95 - 0.01)
