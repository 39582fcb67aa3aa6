"""Runs of the whole pipeline in this process, with the defaults of the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from inference.api import jobs as api
from inference.api.arguments import Progress
from inference.api.jobs import build_job
from inference.bundle.reader import Bundle
from inference.core.choices import DecoderName, EngineName, Precision
from inference.execution.job import Job, RunOptions


def job_for(data: Path, bundle: Bundle, *, flip_tta: bool = True) -> Job:
    """What `hakuna predict DATA --bundle BUNDLE` computes."""
    return build_job(data, bundle, flip_tta=flip_tta)


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
    job: Job, out: Path, options: RunOptions | None = None, on_progress: Progress | None = None
) -> dict[str, Any]:
    """A job in this process; returns `run.json`."""
    return api.run_job(job, out, options or RunOptions(n_workers=2), on_progress)


def ignore_progress(n_done: int, n_all: int) -> None:
    """Nobody watches."""
