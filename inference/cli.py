"""`hakuna predict`: the only place of the package that reads settings or prints for people."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inference.domain import DecoderName, EngineName, Precision, Preset

if TYPE_CHECKING:
    from inference.settings import Settings

NO_FORMAT = "none"


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
    log_format: Annotated[LogFormat | None, typer.Option(help="Log as console lines or as JSON.")] = None,
) -> None:
    """Predict every sequence of a folder of camera-trap photos and write submission.csv.

    Examples:
        hakuna predict /data --bundle bundles/third_place --out results

        hakuna predict --from-records results --bundle bundles/new_stackers --out results2
    """
    from inference.bundle import open_bundle
    from inference.domain import UsageError
    from inference.logs import configure_logging
    from inference.settings import load_settings

    settings = load_settings(
        workers=workers,
        batch_size=batch_size,
        decoder=decoder,
        engine=engine,
        precision=precision,
        log_format=log_format,
    )
    human = configure_logging(settings.log_format)
    if bundle is None:
        raise UsageError("--bundle: must be given")
    if (data is None) == (from_records is None):
        raise UsageError("DATA or --from-records: one of them must be given")
    if from_records is not None:
        ignored = [name for name, value in (("--tta", tta), ("--preset", preset)) if value is not None]
        if ignored:
            raise UsageError(f"{', '.join(ignored)}: settled when the records were made, must not be given")
        from inference.records_to_submission import records_to_submission

        target = out or from_records
        report = records_to_submission(from_records, open_bundle(bundle), target, features_path=features)
    else:
        if out is None or data is None:
            raise UsageError("--out: must be given")
        target = out
        report = _predict_photos(
            data, bundle, out, metadata, submission_format, features, tta is not False, preset, fresh, settings, human
        )
    _print_summary(report, target, human)


def _predict_photos(
    data: Path,
    bundle_folder: Path,
    out: Path,
    metadata_path: Path | None,
    format_option: str | None,
    features: Path | None,
    flip_tta: bool,
    preset: Preset | None,
    fresh: bool,
    settings: Settings,
    human: bool,
) -> dict[str, Any]:
    from inference import metadata as tables
    from inference import pipeline
    from inference.bundle import open_bundle
    from inference.job import Job
    from inference.logs import progress_for

    bundle = open_bundle(bundle_folder)
    format_path = None if format_option == NO_FORMAT else Path(format_option or data / tables.FORMAT_NAME)
    plan = tables.plan_sequences(
        tables.read_metadata(metadata_path or data / tables.METADATA_NAME),
        tables.read_submission_format(format_path) if format_path else None,
    )
    job = Job(
        data_folder=data,
        plan=plan,
        bundle=bundle,
        preset=Preset(preset or bundle.manifest.ensemble.preprocessing),
        flip_tta=flip_tta,
        decoder=settings.decoder,
        engine=settings.engine,
        precision=settings.precision,
    )
    with progress_for(human) as on_progress:
        return pipeline.predict(
            job,
            out,
            n_workers=settings.workers,
            batch_size=settings.batch_size,
            fresh=fresh,
            features_path=features,
            on_progress=on_progress,
        )


def _print_summary(report: dict[str, Any], out: Path, human: bool) -> None:
    if not human:
        return
    from rich.console import Console

    counts = report["counts"]
    console = Console(stderr=True)
    if "warning" in report:
        console.print(f"[bold red]{report['warning']}[/]")
    console.print(
        f"{counts['sequences']} sequences, {sum(counts['failed_photos'].values())} photos not used, "
        f"{counts['sequences_with_priors']} sequences with priors -> {out / 'submission.csv'}",
        highlight=False,
    )
