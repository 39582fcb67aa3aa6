"""A timing run: set up, interleave stages, report. What it measured can be turned into the rates of a projection."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from benchmark.provenance import origin
from benchmark.timing.measure import Spread, Stage, Times, interleave, spread
from benchmark.timing.reference_kernels import reference_kernels
from benchmark.timing.repeated_season import write_repeated_season
from benchmark.timing.report import (
    SCHEMA_VERSION,
    BenchReport,
    BundleFigures,
    KernelFigures,
    SettingFigures,
    StageFigures,
)
from benchmark.timing.stages import TimingScene, all_stages
from inference.bundle.reader import Bundle
from inference.core.errors import HakunaError
from inference.core.sequences import ImageSize

SEED = 1
PHOTO = ImageSize(480, 640)
"""Of the single photo that a start-up sees."""


class StartupError(HakunaError):
    """`hakuna predict` did not come to its end."""


@dataclass(frozen=True)
class Harness:
    """A scene and its stages, ready to be timed, any number of times."""

    scene: TimingScene
    stages: list[Stage]
    command: str

    @classmethod
    def of(cls, scene: TimingScene, images_per_call: tuple[int, ...], command: str) -> Harness:
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
        times, kernel_seconds = interleave(stages, reference_kernels(), repeats, on_round)
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
            kernels=tuple(
                KernelFigures(name=one.value, seconds=spread(seconds)) for one, seconds in kernel_seconds.items()
            ),
            stages=tuple(_figures(stage, times[stage.name]) for stage in stages),
        )


def _figures(stage: Stage, times: Times) -> StageFigures:
    seconds = spread(times.seconds)
    return StageFigures(
        **{name: value for name, value in vars(stage).items() if name != "work"},
        seconds=seconds,
        per_second=stage.n_units / seconds.median,
        load=spread(times.loads).median,
        ratio=spread(times.ratios),
        cpu_ratio=spread(times.cpu_ratios),
        kernel_load=spread(times.kernel_loads).median,
    )


def time_startup(bundle: Bundle, folder: Path, repeats: int, *options: str) -> Spread:
    """Wall time of `hakuna predict` on a single small photo, in a process of its own; one run warms up."""
    data = folder / "one"
    write_repeated_season(data, [(PHOTO, 1)], SEED)
    seconds = [time_predict(data, bundle, folder / f"startup{number}", *options) for number in range(repeats + 1)]
    return spread(seconds[1:])


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


def default_sizes(*, short: bool) -> list[tuple[ImageSize, int]]:
    """Photos to time with where none are given: the sizes of the seasons."""
    sizes = [ImageSize(1536, 2048)] if short else [ImageSize(1536, 2048), ImageSize(1920, 2560)]
    return [(size, 3) for size in sizes for _ in range(2)]


def n_workers() -> int:
    """Decoding threads where none are asked for: one per core."""
    return len(os.sched_getaffinity(0))
