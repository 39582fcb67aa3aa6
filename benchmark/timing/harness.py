"""A timing run: set up, interleave stages, report. Its measurements can serve as the rates of a projection."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmark.provenance import origin
from benchmark.timing import report
from benchmark.timing.measure import Spread, Stage, Times, interleave, spread
from benchmark.timing.reference_kernels import reference_kernels
from benchmark.timing.repeated_season import write_repeated_season
from benchmark.timing.stages import TimingScene
from inference.bundle.reader import Bundle
from inference.core.errors import HakunaError
from inference.core.sequences import ImageSize

SEED = 1
PHOTO = ImageSize(480, 640)
"""Size of the single photo for timing a start-up."""


CHILD = """
import json, re, resource
import hakuna
try:
    hakuna.main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
    print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "peak_kb": int(peak[1])}))
"""
"""The command, followed by its resource usage. VmHWM, because ru_maxrss starts at the size of the parent."""


class PredictError(HakunaError):
    """`hakuna predict` did not exit with 0, so there is nothing to measure."""


class PredictCost(NamedTuple):
    """Resources used by one `hakuna predict`, including the start of the process."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Harness:
    """A scene with its stages, which can be timed any number of times."""

    scene: TimingScene
    stages: list[Stage]
    command: str

    def time(
        self,
        repeats: int,
        startup: Spread | None = None,
        only: Collection[str] | None = None,
        on_round: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> report.BenchReport:
        """Time all stages, or only the named ones."""
        stages = [stage for stage in self.stages if only is None or stage.name in only]
        times, kernel_seconds = interleave(stages, reference_kernels(), repeats, on_round)
        scene, manifest = self.scene, self.scene.bundle.manifest
        return report.BenchReport(
            schema_version=report.SCHEMA_VERSION,
            **origin(self.command),
            bundle=report.BundleFigures(
                name=manifest.name, id=scene.bundle.id, demo=manifest.demo, frames=manifest.n_frames
            ),
            settings=report.SettingFigures(
                repeats=repeats,
                workers=scene.work.n_workers,
                batch_size=scene.work.options.batch_size,
                decoder=scene.work.decoder.name.value,
                engine=str(scene.engine),
                device=scene.engine.device,
                images_per_call=max(one.max_call_images for one in scene.networks.values()),
            ),
            startup_seconds=startup,
            kernels=tuple(
                report.KernelFigures(name=one.value, seconds=spread(each)) for one, each in kernel_seconds.items()
            ),
            stages=tuple(_figures(stage, times[stage.name]) for stage in stages),
        )


def _figures(stage: Stage, times: Times) -> report.StageFigures:
    seconds = spread(times.seconds)
    return report.StageFigures(
        **{name: value for name, value in vars(stage).items() if name != "work"},
        seconds=seconds,
        per_second=stage.n_units / seconds.median,
        load=spread(times.loads).median,
        ratio=spread(times.ratios),
        cpu_ratio=spread(times.cpu_ratios),
        kernel_load=spread(times.kernel_loads).median,
    )


def time_startup(bundle: Bundle, folder: Path, repeats: int, *options: str) -> Spread:
    """Wall time of `hakuna predict` on a single small photo, in a separate process; one run warms up."""
    data = folder / "one"
    write_repeated_season(data, [(PHOTO, 1)], SEED)
    runs = [run_predict(data, bundle.folder, folder / f"startup{number}", *options) for number in range(repeats + 1)]
    return spread([one.seconds for one in runs[1:]])


def run_predict(
    data: Path, bundle: Path, out: Path, *options: object, most_seconds: float | None = None
) -> PredictCost:
    """Run `hakuna predict` in a separate process. Raises PredictError with the end of its error output."""
    command = predict_command(data, bundle, out, *options)
    start = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=most_seconds)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise PredictError(f"hakuna predict: must end within {most_seconds:g} s, got no end") from error
    seconds = time.perf_counter() - start
    if done.returncode:
        raise PredictError(f"hakuna predict: must end with 0, got {done.returncode}: {done.stderr[-500:]}")
    needed = json.loads(done.stdout.splitlines()[-1])
    return PredictCost(seconds, needed["cpu"], needed["peak_kb"] / 1024)


def predict_command(data: Path, bundle: Path, out: Path, *options: object) -> list[str]:
    """A command for a process of its own that runs `hakuna predict` and prints its resource usage."""
    words = ("predict", data, "--bundle", bundle, "--out", out, "--log-format", "json", *options)
    return [sys.executable, "-c", CHILD, *map(str, words)]


def default_sizes(*, short: bool) -> list[tuple[ImageSize, int]]:
    """Default photos to time: the sizes of the seasons."""
    sizes = [ImageSize(1536, 2048)] if short else [ImageSize(1536, 2048), ImageSize(1920, 2560)]
    return [(size, 3) for size in sizes for _ in range(2)]


def n_workers() -> int:
    """Default number of decoding threads: one per core."""
    return len(os.sched_getaffinity(0))
