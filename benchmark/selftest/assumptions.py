"""Compares the numbers of a device profile with those that were measured on such a device."""

import math
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
            more_is_better = name in ("cores", "bus_gb_per_second")
            factor = found / number.value if more_is_better else number.value / found if found else math.inf
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
    if (on_one_core := _photo_seconds(report)) is not None:
        yield "photo_core_seconds", on_one_core
    if cores := report.machine.get("cores"):
        yield "cores", float(cores)
    if report.startup_seconds:
        yield "startup_seconds", report.startup_seconds.median
    finish = next((one for one in report.of_group("finish") if one.name == "records to submission"), None)
    if finish:
        yield "postprocess_seconds_per_sequence", finish.seconds.median / finish.n_units


def _photo_seconds(report: BenchReport) -> float | None:
    """Seconds of one core for one photo with the decoder `fast`, whatever decoder a run would use; None if not timed."""
    decoding = [one for one in report.of_group("photos") if one.unit == "photos"]
    views = [one for one in report.of_group("views") if one.n_frames and one.n_frames > 1]
    if not decoding or not views:
        return None
    seconds = sum(one.seconds.median / one.n_units for one in decoding)
    return seconds + views[0].seconds.median / (views[0].n_frames or 1)


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
