"""`hakuna predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inference.core.choices import DecoderName, EngineName, Precision, Preset
from inference.core.errors import UsageError
from inference.execution.job import RunOptions

if TYPE_CHECKING:
    from inference.settings.settings import Settings
from inference.api import PhotoSource, build_job, run_options, second_phase
from inference.cli.printing import LogFormat, print_figures, print_summary


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
    from inference.settings.logs import configure_logging
    from inference.settings.settings import load_settings

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
        photos = PhotoSource(data, bundle, metadata, submission_format, tta is not False, preset, shard)
        options = run_options(settings, fresh=fresh, features_path=features, strict=strict)
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


def _predict_photos(photos: PhotoSource, out: Path, options: RunOptions, settings: Settings, human: bool) -> None:
    from inference.core.errors import DegradedError
    from inference.process.lock import locked
    from inference.process.progress import RunState, process_start
    from inference.process.signals import graceful_shutdown
    from inference.run import pipeline
    from inference.settings.logs import progress_for

    state = RunState(started=process_start())
    with locked(out) as folder, graceful_shutdown(state):
        job = build_job(photos, settings)
        with progress_for(human) as on_progress:
            report = pipeline.predict(job, folder, options, on_progress, state)
    print_summary(report, out, human)
    if options.strict and report["degraded"]:
        raise DegradedError(f"{out}: must not be degraded (--strict), but the time budget was too short; see run.json")


def _predict_records(records: Path, bundle: Path, out: Path, features: Path | None, human: bool) -> None:
    from inference.process.lock import locked
    from inference.process.progress import RunState
    from inference.process.signals import graceful_shutdown

    state = RunState()
    with locked(out), graceful_shutdown(state):
        report = second_phase(records, bundle, out, features, state)
    print_summary(report, out, human)


def _dry_run(photos: PhotoSource, out: Path, options: RunOptions, settings: Settings, human: bool) -> None:
    import json

    from inference.process.progress import RunState, process_start
    from inference.process.signals import graceful_shutdown
    from inference.run.plan import plan, reason_not_to_run

    state = RunState(started=process_start())
    with graceful_shutdown(state):
        figures = plan(build_job(photos, settings), out, options, state)
    if human:
        print_figures(figures)
    else:
        typer.echo(json.dumps(figures, indent=1))
    if error := reason_not_to_run(figures, out, options):
        raise error
