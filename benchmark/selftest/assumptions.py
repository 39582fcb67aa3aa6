"""Compares the numbers of a device profile with those that were measured on such a device."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmark.capacity.device_profiles import HIGH, LOW, TERA, Profile
from benchmark.timing.report import BenchReport, StageFigures
from inference.bundle.manifest import Manifest
from inference.core.choices import Precision

TOLERANCE = 0.25
"""Up to this relative difference a single number holds."""
HOLDS, BETTER, WORSE = "holds", "better than assumed", "worse than assumed"


def network_rates(report: BenchReport) -> list[dict[str, Any]]:
    """Images per second of every network at every size, precision and size of a call."""
    return [
        {
            "network": one.network,
            "size": f"{one.height}x{one.width}",
            "precision": one.precision,
            "images_per_call": one.n_units,
            "images_per_second": round(one.per_second, 2),
        }
        for one in report.of_group("network")
    ]


def decisions(report: BenchReport, manifest: Manifest, profile: Profile) -> list[dict[str, Any]]:
    """The verdict of the measurements on each number of a profile, with both values."""
    measured = dict(_measured(report, manifest, profile))
    decided = []
    for precision in Precision:
        arithmetic = profile.arithmetic(precision)
        share = measured.get(f"{precision} share")
        low, high = arithmetic.low.value, arithmetic.high.value
        verdict = None if share is None else WORSE if share < low else BETTER if share > high else HOLDS
        decided.append(_decision(f"{precision} {LOW} to {HIGH}", f"{low:g} to {high:g}", share, verdict))
    for path, number in profile.assumptions():
        if len(path) > 1:
            continue
        [name] = path
        found = measured.get(name)
        verdict = None
        if found is not None:
            factor = found / number.value if name in ("cores", "bus_gb_per_second") else number.value / found
            verdict = HOLDS if abs(factor - 1) <= TOLERANCE else BETTER if factor > 1 else WORSE
        decided.append(_decision(name.replace("_", " "), f"{number.value:g}", found, verdict))
    return decided


def _decision(name: str, assumed: str, measured: float | None, verdict: str | None) -> dict[str, Any]:
    return {
        "assumption": name,
        "assumed": assumed,
        "measured": None if measured is None else float(f"{measured:.3g}"),
        "verdict": verdict or "not settled",
    }


def _measured(report: BenchReport, manifest: Manifest, profile: Profile) -> Iterator[tuple[str, float]]:
    """Measured numbers by name."""
    for precision in Precision:
        stages = [one for one in report.of_group("network") if one.precision == precision.value]
        if stages:
            peak = profile.arithmetic(precision).peak_tflops.value * TERA
            yield f"{precision} share", _operations_per_second(stages, manifest) / peak
    float32 = [one for one in report.of_group("network") if one.precision == Precision.FLOAT32.value]
    if float32:
        yield "call_seconds", _fixed_seconds(float32)
    photos = next((one for one in report.of_group("photos") if one.n_frames and one.n_frames > 1), None)
    if photos and photos.n_frames:
        yield "photo_core_seconds", photos.seconds.median * report.settings.workers / (photos.n_units * photos.n_frames)
    yield "cores", float(report.settings.workers)
    if report.startup_seconds:
        yield "startup_seconds", report.startup_seconds.median
    finish = next((one for one in report.of_group("finish") if one.name == "records to submission"), None)
    if finish:
        yield "postprocess_seconds_per_sequence", finish.seconds.median / finish.n_units


def _operations_per_second(stages: list[StageFigures], manifest: Manifest) -> float:
    """Rate over all networks and sizes in their largest calls."""
    counts = {
        (network.name, size.height, size.width): operations
        for network in manifest.networks
        for size, operations in zip(network.sizes, network.operations, strict=True)
    }
    most = max(one.n_units for one in stages)
    largest = [one for one in stages if one.n_units == most]
    done = sum(one.n_units * counts[str(one.network), int(one.height or 0), int(one.width or 0)] for one in largest)
    return done / sum(one.seconds.median for one in largest)


def _fixed_seconds(stages: list[StageFigures]) -> float:
    """Seconds of a call without any image: the median over networks and sizes of a line through their calls, not below 0."""
    same: dict[tuple[Any, ...], list[StageFigures]] = {}
    for one in stages:
        same.setdefault((one.network, one.height, one.width), []).append(one)
    starts = [
        float(np.polyfit([one.n_units for one in each], [one.seconds.median for one in each], 1)[1])
        for each in same.values()
    ]
    return max(0.0, float(np.median(starts)))
