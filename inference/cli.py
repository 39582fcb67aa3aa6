"""`hakuna predict`, `merge`, `metadata`, `export`: the only place of the package that reads settings or prints for people."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inference.domain import DecoderName, EngineName, ExportFormat, InputError, Precision, Preset, UsageError

if TYPE_CHECKING:
    from inference.job import Job, RunOptions
    from inference.run_state import RunState
    from inference.settings import Settings

NO_FORMAT = "none"
FORMAT_FILE = "submission_format.csv"


class LogFormat(StrEnum):
    """Names of the log formats on the command line."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


def predict(  # one parameter an option
    data: Annotated[Path | None, typer.Argument(help="Folder with the photos and the CSV files.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Model bundle (`hakuna bundle import` makes one).")] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder; by default that of --from-records.")] = None,
    metadata: Annotated[Path | None, typer.Option(help="Metadata; default DATA/test_metadata.csv.")] = None,
    submission_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Submission format; default DATA/submission_format.csv; 'none': every sequence of the metadata.",
        ),
    ] = None,
    from_records: Annotated[
        Path | None, typer.Option(help="Repeat only the second phase on the records of this folder.")
    ] = None,
    features: Annotated[Path | None, typer.Option(help="Also write the stacker matrix to this .npz file.")] = None,
    tta: Annotated[
        bool | None, typer.Option("--tta/--no-tta", help="Average with mirror images; off makes training features.")
    ] = None,
    preset: Annotated[Preset | None, typer.Option(help="Reference resize; default: the bundle's.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over in a folder that has records.")] = False,
    workers: Annotated[int | None, typer.Option(help="Decoding threads; default: one per core.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Sequences per call of the networks.")] = None,
    decoder: Annotated[DecoderName | None, typer.Option(help="What reads the photos; the pixels are the same.")] = None,
    engine: Annotated[EngineName | None, typer.Option(help="What runs the networks; auto: OpenVINO on CPUs.")] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="mixed is faster, and used only if it proves itself at the start.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time for everything, such as 8h, 90m or 45s; a number alone is seconds. A complete submission exists before."
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 6 if the budget degraded any sequence.")] = False,
    max_failures: Annotated[
        str | None, typer.Option(help="Largest share of photos that may fail, such as 5%; more is exit 9.")
    ] = None,
    read_timeout: Annotated[str | None, typer.Option(help="Time after which reading a photo is given up: 60s.")] = None,
    shard: Annotated[
        str | None, typer.Option(help="I/N: only the I-th of N parts of the sequences; `hakuna merge` joins them.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check files, disk, memory and time, and touch nothing; exit 11: no fit.")
    ] = False,
    log_format: Annotated[LogFormat | None, typer.Option(help="Log as console lines or as JSON.")] = None,
) -> None:
    """Predict every sequence of a folder of camera-trap photos and write submission.csv.

    Examples:
        hakuna predict /data --bundle bundles/third_place --out results

        hakuna predict /data --bundle bundles/third_place --out results --budget 8h --max-failures 5%

        hakuna predict --from-records results --bundle bundles/new_stackers --out results2
    """
    from inference.logs import configure_logging
    from inference.settings import load_settings

    settings = load_settings(
        workers=workers,
        batch_size=batch_size,
        decoder=decoder,
        engine=engine,
        precision=precision,
        budget=budget,
        max_failures=max_failures,
        read_timeout=read_timeout,
        log_format=log_format,
    )
    human = configure_logging(settings.log_format)
    if bundle is None:
        raise UsageError("--bundle: must be given")
    if (data is None) == (from_records is None):
        raise UsageError("DATA or --from-records: one of them must be given")
    target = out or from_records
    if target is None:
        raise UsageError("--out: must be given")
    if data is not None:
        photos = _Photos(data, bundle, metadata, submission_format, tta is not False, preset, shard)
        options = _options(settings, fresh=fresh, features_path=features, strict=strict)
        if dry_run:
            _dry_run(photos, target, options, settings, human)
        else:
            _predict_photos(photos, target, options, settings, human)
        return
    photo_options = {
        "--metadata": metadata, "--format": submission_format, "--tta": tta, "--preset": preset, "--fresh": fresh,
        "--workers": workers, "--batch-size": batch_size, "--decoder": decoder, "--engine": engine,
        "--precision": precision, "--budget": budget, "--strict": strict, "--max-failures": max_failures,
        "--read-timeout": read_timeout, "--shard": shard, "--dry-run": dry_run
    }  # fmt: skip
    # `--no-tta` is False and given, `--fresh` is False and not.
    given = [name for name, value in photo_options.items() if value or (name == "--tta" and value is False)]
    if given:
        raise UsageError(f"{', '.join(given)}: about photos, must not be given with --from-records")
    _predict_records(from_records or target, bundle, target, features, human)


def merge(
    shards: Annotated[list[Path], typer.Argument(help="Output folders of the shards, in any order.")],
    bundle: Annotated[Path, typer.Option(help="Model bundle that the shards were made with.")],
    out: Annotated[Path, typer.Option(help="Output folder of the whole run.")],
    features: Annotated[Path | None, typer.Option(help="Also write the stacker matrix to this .npz file.")] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="Log as console lines or as JSON.")] = None,
) -> None:
    """Join the records of shards and write the submission: the bytes of a run that was not cut.

    Example: hakuna merge part1 part2 part3 --bundle bundles/third_place --out results
    """
    from inference.logs import configure_logging
    from inference.merging import merge_records
    from inference.run_state import RunState, locked, stopping_on_signals
    from inference.settings import load_settings

    human = configure_logging(load_settings(log_format=log_format).log_format)
    state = RunState()
    with locked(out), stopping_on_signals(state):
        merge_records(shards, out, state.check)
        report = _second_phase(out, bundle, out, features, state)
    _print_summary(report, out, human)


def metadata(
    photos: Annotated[Path, typer.Argument(help="Folder with photos, or a COCO Camera Traps .json file.")],
    out: Annotated[Path, typer.Option(help="Metadata to write: seq_id, datetime, file_name, site.")],
    submission_format: Annotated[
        Path | None,
        typer.Option(
            "--format",
            help="Submission format to write; default: submission_format.csv beside OUT, where there is none yet.",
        ),
    ] = None,
    gap: Annotated[
        float | None,
        typer.Option(min=0.0, help="Longest time, in seconds, between two photos of one burst; default 5."),
    ] = None,
    max_photos: Annotated[
        int | None,
        typer.Option(
            min=1, help="Cut longer bursts into some of so many photos; 3: predict sees every photo. Default: never."
        ),
    ] = None,
) -> None:
    """Make the metadata of a folder of photos: the camera's clock from EXIF, bursts by camera folder and time.

    Photos of a camera belong together while each follows the one before it within --gap; cameras number their photos,
    so names tell the order, and times where names do not number. A photo without a time is a burst of its own.

    Examples:
        hakuna metadata /media/card --out metadata.csv

        hakuna metadata /media/card --out metadata.csv --max-photos 3

        hakuna metadata annotations.json --out metadata.csv --gap 60
    """
    from inference import bursts, field_photos

    format_path = submission_format or out.parent / FORMAT_FILE
    if len({path.resolve() for path in (photos, out, format_path)}) < 3:  # noqa: PLR2004
        raise UsageError(f"PHOTOS, --out, --format: must be different files, got {photos}, {out}, {format_path}")
    is_lost = os.path.exists(format_path) and not field_photos.is_left_by_us(format_path, out)
    if submission_format is None and is_lost:
        raise UsageError(
            f"{format_path}: must not be there yet; --format OTHER.csv writes elsewhere, --format {format_path} writes over it"
        )
    found = field_photos.find_photos(photos) if os.path.isdir(photos) else field_photos.read_coco(photos)
    made = bursts.group_bursts(found.photos, bursts.GAP_SECONDS if gap is None else gap, max_photos)
    field_photos.write_submission_format(format_path, made)
    field_photos.write_metadata(out, made)
    n_sites = len({photo.site for photo in found.photos})
    typer.echo(f"{len(found.photos)} photos, {len(made)} bursts, {n_sites} sites -> {out}, {format_path}")
    for line in field_photos.remarks(found, made):
        typer.echo(line, err=True)


def export(
    run: Annotated[Path, typer.Argument(help="Output folder of a finished run.")],
    target: Annotated[ExportFormat, typer.Option("--format", help="Format to write.")],
    out: Annotated[Path, typer.Option(help="File to write; with camtrap-dp a folder.")],
    metadata: Annotated[Path | None, typer.Option(help="Metadata of the run; not needed for long-csv.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Smallest probability that is told; default 0.01, camtrap-dp 0.5."),
    ] = None,
    project: Annotated[
        Path | None, typer.Option(help="TOML file with what photos cannot tell; needed for camtrap-dp.")
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(help="Folder of the run's records, where `predict --from-records` made it; default: RUN."),
    ] = None,
) -> None:
    """Write what a run found in a format of other programs: MegaDetector 1.6, Camtrap DP 1.0.2, or a long CSV.

    Exports of a demo model say so. Sequences that nobody looked at (no time, or no photo could be used) have only
    the priors: they are left out (long-csv), failures (megadetector) or `unclassified` (camtrap-dp).

    Examples:
        hakuna export results --format long-csv --out results.csv --threshold 0.1

        hakuna export results --format megadetector --metadata metadata.csv --out results.json

        hakuna export results --format camtrap-dp --metadata metadata.csv --project project.toml --out package
    """
    from inference import exporting

    if target is not ExportFormat.LONG_CSV and metadata is None:
        raise UsageError(f"--metadata: must be given with --format {target}")
    if (target is ExportFormat.CAMTRAP_DP) != (project is not None):
        raise UsageError("--project: must be given with --format camtrap-dp, and only then")
    for line in exporting.export(run, target, out, metadata, threshold, project, records):
        typer.echo(line)


@dataclass(frozen=True)
class _Photos:
    """What of the command line makes a job."""

    data: Path
    bundle: Path
    metadata: Path | None
    submission_format: str | None
    flip_tta: bool
    preset: Preset | None
    shard: str | None


def _options(settings: Settings, *, fresh: bool, features_path: Path | None, strict: bool) -> RunOptions:
    from inference.job import RunOptions
    from inference.patience import Patience

    return RunOptions(
        n_workers=settings.workers,
        batch_size=settings.batch_size,
        fresh=fresh,
        features_path=features_path,
        budget=settings.budget,
        max_failures=settings.max_failures,
        patience=Patience(settings.read_timeout),
        strict=strict,
    )


def _job(photos: _Photos, settings: Settings) -> Job:
    from inference import metadata as tables
    from inference.bundle import open_bundle
    from inference.job import WHOLE, Job, parse_shard

    shard = parse_shard(photos.shard) if photos.shard else WHOLE
    bundle = open_bundle(photos.bundle)
    other_metadata = "--metadata names another, `hakuna metadata` makes one"
    metadata = _told_or(photos.metadata, photos.data / tables.METADATA_NAME, other_metadata)
    wanted = None
    if photos.submission_format != NO_FORMAT:
        other_format = "--format names another, `--format none` takes every sequence of the metadata"
        path = _told_or(photos.submission_format, photos.data / tables.FORMAT_NAME, other_format)
        wanted = tables.read_submission_format(path)
    plan = tables.plan_sequences(tables.read_metadata(metadata), wanted)
    return Job(
        data_folder=photos.data,
        plan=plan,
        bundle=bundle,
        preset=Preset(photos.preset or bundle.manifest.ensemble.preprocessing),
        flip_tta=photos.flip_tta,
        decoder=settings.decoder,
        engine=settings.engine,
        precision=settings.precision,
        shard=shard,
    )


def _told_or(told: Path | str | None, usual: Path, otherwise: str) -> Path:
    """The file that was told, or the usual one. Raises InputError where that is not there."""
    if told is None and not os.path.exists(usual):
        raise InputError(f"{usual}: must be a readable CSV file, got none; {otherwise}")
    return Path(told or usual)


def _predict_photos(photos: _Photos, out: Path, options: RunOptions, settings: Settings, human: bool) -> None:
    from inference import pipeline
    from inference.domain import DegradedError
    from inference.logs import progress_for
    from inference.run_state import RunState, locked, process_start, stopping_on_signals

    state = RunState(started=process_start())
    with locked(out) as folder, stopping_on_signals(state):
        job = _job(photos, settings)
        with progress_for(human) as on_progress:
            report = pipeline.predict(job, folder, options, on_progress, state)
    _print_summary(report, out, human)
    if options.strict and report["degraded"]:
        raise DegradedError(f"{out}: must not be degraded (--strict), but the time budget was too short; see run.json")


def _predict_records(records: Path, bundle: Path, out: Path, features: Path | None, human: bool) -> None:
    from inference.run_state import RunState, locked, stopping_on_signals

    state = RunState()
    with locked(out), stopping_on_signals(state):
        report = _second_phase(records, bundle, out, features, state)
    _print_summary(report, out, human)


def _second_phase(records: Path, bundle: Path, out: Path, features: Path | None, state: RunState) -> dict[str, Any]:
    from inference.bundle import open_bundle
    from inference.estimation import Estimator
    from inference.records_to_submission import records_to_submission
    from inference.run_report import RunFacts

    return records_to_submission(records, Estimator(open_bundle(bundle)), out, features, RunFacts(state=state))


def _dry_run(photos: _Photos, out: Path, options: RunOptions, settings: Settings, human: bool) -> None:
    import json

    from inference.dry_run import examine, refusal
    from inference.run_state import RunState, process_start, stopping_on_signals

    state = RunState(started=process_start())
    with stopping_on_signals(state):
        figures = examine(_job(photos, settings), out, options, state)
    if human:
        _print_figures(figures)
    else:
        typer.echo(json.dumps(figures, indent=1))
    if error := refusal(figures, out, options):
        raise error


def _print_figures(figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "figure")
    for name, value in figures.items():
        shown = ", ".join(f"{key}: {one:,}" for key, one in value.items()) if isinstance(value, dict) else value
        table.add_row(name.replace("_", " "), f"{shown:,}" if isinstance(shown, int) else str(shown))
    Console().print(table)


def _print_summary(report: dict[str, Any], out: Path, human: bool) -> None:
    if not human:
        return
    with suppress(OSError, SystemExit):  # rich ends the program where nobody reads: the run is complete all the same
        _print_counts(report, out)


def _print_counts(report: dict[str, Any], out: Path) -> None:
    from rich.console import Console

    counts = report["counts"]
    console = Console(stderr=True)
    if "warning" in report:
        console.print(f"[bold red]{report['warning']}[/]")
    if report["degraded"]:
        console.print("[bold red]degraded: the time budget was too short for everything, see run.json[/]")
    if "shard" in report:
        console.print(f"{counts['sequences']} sequences; `hakuna merge` makes the submission", highlight=False)
        return
    console.print(
        f"{counts['sequences']} sequences, {sum(counts['failed_photos'].values())} photos not used, "
        f"{counts['sequences_with_priors']} sequences with priors -> {out / 'submission.csv'}",
        highlight=False,
        markup=False,  # a path may have brackets
    )
