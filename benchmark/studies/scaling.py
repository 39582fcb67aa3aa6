"""Tests whether a run scales linearly: time and memory of whole runs of a hundred to ten thousand sequences.

It uses the published ensemble's outputs and stackers, but tiny networks on small views, and a few photos shared by all
sequences. So it measures everything except the networks: start, reading, queues, records, aggregation, stackers,
submission.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from benchmark.provenance import origin
from benchmark.synthetic.season import write_season
from benchmark.timing.harness import run_predict
from inference.bundle.manifest import Size
from inference.core.files import atomic_csv, atomic_writer
from inference.core.sequences import ImageSize
from inference.dataset.metadata import METADATA_COLUMNS, METADATA_NAME, read_metadata
from models.bundling.untrained import untrained_bundle
from models.spec.recipe import Recipe, load_recipe

log = structlog.get_logger()

RECIPE = "third_place"
COUNTS = (100, 300, 1_000, 3_000, 10_000)
"""Sequences of each run."""
SMALL, LARGE = 1_000, 10_000
"""The two runs to compare, if both were made."""
REPEATS = 3
"""Runs of each count, in alternation; the median counts."""
PHOTO_SIZE = ImageSize(480, 640)
N_BURSTS = 12
"""Number of different bursts; every metadata row refers to a photo of one of them."""
N_CAMERAS = 3
SEED = 1
BATCH_SIZE = 8
VIEW_SHRINK = 4
"""Factor by which each side of the views is smaller than the published one."""
DIGITS = 4


@dataclass(frozen=True)
class Run:
    """Time and memory of one `hakuna predict`, including the start of the process."""

    sequences: int
    seconds: float
    cpu_seconds: float
    peak_mb: float


def measure_scaling(
    folder: Path, command: str, counts: Sequence[int] = COUNTS, repeats: int = REPEATS
) -> dict[str, Any]:
    """Run `hakuna predict` on every number of sequences, in separate processes; returns figures ready for JSON."""
    data = folder / "data"
    write_season(data, n_sequences=N_BURSTS, n_cameras=N_CAMERAS, size=PHOTO_SIZE, seed=SEED)
    recipe = small_recipe()
    bundle = untrained_bundle(folder / "bundle", recipe, SEED)
    for count in counts:
        write_metadata(data, count)
    _run(data, bundle.folder, folder / "out", min(counts))  # warms caches
    rounds = [[_run(data, bundle.folder, folder / "out", count) for count in counts] for _ in range(repeats)]
    runs = [_median(list(same)) for same in zip(*rounds, strict=True)]
    return {
        "photo_size": str(PHOTO_SIZE),
        "repeats": repeats,
        "runs": [asdict(run) for run in runs],
        **growth(runs),
        **origin(command),
    }


def small_recipe() -> Recipe:
    """The published ensemble with small views."""
    recipe = load_recipe(RECIPE)

    def small(size: Size) -> Size:
        return Size(height=size.height // VIEW_SHRINK, width=size.width // VIEW_SHRINK)

    networks = tuple(one.model_copy(update={"sizes": tuple(map(small, one.sizes))}) for one in recipe.networks)
    return recipe.model_copy(update={"networks": networks})


def write_metadata(data: Path, n_sequences: int) -> Path:
    """Write the metadata of a season of `n_sequences` bursts, which refer to the photos in `data`."""
    bursts = list(read_metadata(data / METADATA_NAME).sequences.values())
    path = _metadata_path(data, n_sequences)
    with atomic_csv(path) as rows:
        rows.writerow(METADATA_COLUMNS)
        for number in range(n_sequences):
            burst = bursts[number % len(bursts)]
            rows.writerows([f"{number:06d}", image.datetime, image.file_name] for image in burst.images)
    return path


def growth(runs: Sequence[Run]) -> dict[str, Any]:
    """Growth of time and memory: a line through the seconds, and the largest run against one of a tenth of its size."""
    figures: dict[str, Any] = {
        "fit": fit([run.sequences for run in runs], [run.seconds for run in runs]),
        "fit_cpu": fit([run.sequences for run in runs], [run.cpu_seconds for run in runs]),
    }
    by_count = {run.sequences: run for run in runs}
    if SMALL in by_count and LARGE in by_count:
        small, large = by_count[SMALL], by_count[LARGE]
        ratio = (large.seconds / large.sequences) / (small.seconds / small.sequences)
        figures["seconds_per_sequence_10000_over_1000"] = round(ratio, DIGITS)
        figures["peak_growth_mb_1000_to_10000"] = round(large.peak_mb - small.peak_mb, 1)
    return figures


def fit(counts: Sequence[int], seconds: Sequence[float]) -> dict[str, float]:
    """Fit seconds = start + each x sequences, with relative residuals; also returns the largest residual."""
    each, start = np.polyfit(counts, seconds, 1, w=1 / np.asarray(seconds))
    residuals = np.abs(start + each * np.asarray(counts) - seconds) / np.asarray(seconds)
    return {
        "start_seconds": round(float(start), DIGITS),
        "milliseconds_per_sequence": round(1000 * float(each), DIGITS),
        "largest_relative_residual": round(float(residuals.max()), DIGITS),
    }


def plot(figures: dict[str, Any], path: Path) -> None:
    """Draw seconds and memory over sequences as an SVG that is readable on light and dark backgrounds."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    grey, line = "#808080", "#d9730d"
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), grey)
    style: dict[Any, Any] = {**colours, "svg.hashsalt": "hakuna", "axes.spines.top": False, "axes.spines.right": False}
    counts = [run["sequences"] for run in figures["runs"]]
    with mpl.rc_context(style):
        drawing = Figure(figsize=(9, 3.6), layout="constrained")
        time_axes, memory_axes = drawing.subplots(1, 2)
        found = figures["fit"]
        between = np.geomspace(min(counts), max(counts))
        fitted = found["start_seconds"] + found["milliseconds_per_sequence"] / 1000 * between
        label = f"{found['start_seconds']:.1f} s + {found['milliseconds_per_sequence']:.1f} ms x sequences"
        time_axes.loglog(between, fitted, color=grey, linestyle="--", label=label)
        time_axes.loglog(counts, [run["seconds"] for run in figures["runs"]], "o", color=line, label="measured")
        time_axes.set(title="Time of a whole run", ylabel="seconds")
        time_axes.yaxis.set_major_formatter("{x:g}")
        time_axes.legend(frameon=False)
        megabytes = [run["peak_mb"] for run in figures["runs"]]
        memory_axes.semilogx(counts, megabytes, "o-", color=line)
        memory_axes.set(title="Peak memory", ylabel="MB", ylim=(0, 1.2 * max(megabytes)))
        for axes in (time_axes, memory_axes):
            axes.set_xlabel("sequences")
            axes.set_xticks(counts, [f"{count:,}" for count in counts])
            axes.minorticks_off()
            axes.grid(color=grey, alpha=0.25)
        with atomic_writer(path) as file:
            drawing.savefig(file, format="svg", transparent=True, metadata={"Date": None})


def _run(data: Path, bundle: Path, out: Path, n_sequences: int) -> Run:
    metadata = _metadata_path(data, n_sequences)
    options = ("--restart", "--metadata", metadata, "--format", "none", "--batch-size", BATCH_SIZE)
    needed = run_predict(data, bundle, out, *options)
    run = Run(n_sequences, round(needed.seconds, 3), round(needed.cpu_seconds, 3), round(needed.peak_mb, 1))
    log.info("measured a run", **asdict(run))
    return run


def _metadata_path(data: Path, n_sequences: int) -> Path:
    return data / f"metadata_{n_sequences}.csv"


def _median(runs: Sequence[Run]) -> Run:
    _, *columns = zip(*map(astuple, runs), strict=True)
    return Run(runs[0].sequences, *map(statistics.median, columns))
