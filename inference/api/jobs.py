"""Builds a job from paths, and runs it. All programs of this project build their jobs here."""

import os
import shlex
from pathlib import Path
from typing import Any

from inference.api.arguments import StrPath, choice
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import DecoderName, Device, EngineName, Precision, Preset
from inference.core.errors import InputError, UsageError
from inference.core.files import check_folder
from inference.dataset import metadata as tables
from inference.execution.job import WHOLE, Job, RunOptions, parse_shard
from inference.process.lock import locked
from inference.process.progress import Progress, RunState


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
    device: Device = Device.AUTO,
    precision: Precision = Precision.FLOAT32,
    max_loss_increase: float | None = None,
) -> Job:
    """Build the job that `predict` runs, independently of the environment; the arguments are those of `predict`.

    Raises UsageError, InputError, BundleError.
    """
    part = WHOLE if shard is None else parse_shard(shard)
    preset = choice(Preset, resize, "--resize") if resize else None
    check_folder(Path(photos), InputError, "a folder with photos")
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(Path(bundle))
    metadata_path = metadata_of(photos, metadata)
    wanted = None
    if submission_format != "none":
        format_path = _given_or_default(
            submission_format,
            Path(photos) / tables.FORMAT_NAME,
            "--format names another; --format none takes every sequence of the metadata",
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
        device=device,
        precision=precision,
        max_loss_increase=max_loss_increase,
        shard=part,
    )


def run_job(
    job: Job,
    out: StrPath,
    options: RunOptions | None = None,
    on_progress: Progress | None = None,
    state: RunState | None = None,
) -> dict[str, Any]:
    """Run a job in an output folder, which is locked; returns the content of `run.json`."""
    from inference.run import pipeline

    with locked(Path(out)) as folder:
        return pipeline.predict(job, folder, options or RunOptions(), on_progress, state)


def metadata_of(photos: StrPath, given: StrPath | None) -> Path:
    """The metadata that were given, else those in the folder of the photos. Raises InputError."""
    return _given_or_default(
        given,
        Path(photos) / tables.METADATA_NAME,
        f"--metadata names another; hakuna metadata {shlex.quote(str(photos))} --out metadata.csv makes one",
    )


def check_apart(photos: StrPath, out: StrPath) -> None:
    """Raise UsageError if a run would write into the folder of its photos."""
    if Path(out).resolve() == Path(photos).resolve():
        raise UsageError(
            f"--out {out}: must be another folder than that of the photos", hint="for example --out results"
        )


def _given_or_default(given: StrPath | None, default: Path, otherwise: str) -> Path:
    if given is None and not os.path.exists(default):
        raise InputError(f"{default}: must be a readable CSV file, got none", hint=otherwise)
    return Path(given or default)
