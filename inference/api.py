"""What other programs may call."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.core.choices import Preset
from inference.core.errors import InputError
from inference.execution.job import Job, RunOptions
from inference.process.progress import RunState

if TYPE_CHECKING:
    from inference.settings.settings import Settings

NO_FORMAT = "none"


@dataclass(frozen=True)
class PhotoSource:
    """What of the command line makes a job."""

    data: Path
    bundle: Path
    metadata: Path | None
    submission_format: str | None
    flip_tta: bool
    preset: Preset | None
    shard: str | None


def run_options(settings: Settings, *, fresh: bool, features_path: Path | None, strict: bool) -> RunOptions:
    """How to run, from settings and the command line."""
    from inference.execution.job import RunOptions
    from inference.process.read_timeout import ReadTimeout

    return RunOptions(
        n_workers=settings.workers,
        batch_size=settings.batch_size,
        fresh=fresh,
        features_path=features_path,
        budget=settings.budget,
        max_failures=settings.max_failures,
        read_timeout=ReadTimeout(settings.read_timeout),
        strict=strict,
    )


def build_job(photos: PhotoSource, settings: Settings) -> Job:
    """What to compute, from paths."""
    from inference.bundle.reader import open_bundle
    from inference.dataset import metadata as tables
    from inference.execution.job import WHOLE, Job, parse_shard

    shard = parse_shard(photos.shard) if photos.shard else WHOLE
    bundle = open_bundle(photos.bundle)
    other_metadata = "--metadata names another, `hakuna metadata` makes one"
    metadata = given_or_default(photos.metadata, photos.data / tables.METADATA_NAME, other_metadata)
    wanted = None
    if photos.submission_format != NO_FORMAT:
        other_format = "--format names another, `--format none` takes every sequence of the metadata"
        path = given_or_default(photos.submission_format, photos.data / tables.FORMAT_NAME, other_format)
        wanted = tables.read_submission_format(path)
    plan = tables.plan_sequences(tables.read_metadata(metadata), wanted)
    return Job(
        photos=str(photos.data),
        plan=plan,
        bundle=bundle,
        preset=Preset(photos.preset or bundle.manifest.ensemble.preprocessing),
        flip_tta=photos.flip_tta,
        decoder=settings.decoder,
        engine=settings.engine,
        precision=settings.precision,
        shard=shard,
    )


def given_or_default(told: Path | str | None, usual: Path, otherwise: str) -> Path:
    """The file that was told, or the usual one. Raises InputError where that is not there."""
    if told is None and not os.path.exists(usual):
        raise InputError(f"{usual}: must be a readable CSV file, got none; {otherwise}")
    return Path(told or usual)


def second_phase(records: Path, bundle: Path, out: Path, features: Path | None, state: RunState) -> dict[str, Any]:
    """Records -> submission; returns the content of `run.json`."""
    from inference.bundle.reader import open_bundle
    from inference.ensemble.estimator import Estimator
    from inference.outputs.run_report import RunMetadata
    from inference.run.records_to_submission import records_to_submission

    return records_to_submission(records, Estimator(open_bundle(bundle)), out, features, RunMetadata(state=state))
