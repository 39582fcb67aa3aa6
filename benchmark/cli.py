"""`hakuna score`, `hakuna synth`, `hakuna demo`, `hakuna bench`."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inference.domain import Effort, Precision, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmark.scoring import Score

SHOWN_DIGITS = 6
FULL_SIZE = "InceptionResNetV2"
"""Backbone of the published networks."""


def score(
    submission: Annotated[Path, typer.Argument(help="submission.csv")],
    labels: Annotated[Path, typer.Argument(help="CSV with seq_id and 54 columns of 0 and 1.")],
    epsilon: Annotated[float, typer.Option(min=0.0, max=0.5, help="Clip probabilities to [eps, 1 - eps].")] = 1e-15,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score a submission: mean log loss, and what each class contributes to it.

    Example: hakuna score results/submission.csv labels.csv
    """
    from benchmark import scoring

    result = scoring.score(scoring.read_submission(submission), scoring.read_labels(labels), epsilon)
    if as_json:
        typer.echo(json.dumps(result.as_json(), indent=1))
    else:
        _print_score(result)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, bundle and results.")] = Path("demo"),
    sequences: Annotated[int, typer.Option(min=1, max=10_000, help="Bursts of the synthetic season.")] = 40,
    seed: Annotated[int, typer.Option(help="Another seed, another season.")] = 1,
) -> None:
    """Make a small synthetic season and an untrained bundle, predict, score. No network, under two minutes.

    Example: hakuna demo --out demo
    """
    from benchmark.demo import run_demo
    from inference.bundle import DEMO_WARNING
    from inference.logs import configure_logging, progress_for
    from inference.settings import load_settings

    settings = load_settings()
    human = configure_logging(settings.log_format)
    with progress_for(human) as on_progress:
        files = run_demo(out, n_sequences=sequences, seed=seed, n_workers=settings.workers, on_progress=on_progress)
    _print_score(files.score, most=8)
    typer.echo(f"photos and labels  {files.data}")
    typer.echo(f"model bundle       {files.bundle}")
    typer.echo(f"submission         {files.out / 'submission.csv'}")
    typer.echo(DEMO_WARNING)


class SeasonRole(StrEnum):
    """Whose files a synthetic season is written as."""

    TRAIN = "train"
    TEST = "test"


def synth(
    out: Annotated[Path, typer.Argument(help="Folder for photos, metadata and labels; must not exist.")],
    seasons: Annotated[str, typer.Option(help="Numbers: 11, 1-8 or 1-3,9.")] = "1",
    sequences: Annotated[int, typer.Option(min=1, help="Of each season.")] = 200,
    cameras: Annotated[int, typer.Option(min=1, max=2000, help="Of each season.")] = 12,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH: 1536x2048 and 1920x2560 as real ones, less for tests.")] = (
        "480x640"
    ),
    role: Annotated[SeasonRole, typer.Option(help="Write train_*.csv, or test_*.csv with a submission format.")] = (
        SeasonRole.TEST
    ),
    damaged: Annotated[str, typer.Option(help="Share of the photos that are damaged or missing: 1%.")] = "0%",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other cameras and animals.")] = 1,
    workers: Annotated[int | None, typer.Option(help="Processes that draw; default: one per core.")] = None,
    contact_sheet: Annotated[Path | None, typer.Option(help="Also draw a page of photos: a .png or .jpg.")] = None,
    beside: Annotated[Path | None, typer.Option(help="Folder of real photos to show on that page too.")] = None,
) -> None:
    """Make synthetic seasons in the competition's format. The same seed gives the same bytes.

    Examples:
        hakuna synth seasons --seasons 1-10 --role train --sequences 500 --workers 2

        hakuna synth season11 --seasons 11 --size 1536x2048 --damaged 1% --contact-sheet sheet.png
    """
    from benchmark import synth_command
    from inference.settings import load_settings

    settings = load_settings(workers=workers)
    synth_command.make_seasons(
        out,
        seasons=synth_command.parse_seasons(seasons),
        n_sequences=sequences,
        n_cameras=cameras,
        size=synth_command.parse_size(size),
        role=role.value,
        damaged_share=synth_command.parse_share(damaged),
        seed=seed,
        n_workers=settings.workers,
    )
    if contact_sheet:
        synth_command.draw_sheet(out, contact_sheet, seed, beside)


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
    from inference.logs import configure_logging

    configure_logging("auto")
    if (budget or device_profile) and not workload:
        raise UsageError("--budget, --device-profile: must come with --workload")
    if mini and not ladder:
        raise UsageError("--mini: must come with --ladder")
    from benchmark import bench_command

    request = bench_command.BenchRequest(
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
        return bench_command.time_decoders(request) if is_pillow else bench_command.time_against_published(request)

    def project() -> None:
        chosen = Effort[ensemble.name]
        bench_command.project_workload(request, str(workload), _seconds(budget), device_profile, chosen, precision)

    modes: dict[str, tuple[bool, Callable[[], object]]] = {
        "--against": (against is not None, time_against),
        "--workload": (workload is not None, project),
        "--scaling": (scaling, lambda: bench_command.time_scaling(request, plots)),
        "--validate": (validate is not None, lambda: bench_command.validate_projections(request, validate or 0)),
        "--try-gate": (try_gate, lambda: bench_command.try_gate(request)),
        "--ladder": (ladder, lambda: bench_command.climb_ladder(request, plots, mini=mini)),
        "--demo-bundle": (
            demo_bundle is not None,
            lambda: bench_command.train_demo_bundle(request, demo_bundle or Path()),
        ),
        "--training": (training, lambda: bench_command.time_training(request)),
        "--neighbours": (neighbours, lambda: bench_command.time_neighbours(request)),
        "--history": (history is not None, lambda: bench_command.draw_history(history or Path())),
        "--compare": (compare is not None, lambda: bench_command.time_stages(request, plots, compare, max_regression)),
    }
    given = [name for name, (is_given, _) in modes.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"{', '.join(given)}: at most one of them must be given")
    modes[given[0] if given else "--compare"][1]()


def _seconds(budget: str | None) -> float | None:
    """A duration of the command line in seconds. Raises UsageError."""
    from inference.settings import seconds_of

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


def _print_score(result: Score, most: int | None = None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("class", "log loss", "contribution", "positives", "mean prediction")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in result.classes[:most]:
        numbers = [f"{value:.{SHOWN_DIGITS}f}" for value in (one.log_loss, one.contribution)]
        table.add_row(one.label, *numbers, str(one.positives), f"{one.mean_prediction:.{SHOWN_DIGITS}f}")
    console = Console()
    console.print(table)
    if most and most < len(result.classes):
        console.print(f"... and {len(result.classes) - most} more classes")
    console.print(
        f"mean log loss {result.log_loss:.{SHOWN_DIGITS}f} over {result.n_sequences} sequences", highlight=False
    )
