"""A timing run: set up, take turns, report. What it measured can be turned into the rates of a projection."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmark.bench_report import (
    SCHEMA_VERSION,
    BenchReport,
    BundleFigures,
    KernelFigures,
    SettingFigures,
    StageFigures,
)
from benchmark.calibration import calibration_kernels
from benchmark.machine import origin
from benchmark.projection import Rates
from benchmark.repeated_season import write_repeated_season
from benchmark.stages import Scene, all_stages
from benchmark.timing import Stage, Times, spread, take_turns
from inference.domain import HakunaError, ImageSize, Precision, UsageError
from inference.engines import CPU

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from benchmark.timing import Spread
    from inference.bundle import Bundle

SEED = 1
PHOTO = ImageSize(480, 640)
"""Of the single photo that a start-up sees."""


class StartupError(HakunaError):
    """`hakuna predict` did not come to its end."""


@dataclass(frozen=True)
class Harness:
    """A scene and its stages, ready to be timed, any number of times."""

    scene: Scene
    stages: list[Stage]
    command: str

    @classmethod
    def of(cls, scene: Scene, images_per_call: tuple[int, ...], command: str) -> Harness:
        """Make the stages of a scene."""
        return cls(scene, all_stages(scene, images_per_call), command)

    def time(
        self,
        repeats: int,
        startup: Spread | None = None,
        only: Collection[str] | None = None,
        on_round: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> BenchReport:
        """Time the stages, or only those named."""
        stages = [stage for stage in self.stages if only is None or stage.name in only]
        times, kernel_seconds = take_turns(stages, calibration_kernels(), repeats, on_round)
        scene, manifest = self.scene, self.scene.bundle.manifest
        return BenchReport(
            schema_version=SCHEMA_VERSION,
            **origin(self.command),
            bundle=BundleFigures(name=manifest.name, id=scene.bundle.id, demo=manifest.demo, frames=manifest.n_frames),
            settings=SettingFigures(
                repeats=repeats,
                workers=scene.work.n_workers,
                batch_size=scene.work.options.batch_size,
                decoder=scene.work.decoder.name.value,
                engine=str(scene.engine),
                device=scene.engine.device,
                images_per_call=scene.engine.call_images,
            ),
            startup_seconds=startup,
            kernels=tuple(KernelFigures(name=name, seconds=spread(one)) for name, one in kernel_seconds.items()),
            stages=tuple(_figures(stage, times[stage.name]) for stage in stages),
        )


def _figures(stage: Stage, times: Times) -> StageFigures:
    seconds = spread(times.seconds)
    return StageFigures(
        name=stage.name,
        group=stage.group,
        unit=stage.unit,
        n_units=stage.n_units,
        seconds=seconds,
        per_second=stage.n_units / seconds.median,
        load=spread(times.loads).median,
        kernel=stage.kernel,
        ratio=spread(times.ratios),
        cpu_ratio=spread(times.cpu_ratios),
        kernel_load=spread(times.kernel_loads).median,
        height=stage.height,
        width=stage.width,
        n_frames=stage.n_frames,
        network=stage.network,
        precision=stage.precision,
    )


def time_startup(bundle: Bundle, folder: Path, repeats: int, *options: str) -> Spread:
    """Wall time of `hakuna predict` on a single small photo, in a process of its own."""
    write_repeated_season(folder / "one", [(PHOTO, 1)], SEED)
    return spread(
        [time_predict(folder / "one", bundle, folder / f"startup{number}", *options) for number in range(repeats + 1)][
            1:
        ]
    )


def time_predict(data: Path, bundle: Bundle, out: Path, *options: str) -> float:
    """Wall time of `hakuna predict` in a process of its own. Raises StartupError with its last words."""
    command = [sys.executable, "-m", "hakuna", "predict", str(data), "--bundle", str(bundle.folder), "--out", str(out)]
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603  # this very program
        [*command, "--log-format", "json", *options], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise StartupError(f"hakuna predict: must end with 0, got {done.returncode}: {done.stderr[-500:]}")
    return seconds


def measured_rates(report: BenchReport, precision: Precision) -> Rates:
    """What a timing run says about the parts of a run. Raises UsageError where it did not time them."""
    networks = [one for one in report.of_group("network") if one.precision == precision.value]
    if not networks or report.startup_seconds is None:
        raise UsageError(f"projection: must have start-up and networks in {precision.value} timed, got none")
    finish = {one.name: one.seconds.median / one.n_units for one in report.of_group("finish")}
    return Rates(
        startup=report.startup_seconds.median,
        call=_Calls(networks).seconds,
        photos=_Photos(report.of_group("photos")).seconds,
        network_load=1.0 if report.settings.device == CPU else _busy(networks),
        other_per_sequence=finish["write records"],
        finish_per_sequence=finish["records to submission"],
        sequences_per_batch=report.settings.batch_size,
        images_per_call=report.settings.images_per_call,
    )


def _busy(networks: list[StageFigures]) -> float:
    """Share of all cores that the networks keep busy, 0-1."""
    return sum(one.load * one.seconds.median for one in networks) / sum(one.seconds.median for one in networks)


class _Calls:
    """Seconds of a call with any number of images, between those that were timed."""

    def __init__(self, stages: list[StageFigures]) -> None:
        self._points: dict[tuple[str, int, int], list[tuple[int, float]]] = {}
        for one in stages:
            key = (str(one.network), int(one.height or 0), int(one.width or 0))
            self._points.setdefault(key, []).append((one.n_units, one.seconds.median))

    def seconds(self, network: str, size: ImageSize, n_images: int) -> float:
        points = sorted(self._points[network, size.height, size.width])
        counts, seconds = [count for count, _ in points], [one for _, one in points]
        if n_images > counts[-1]:
            return seconds[-1] * n_images / counts[-1]
        return float(np.interp(n_images, counts, seconds))


class _Photos:
    """Seconds of a sequence from its files to its views; sizes that were not timed by their number of pixels."""

    def __init__(self, stages: list[StageFigures]) -> None:
        self._seconds: dict[ImageSize, dict[int, float]] = {}
        for one in stages:
            if one.n_frames and one.height and one.width:
                by_frames = self._seconds.setdefault(ImageSize(one.height, one.width), {})
                by_frames[one.n_frames] = one.seconds.median / one.n_units

    def seconds(self, size: ImageSize, n_frames: int) -> float:
        nearest = min(self._seconds, key=lambda one: abs(one.height * one.width - size.height * size.width))
        frames = sorted(self._seconds[nearest])
        seconds = [self._seconds[nearest][one] for one in frames]
        pixels = size.height * size.width / (nearest.height * nearest.width)
        return pixels * float(np.interp(n_frames, frames, seconds))


def default_sizes(*, short: bool) -> list[tuple[ImageSize, int]]:
    """Photos to time with where none are given: the sizes of the seasons."""
    sizes = [ImageSize(1536, 2048)] if short else [ImageSize(1536, 2048), ImageSize(1920, 2560)]
    return [(size, 3) for size in sizes for _ in range(2)]


def n_workers() -> int:
    """Decoding threads unless told: one per core."""
    return len(os.sched_getaffinity(0))
