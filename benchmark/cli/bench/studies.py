"""`hakuna bench`: studies behind committed figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmark.studies import scaling
from benchmark.studies.neighbourhood_speed import measure_neighbours
from benchmark.timing.harness import n_workers
from inference.core.files import write_json

if TYPE_CHECKING:
    pass
from benchmark.cli.bench.request import BACKBONE, BenchRequest, photos_of, show_figures, with_parent_folder, work_folder


def time_decoders(request: BenchRequest) -> dict[str, Any]:
    """Every decoder beside Pillow. Raises UsageError without photos."""
    from benchmark.studies.decoders import compare_decoders

    return show_figures(compare_decoders(photos_of(request), request.command), request.json_file)


def time_against_published(request: BenchRequest) -> dict[str, Any]:
    """Ours beside the published program's way of working. Raises UsageError without photos."""
    from benchmark.studies.against_published import compare

    with work_folder(request.work) as work:
        figures = compare(
            photos_of(request),
            recipe_name=request.recipe,
            application=request.application or BACKBONE,
            work=work,
            command=request.command,
        )
    return show_figures(figures, request.json_file)


def time_training(request: BenchRequest) -> dict[str, Any]:
    """Images per second of training."""
    from benchmark.studies.training_throughput import APPLICATION, measure_training

    with work_folder(request.work) as work:
        figures = measure_training(work, n_workers(), request.command, request.application or APPLICATION)
    return show_figures(figures, request.json_file)


def time_scaling(request: BenchRequest, plots: Path | None) -> dict[str, Any]:
    """Time and memory against the number of sequences."""
    with work_folder(request.work) as work:
        figures = show_figures(scaling.measure_scaling(work, request.command), request.json_file)
    if plots:
        plots.mkdir(parents=True, exist_ok=True)
        scaling.plot(figures, plots / "scaling.svg")
    return figures


def run_ablation_study(request: BenchRequest, plots: Path | None, *, mini: bool) -> dict[str, Any]:
    """The published solution step by step; `--work` keeps what is done."""
    from benchmark.ablation.plan import FULL, MINI
    from benchmark.ablation.report import markdown, write_report
    from benchmark.ablation.study import run_ablation

    with work_folder(request.work) as work:
        figures = run_ablation(work, MINI if mini else FULL, n_workers(), request.command)
    print(markdown(figures))  # noqa: T201  # a table in Markdown, to be copied: lines must not be broken
    if request.json_file:
        write_json(figures, with_parent_folder(request.json_file))
    if plots:
        write_report(figures, plots)
    return figures


def train_demo_bundle(request: BenchRequest, out: Path) -> None:
    """The bundle of `hakuna demo`."""
    from benchmark.ablation.demo_bundle import make_demo_bundle

    with work_folder(request.work) as work:
        bundle = make_demo_bundle(work, out, request.command, n_workers())
    Console().print(f"bundle {bundle.id[:12]} -> {bundle.folder}", highlight=False)


def time_neighbours(request: BenchRequest) -> dict[str, Any]:
    """Seconds and memory of finding the neighbours of all public seasons."""
    return show_figures(measure_neighbours(request.command), request.json_file)
