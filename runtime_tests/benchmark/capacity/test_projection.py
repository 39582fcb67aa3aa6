"""The arithmetic of a projection; expected values are worked out by hand or by drawing lots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmark.capacity.device_profiles import LOW, load_profile
from benchmark.capacity.projection import decisive_assumptions, network_seconds, profile_table, project, sums_of
from benchmark.capacity.rates import Rates, profile_rates
from benchmark.capacity.workloads import PhotoSize, Workload, load_workload
from inference.bundle.manifest import Manifest
from inference.bundle.passes import Effort, passes_for
from inference.core.choices import Device, Precision
from inference.core.sequences import ImageSize
from inference.networks.forward import MAX_CALL_IMAGES
from inference.settings.settings import load_settings
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


def with_operations(manifest: Manifest, of_a_size: Callable[[ImageSize], float]) -> Manifest:
    networks = tuple(
        one.model_copy(
            update={"operations": tuple(round(len(one.inputs) * of_a_size(size.as_image_size())) for size in one.sizes)}
        )
        for one in manifest.networks
    )
    return manifest.model_copy(update={"networks": networks})


def published(manifest: Manifest) -> Manifest:
    return with_operations(manifest, lambda size: SMALL if size.height == 360 else LARGE)


def test_a_padded_call_costs_its_operations_its_bytes_and_a_fixed_time(manifest: Manifest) -> None:
    """One sequence of a frame is two images with its mirror image; the call has 32, of 360x480x3 bytes each."""
    one = with_operations(manifest, lambda _: 1e9)
    low = replace(profile_rates(load_profile("v100"), one, Precision.FLOAT32, LOW), sequences_per_batch=1)
    [first, *_] = passes_for(one, Effort.FULL, flip_tta=True)
    seconds = 32 * (1e9 / (0.45 * 15.7e12) + 360 * 480 * 3 / 12e9) + 0.005
    assert network_seconds([first], {1: 1.0}, low) == pytest.approx(seconds)
    background = next(one for one in one.networks if one.name == "background")
    call = 32 * (1e9 / (0.45 * 15.7e12) + 360 * 480 * 12 / 12e9) + 0.005
    assert low.call("background", background.sizes[0].as_image_size(), 1) == pytest.approx(call)


def test_a_projection_supposes_the_batch_of_a_run(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HAKUNA_BATCH_SIZE", raising=False)
    on_a_gpu = profile_rates(load_profile("t4"), published(manifest), Precision.FLOAT32, LOW)
    assert on_a_gpu.sequences_per_batch == load_settings(device=Device.GPU).sequences_per_batch
    assert on_a_gpu.images_per_call == MAX_CALL_IMAGES


def test_season_11_does_not_fit_an_hour_and_less_effort_takes_less_time(manifest: Manifest) -> None:
    table = profile_table(load_workload("season11"), published(manifest), load_profile("v100"))
    assert len(table) == 2 * 3 * 5
    assert not any(one.fits(3600) for one in table if one.level == LOW and one.ensemble < Effort.FIRST_NETWORK)
    assert any(one.fits(8 * 3600) for one in table)
    low = [one.seconds for one in table if one.level == LOW and one.precision is Precision.MIXED]
    assert low == sorted(low, reverse=True)


def test_the_test_set_fits_a_v100_in_float32(manifest: Manifest) -> None:
    """50,000 x 36 passes of 50.9 and 59.4 GFLOP at 7.07 TFLOP/s, less the frames that are missing, in hours."""
    [full, *_] = profile_table(load_workload("test_set"), published(manifest), load_profile("v100"))
    assert (full.ensemble, full.precision, full.level) == (Effort.FULL, Precision.FLOAT32, LOW)
    assert full.seconds / 3600 == pytest.approx(50_000 * 36 * 55e9 / 7.07e12 / 3600, rel=0.15)
    assert full.fits(8 * 3600)


def test_a_verdict_names_the_numbers_that_turn_it(manifest: Manifest) -> None:
    counted, season, profile = published(manifest), load_workload("season11"), load_profile("v100")
    verdict = next(one for one in profile_table(season, counted, profile)
                   if (one.ensemble, one.precision, one.level) == (Effort.FULL, Precision.MIXED, LOW))  # fmt: skip
    budget = verdict.seconds / 0.95 * 1.05  # fits with a little to spare
    decisive = decisive_assumptions(season, counted, profile, verdict, budget)
    assert [one.name for one in decisive] == ["mixed low"]
    [share] = decisive
    for factor, fits in ((1.02, True), (0.98, False)):
        changed = profile.with_value(("mixed", "low"), share.turns_at * factor)
        rates_there = profile_rates(changed, counted, Precision.MIXED, LOW)
        there = project(season, counted, rates_there, ensemble=Effort.FULL, precision=Precision.MIXED, level=LOW)
        assert there.fits(budget) is fits
    assert decisive_assumptions(season, counted, profile, verdict, 10 * verdict.seconds) == []
    cores = decisive_assumptions(season, counted, profile.with_value(("photo_core_seconds",), 1.0), verdict, budget)
    assert {"photo core seconds", "cores"} <= {one.name for one in cores}


def test_a_plan_leaves_the_margin_of_a_run_with_a_budget_unused(manifest: Manifest) -> None:
    one = project(
        workload({"1": 1.0}), manifest, rates(), ensemble=Effort.FULL, precision=Precision.FLOAT32, level="low"
    )
    assert one.fits(one.seconds / 0.95 + 0.01)
    assert not one.fits(one.seconds / 0.95 - 0.01)
