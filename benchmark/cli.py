"""`hakuna score`, `hakuna report`, `hakuna synth`, `hakuna demo`, `hakuna bench`."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inference.domain import Effort, InputError, Precision, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def score(
    submission: Annotated[Path, typer.Argument(help="submission.csv")],
    labels: Annotated[Path, typer.Argument(help="CSV with seq_id and 54 columns of 0 and 1.")],
    against: Annotated[
        Path | None, typer.Option(help="Another submission: difference with its interval, by class, and who gains.")
    ] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="Metadata of the photos: scores by hour, day and night, number of frames.")
    ] = None,
    sites: Annotated[
        Path | None, typer.Option(help="CSV with seq_id and site; default: from public ids, else folders of photos.")
    ] = None,
    epsilon: Annotated[
        float, typer.Option(min=1e-15, max=0.49, help="Clip probabilities to [eps, 1 - eps]; 1e-15 to 0.49.")
    ] = 1e-15,
    resamples: Annotated[int, typer.Option(min=100, max=100_000, help="Draws of the bootstrap over sites.")] = 2000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON (schema_version 1) instead of tables.")] = False,
) -> None:
    """Score a submission: mean log loss with its interval, by class and by site, and how far probabilities can be trusted.

    Examples:
        hakuna score results/submission.csv labels.csv

        hakuna score results/submission.csv labels.csv --metadata test_metadata.csv --json

        hakuna score results/submission.csv labels.csv --against baseline/submission.csv
    """
    from benchmark import score_report
    from benchmark.score_printing import print_report
    from benchmark.sites import describe
    from inference.label_tables import read_labels, read_submission

    truth = read_labels(labels)
    report = score_report.report(
        read_submission(submission),
        truth,
        describe(truth.seq_ids, metadata, sites),
        against=read_submission(against) if against else None,
        epsilon=epsilon,
        n_resamples=resamples,
    )
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    else:
        print_report(report)


def report(
    run: Annotated[Path, typer.Argument(help="Output folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    labels: Annotated[Path | None, typer.Option(help="CSV with seq_id and 54 columns of 0 and 1.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with the photos: pictures on the contact sheets.")] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="Metadata of the photos; default DATA/test_metadata.csv.")
    ] = None,
    sheets: Annotated[int, typer.Option(min=0, max=1000, help="Sequences to show.")] = 48,
) -> None:
    """Make one HTML page of a run: score, classes, calibration, time, failures, and the sequences worth a look.

    The page needs nothing but itself. Without labels it shows the surest and the least sure sequences.

    Examples:
        hakuna report results --data /data --labels labels.csv --out report.html

        hakuna report results --data /media/card --metadata metadata.csv --out report.html
    """
    from benchmark.report.content import Sources
    from benchmark.report.page import write_report
    from inference.finished_run import check_nothing_is_lost, read_finished_run
    from inference.label_tables import read_labels
    from inference.metadata import METADATA_NAME, read_metadata
    from inference.settings import load_settings

    metadata_path = metadata or (data / METADATA_NAME if data else None)
    check_nothing_is_lost(out, run, labels, metadata_path)
    if data and not os.path.isdir(data):
        raise InputError(f"--data {data}: must be the folder with the photos")
    sources = Sources(
        labels=read_labels(labels) if labels else None,
        sequences=read_metadata(metadata_path).sequences if metadata_path else None,
        data_folder=data,
        metadata_path=metadata_path,
        n_sheets=sheets,
        n_workers=load_settings().workers,
    )
    page = write_report(read_finished_run(run), sources, out)
    n_sheets = sum(len(group.sheets) for group in page.groups)
    if page.warning:
        typer.echo(page.warning)
    typer.echo(f"{page.n_sequences} sequences, {n_sheets} of them shown -> {out} ({out.stat().st_size / 1e6:.1f} MB)")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data and results.")] = Path("demo"),
    sequences: Annotated[int, typer.Option(min=1, max=10_000, help="Bursts of the synthetic season.")] = 120,
    seed: Annotated[int, typer.Option(help="Another seed, another season.")] = 1,
) -> None:
    """Make an unseen synthetic season, predict it with small trained networks, score, report. No internet, under two minutes.

    Example: hakuna demo --out demo
    """
    from benchmark.demo import run_demo
    from benchmark.score_printing import print_score
    from inference.bundle import DEMO_WARNING
    from inference.logs import configure_logging, progress_for
    from inference.settings import load_settings

    settings = load_settings()
    human = configure_logging(settings.log_format)
    with progress_for(human) as on_progress:
        files = run_demo(out, n_sequences=sequences, seed=seed, n_workers=settings.workers, on_progress=on_progress)
    print_score(files.score, most=8)
    typer.echo(f"photos and labels  {files.data}")
    typer.echo(f"model bundle       {files.bundle}")
    typer.echo(f"submission         {files.out / 'submission.csv'}")
    typer.echo(f"report             {files.report}")
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
    from benchmark.contact_sheet import check_contact_sheet
    from inference.settings import load_settings

    settings = load_settings(workers=workers)
    if contact_sheet:
        check_contact_sheet(contact_sheet, beside)
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
