"""From paths to a job, and from a job to its results. Programs of this project that need a job get it here."""

import os
from pathlib import Path
from typing import Any

from inference.api.arguments import Progress, StrPath, choice, optional_path
from inference.bundle.reader import Bundle
from inference.core.choices import DecoderName, EngineName, Precision, Preset
from inference.core.errors import InputError
from inference.execution.job import Job, RunOptions
from inference.settings.settings import Settings

EVERY_SEQUENCE = "none"
"""As a submission format: every sequence of the metadata."""


def build_job(
    photos: StrPath,
    bundle: Bundle | StrPath,
    *,
    metadata: StrPath | None = None,
    submission_format: StrPath | None = None,
    flip_tta: bool = True,
    resize: Preset | str | None = None,
    shard: str | None = None,
    decoder: DecoderName = DecoderName.AUTO,
    engine: EngineName = EngineName.AUTO,
    precision: Precision = Precision.FLOAT32,
) -> Job:
    """What `predict` computes, whatever the environment says; the arguments are those of `predict`.

    Raises UsageError, InputError, BundleError.
    """
    from inference.bundle.reader import Bundle, open_bundle
    from inference.execution.job import WHOLE, Job, parse_shard

    part = parse_shard(shard) if shard else WHOLE
    preset = choice(Preset, resize, "--resize") if resize else None
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(Path(bundle))
    from inference.dataset import metadata as tables

    metadata_path = _given_or_default(
        metadata, Path(photos) / tables.METADATA_NAME, "--metadata names another, `hakuna metadata` makes one"
    )
    wanted = None
    if submission_format != EVERY_SEQUENCE:
        format_path = _given_or_default(
            submission_format,
            Path(photos) / tables.FORMAT_NAME,
            "--format names another, `--format none` takes every sequence of the metadata",
        )
        wanted = tables.read_submission_format(format_path)
    return Job(
        photos=os.fspath(photos),
        plan=tables.plan_sequences(tables.read_metadata(metadata_path), wanted),
        bundle=opened,
        preset=preset or Preset(opened.manifest.ensemble.preprocessing),
        flip_tta=flip_tta,
        decoder=decoder,
        engine=engine,
        precision=precision,
        shard=part,
    )


def run_job(
    job: Job, out: StrPath, options: RunOptions | None = None, on_progress: Progress | None = None
) -> dict[str, Any]:
    """Run a job in a folder that no other run writes to; returns the content of `run.json`."""
    from inference.execution.job import RunOptions
    from inference.process.lock import locked
    from inference.run import pipeline

    with locked(Path(out)) as folder:
        return pipeline.predict(job, folder, options or RunOptions(), on_progress or ignore_progress)


def run_options(
    settings: Settings, *, restart: bool, features: StrPath | None, fail_if_degraded: bool = False
) -> RunOptions:
    """How to run a job, from settings and arguments."""
    from inference.execution.job import RunOptions
    from inference.process.read_timeout import ReadTimeout

    return RunOptions(
        n_workers=settings.workers,
        batch_size=settings.batch_size,
        fresh=restart,
        features_path=optional_path(features),
        budget=settings.budget,
        max_failures=settings.max_failures,
        read_timeout=ReadTimeout(settings.read_timeout),
        strict=fail_if_degraded,
    )


def _given_or_default(given: StrPath | None, default: Path, otherwise: str) -> Path:
    if given is None and not os.path.exists(default):
        raise InputError(f"{default}: must be a readable CSV file, got none; {otherwise}")
    return Path(given or default)


def ignore_progress(_n_done: int, _n_all: int) -> None:
    """Nobody watches."""
