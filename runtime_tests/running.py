"""Runs of the whole pipeline in this process, with the defaults of the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from inference.bundle.reader import Bundle
from inference.core.choices import DecoderName, EngineName, Precision, Preset
from inference.dataset.metadata import FORMAT_NAME, METADATA_NAME, plan_sequences, read_metadata, read_submission_format
from inference.execution.job import Job, RunOptions
from inference.execution.local_executor import local_executor
from inference.process.lock import locked
from inference.run.context import ExecutorFactory, Progress
from inference.run.pipeline import predict


def job_for(data: Path, bundle: Bundle, *, flip_tta: bool = True) -> Job:
    """What `hakuna predict DATA --bundle BUNDLE` computes."""
    return Job(
        data_folder=data,
        plan=plan_sequences(read_metadata(data / METADATA_NAME), read_submission_format(data / FORMAT_NAME)),
        bundle=bundle,
        preset=Preset(bundle.manifest.ensemble.preprocessing),
        flip_tta=flip_tta,
    )


def run(
    data: Path,
    bundle: Bundle,
    out: Path,
    *,
    batch_size: int = 8,
    n_workers: int = 2,
    flip_tta: bool = True,
    fresh: bool = False,
    features: Path | None = None,
    engine: EngineName = EngineName.AUTO,
    precision: Precision = Precision.FLOAT32,
    decoder: DecoderName = DecoderName.AUTO,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """`hakuna predict DATA --bundle BUNDLE --out OUT`; returns `run.json`."""
    job = replace(job_for(data, bundle, flip_tta=flip_tta), engine=engine, precision=precision, decoder=decoder)
    options = RunOptions(n_workers=n_workers, batch_size=batch_size, fresh=fresh, features_path=features)
    return run_job(job, out, options, on_progress)


def run_job(
    job: Job,
    out: Path,
    options: RunOptions | None = None,
    on_progress: Progress | None = None,
    executor_for: ExecutorFactory = local_executor,
) -> dict[str, Any]:
    """A job in this process; returns `run.json`."""
    with locked(out) as output:
        return predict(
            job, output, options or RunOptions(n_workers=2), on_progress or ignore_progress, executor_for=executor_for
        )


def ignore_progress(n_done: int, n_all: int) -> None:
    """Nobody watches."""
