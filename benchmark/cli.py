"""`hakuna score`, `hakuna demo`, `hakuna bench`."""

from __future__ import annotations

import json
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
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


class Against(StrEnum):
    """What ours is timed against."""

    PUBLISHED = "published"
    """The whole prediction against the published program's way of working."""
    PILLOW = "pillow"
    """Every decoder against Pillow, on one core."""


def bench(
    data: Annotated[
        Path | None, typer.Argument(help="Folder with photos, test_metadata.csv and submission_format.csv.")
    ] = None,
    against: Annotated[Against, typer.Option(help="The published program's way of working, or Pillow's decoding.")] = (
        Against.PUBLISHED
    ),
    application: Annotated[
        str | None,
        typer.Option(
            help="Backbone in keras.applications, or 'tiny'; default InceptionResNetV2, MobileNetV2 to train."
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(help="Ensemble to run.")] = "third_place",
    json_file: Annotated[Path | None, typer.Option("--json", help="Keep the figures in this file.")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Keep networks and bundle in this folder, and use them again.")
    ] = None,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Instead: time and memory of 100 to 10,000 synthetic sequences.")
    ] = False,
    training: Annotated[
        bool, typer.Option("--training", help="Instead: images per second of training, of its input and of its steps.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw what --scaling measured into this SVG file.")] = None,
) -> None:
    """Time ours side by side with what it replaces, in one run. Networks are untrained.

    Examples:
        hakuna bench /data --against published --json benchmark/results/against_published.json

        hakuna bench --training --json benchmark/results/training.json

        hakuna bench --scaling --json benchmark/results/scaling.json --plot benchmark/results/scaling.svg
    """
    from benchmark.machine import write_json
    from inference.domain import UsageError
    from inference.logs import configure_logging

    configure_logging("auto")
    if plot and not scaling:
        raise UsageError("--plot: must come with --scaling")
    if scaling:
        from benchmark.scaling import measure_scaling

        with tempfile.TemporaryDirectory(prefix="hakuna-bench-") as temporary:
            figures = measure_scaling(Path(temporary))
    elif training:
        from benchmark.training import APPLICATION, measure_training
        from inference.settings import load_settings

        with tempfile.TemporaryDirectory(prefix="hakuna-bench-") as temporary:
            figures = measure_training(Path(temporary), load_settings().workers, application or APPLICATION)
    elif data is None:
        raise UsageError("DATA: must be given, except with --scaling and --training")
    elif against is Against.PILLOW:
        from benchmark.decoders import compare_decoders

        figures = compare_decoders(data)
    else:
        from benchmark.against_published import compare

        with tempfile.TemporaryDirectory(prefix="hakuna-bench-") as temporary:
            figures = compare(
                data, recipe_name=recipe, application=application or FULL_SIZE, work=work or Path(temporary)
            )
    typer.echo(json.dumps(figures, indent=1))
    if json_file:
        write_json(figures, json_file)
    if plot:
        from benchmark.scaling import plot as draw

        draw(figures, plot)


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
