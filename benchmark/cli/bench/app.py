"""`hakuna bench`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from inference.bundle.passes import Effort
from inference.core.choices import Precision
from inference.core.errors import UsageError


class Against(StrEnum):
    """What ours is timed against."""

    PUBLISHED = "published"
    """The whole prediction against the published program's way of working."""
    PILLOW = "pillow"
    """Every decoder against Pillow, on one core."""


class EnsembleName(StrEnum):
    """Ensembles on the command line: the order in which a run short of time degrades."""

    FULL = "full"
    NO_LARGE_TTA = "no-large-tta"
    NO_TTA = "no-tta"
    ONE_SIZE = "one-size"
    FIRST_NETWORK = "first-network"


def bench(
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder with photos, test_metadata.csv and submission_format.csv; default: drawn photos."),
    ] = None,
    against: Annotated[
        Against | None, typer.Option(help="Side by side with the published program's way of working, or with Pillow.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Model bundle; default: untrained networks.")] = None,
    application: Annotated[
        str | None,
        typer.Option(
            help="Backbone of untrained networks: 'tiny' (default for timings here), or one in keras.applications "
            "(default elsewhere: InceptionResNetV2)."
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(help="Ensemble to run.")] = "third_place",
    workload: Annotated[str | None, typer.Option(help="Project this workload: season11, ... or a .toml file.")] = None,
    budget: Annotated[str | None, typer.Option(help="Exit with 11 if the workload does not fit: 8h, 90m.")] = None,
    device_profile: Annotated[
        str | None, typer.Option(help="Project on a device that is not here: v100, a100 or a .toml file.")
    ] = None,
    ensemble: Annotated[
        EnsembleName, typer.Option(help="What has to fit: everything, or what a run short of time falls back to.")
    ] = EnsembleName.FULL,
    precision: Annotated[Precision, typer.Option(help="What has to fit.")] = Precision.FLOAT32,
    short: Annotated[bool, typer.Option("--short", help="Few repeats, float32 only, one size of photos: for CI.")] = (
        False
    ),
    repeats: Annotated[int | None, typer.Option(min=1, help="Repeats of every stage; default 9, 7 with --short.")] = (
        None
    ),
    compare: Annotated[Path | None, typer.Option(help="Exit with 11 if a stage is slower than in this report.")] = None,
    max_regression: Annotated[
        float, typer.Option(min=1.0, help="How many times slower, relative to its calibration kernel.")
    ] = 1.3,
    plots: Annotated[Path | None, typer.Option(help="Write plots (SVG) into this folder; needs Matplotlib.")] = None,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Time and memory of whole runs of 100 to 10,000 synthetic sequences.")
    ] = False,
    validate: Annotated[
        int | None, typer.Option(min=10, metavar="SEQUENCES", help="Project three workloads, run them, compare.")
    ] = None,
    try_gate: Annotated[
        bool, typer.Option("--try-gate", help="Try --compare with slowed stages and on a busy machine.")
    ] = False,
    ladder: Annotated[
        bool, typer.Option("--ladder", help="The published solution step by step, on synthetic seasons (an hour).")
    ] = False,
    mini: Annotated[bool, typer.Option("--mini", help="With --ladder: one seed, as small as it works.")] = False,
    demo_bundle: Annotated[
        Path | None, typer.Option(help="Train the demo bundle on synthetic seasons, into this folder.")
    ] = None,
    neighbours: Annotated[
        bool, typer.Option("--neighbours", help="Time finding the neighbours of every public sequence, and its memory.")
    ] = False,
    history: Annotated[
        Path | None, typer.Option(help="Draw all figures of this folder into its index.html; needs Matplotlib.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Keep the figures in this file.")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Keep networks, bundle and photos in this folder, and use them again.")
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="Images per second of training, of its input and of its steps.")
    ] = False,
) -> None:
    """Time every stage of a run; project a workload; tell what has become slower, or does not fit (exit 11).

    Examples:
        hakuna bench --bundle bundles/third_place --json bench.json --plots plots

        hakuna bench --short --compare benchmark/results/baseline.json --max-regression 1.3

        hakuna bench --workload season11 --budget 8h --device-profile v100 --precision mixed

        hakuna bench /data --against published --json benchmark/results/against_published.json

        hakuna bench --training --json benchmark/results/training.json

        hakuna bench --scaling --json benchmark/results/scaling.json --plots benchmark/results
    """
    from inference.settings.logs import configure_logging

    configure_logging("auto")
    if (budget or device_profile) and not workload:
        raise UsageError("--budget, --device-profile: must come with --workload")
    if mini and not ladder:
        raise UsageError("--mini: must come with --ladder")
    from benchmark.cli.bench import planning, studies, timing
    from benchmark.cli.bench import request as request_module

    request = request_module.BenchRequest(
        data=data,
        bundle=bundle,
        application=application,
        recipe=recipe,
        short=short,
        repeats=repeats,
        work=work,
        json_file=json_file,
        command=_command_line(),
    )

    def time_against() -> object:
        is_pillow = against is Against.PILLOW
        return studies.time_decoders(request) if is_pillow else studies.time_against_published(request)

    def project() -> None:
        chosen = Effort[ensemble.name]
        planning.project_workload(request, str(workload), _seconds(budget), device_profile, chosen, precision)

    modes: dict[str, tuple[bool, Callable[[], object]]] = {
        "--against": (against is not None, time_against),
        "--workload": (workload is not None, project),
        "--scaling": (scaling, lambda: studies.time_scaling(request, plots)),
        "--validate": (validate is not None, lambda: planning.validate_projections(request, validate or 0)),
        "--try-gate": (try_gate, lambda: timing.try_gate(request)),
        "--ladder": (ladder, lambda: studies.run_ablation_study(request, plots, mini=mini)),
        "--demo-bundle": (
            demo_bundle is not None,
            lambda: studies.train_demo_bundle(request, demo_bundle or Path()),
        ),
        "--training": (training, lambda: studies.time_training(request)),
        "--neighbours": (neighbours, lambda: studies.time_neighbours(request)),
        "--history": (history is not None, lambda: planning.draw_history(history or Path())),
        "--compare": (compare is not None, lambda: timing.time_stages(request, plots, compare, max_regression)),
    }
    given = [name for name, (is_given, _) in modes.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"{', '.join(given)}: at most one of them must be given")
    modes[given[0] if given else "--compare"][1]()


def _seconds(budget: str | None) -> float | None:
    """A duration of the command line in seconds. Raises UsageError."""
    from inference.settings.units import seconds_of

    try:
        seconds = seconds_of(budget)
    except ValueError as error:
        raise UsageError(f"--budget: {error}, got {budget!r}") from error
    return float(str(seconds)) if seconds else None


def _command_line() -> str:
    """The command as a reader can repeat it: folders of this machine are left out."""
    words = ["hakuna"]
    for word in sys.argv[1:]:
        path = Path(word)
        words.append(path.name if path.is_absolute() else word)
    return " ".join(words)
