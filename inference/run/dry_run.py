"""What a run would meet and take, found out without touching anything."""

from __future__ import annotations

import os
import resource
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from inference.bundle.passes import Effort, passes_for, relative_cost
from inference.core.choices import Precision
from inference.core.errors import DoesNotFitError, HakunaError, OutputError, TooManyFailuresError
from inference.core.sequences import Sequence
from inference.dataset.input_check import check_any_photo, summarise_input
from inference.ensemble.estimator import Estimator
from inference.execution.deadline import MARGIN_SHARE, Batch, DeadlinePolicy
from inference.execution.job import Job, RunOptions
from inference.execution.worker import Worker
from inference.networks.engine import load_networks
from inference.networks.forward import LoadedNetworks
from inference.process.progress import RunState
from inference.process.stopwatch import Stopwatch
from inference.records.jsonl import CHUNK_RECORDS
from inference.run.photos_to_records import deadline_policy
from inference.run.records_to_submission import check_features_path
from inference.run.resume import count_completed, resume_point

MEASURED_BATCHES = 3
"""Batches that the rates are measured on, after one that warms up; taken evenly from all sequences."""
RECORD_BYTES_PER_OUTPUT = 4 * 54 * 4 / 3
"""54 float32 in base64."""
RECORD_BYTES = 200
"""Everything else in a record."""
ROW_BYTES = 54 * 13 + 30
"""A row of the submission: 54 numbers of at most 12 characters and a comma, and its `seq_id`."""
ROW_COPIES = 3
"""The submission, its temporary file, and the provisional one."""
MEMORY_BYTES_PER_SEQUENCE = 2_000
"""Metadata of three photos and a provisional row, as measured with a million rows of metadata."""


def estimate(job: Job, out: Path, options: RunOptions, state: RunState) -> dict[str, Any]:
    """Look at the files, measure a few batches, and project the run; returns figures ready for JSON.

    `fits` is None without a budget, and where no photo could be read to measure with.
    """
    check_features_path(options.features_path, job.bundle.manifest)
    start = resume_point(job, out, options)
    engine, decoder = start.engine, start.decoder
    estimator = Estimator(job.bundle)
    stopwatch = Stopwatch()
    storage = job.storage(options.read_timeout)
    with stopwatch("census"):
        kept = count_completed(start, job, options, state)
        if not kept.is_complete:
            check_any_photo(job.plan.sequences, storage, job.bundle.manifest.n_frames, state.check)
        summary = summarise_input(job.sequences, storage, job.bundle.manifest.n_frames)
    work = Worker(job, options, decoder, stopwatch, state.check)
    with stopwatch("load networks"):
        networks = load_networks(job.bundle, engine, Precision.FLOAT32, state.check)
    pace = deadline_policy(job, options.budget or float("inf"))
    _measure(work, networks, estimator, pace)
    n_sequences, n_left = len(job.sequences), len(job.sequences) - state.n_kept
    spent = stopwatch.seconds()
    startup = state.seconds() - spent["measure"] - spent["census"]  # a run does neither
    finish = n_sequences * pace.postprocess_seconds_per_sequence
    seconds = {
        effort: startup + n_left * pace.seconds_per_sequence(effort) + finish
        for effort in Effort
        if effort != Effort.PRIORS
    }
    folder = _folder_that_is_there(out)
    needed, free = _disk_bytes(job, n_left), shutil.disk_usage(folder).free
    unknown = options.budget is None or (not pace.is_measured and n_left > 0)
    fits = None if unknown or options.budget is None else seconds[Effort.FULL] <= options.budget * (1 - MARGIN_SHARE)
    return {
        "sequences": n_sequences,
        "sequences_kept_from_earlier_run": state.n_kept,
        "photos": summary.n_photos,
        "photo_bytes": summary.n_bytes,
        "problems": {reason.value: n for reason, n in sorted(summary.problems.items())},
        "engine": str(engine),
        "device": engine.device,
        "decoder": decoder.name.value,
        "disk_bytes_needed": needed,
        "disk_bytes_free": free,
        "disk_is_enough": needed <= free,
        "output_is_writable": folder.is_dir() and os.access(folder, os.W_OK | os.X_OK),
        "memory_bytes": _memory(n_sequences),
        "startup_seconds": round(startup, 3),
        "seconds_per_sequence": round(pace.seconds_per_sequence(Effort.FULL), 4),
        "projected_seconds": {effort.label: round(value, 3) for effort, value in seconds.items()},
        "budget_seconds": options.budget,
        "fits": fits,
    }


def reason_not_to_run(figures: dict[str, Any], out: Path, options: RunOptions) -> HakunaError | None:
    """How the run would end other than well, as far as the figures of `estimate` tell; the gravest of several."""
    if not figures["output_is_writable"]:
        return OutputError(f"{out} must be writable, got: it is not")
    if not figures["disk_is_enough"]:
        return OutputError(
            f"{out} must have room for about {figures['disk_bytes_needed']} bytes, got {figures['disk_bytes_free']} free"
        )
    n_failing, n_allowed = sum(figures["problems"].values()), options.allowed_failures(figures["photos"])
    if n_failing > n_allowed:
        return TooManyFailuresError(
            f"photos: at most {100 * options.max_failures:g}% may fail, {n_allowed} of {figures['photos']}, "
            f"got {n_failing} that cannot be used: {figures['problems']}"
        )
    if figures["fits"] is False:
        return DoesNotFitError(
            f"--budget {options.budget:g} s: must be enough for every sequence at full effort, "
            f"got a projection of {figures['projected_seconds']['full']:g} s"
        )
    return None


def _measure(work: Worker, networks: LoadedNetworks, estimator: Estimator, pace: DeadlinePolicy) -> None:
    """Run a few batches as a run would, one after the other, and tell `pace`."""
    job = work.job
    passes = passes_for(job.bundle.manifest, Effort.FULL, flip_tta=job.flip_tta)
    with work.stopwatch("measure"):
        for number, sequences in enumerate(_samples(job.sequences, work.options.batch_size)):
            watch = Stopwatch()
            photos = replace(work, stopwatch=watch)
            viewed = list(photos.viewed(sequences, len(sequences)))
            photo_seconds = photos.photo_seconds()
            with watch("networks"):
                records = work.ask(networks, viewed)
            together = (records * -(-CHUNK_RECORDS // len(records)))[:CHUNK_RECORDS]  # as the second phase does
            with watch("estimate"):
                estimator(together)
            if not number:
                continue  # the first one warms up
            seconds, cost = watch.seconds(), sum(relative_cost(passes, one.n_frames) for one in viewed)
            pace.observe(Batch(len(viewed), cost, cost, seconds["networks"], photo_seconds))
            pace.postprocess_seconds_per_sequence = seconds["estimate"] / len(together)


def _samples(sequences: tuple[Sequence, ...], batch_size: int) -> list[list[Sequence]]:
    """Batches evenly from all sequences; the first one twice, for warming up."""
    if not sequences:
        return []
    n_batches = min(MEASURED_BATCHES, -(-len(sequences) // batch_size))
    starts = [len(sequences) * number // n_batches for number in range(n_batches)]
    batches = [list(islice(sequences, start, start + batch_size)) for start in starts]
    return [batches[0], *batches]


def _disk_bytes(job: Job, n_left: int) -> int:
    """Bytes that the outputs need beside what is there."""
    manifest = job.bundle.manifest
    n_outputs = sum(len(one.sizes) * (manifest.n_frames if one.per_frame else 1) for one in manifest.networks)
    record = RECORD_BYTES + RECORD_BYTES_PER_OUTPUT * n_outputs
    return int(n_left * record + len(job.sequences) * ROW_COPIES * ROW_BYTES)


def _folder_that_is_there(out: Path) -> Path:
    """Where the outputs would go: the folder, or the first above it that is there."""
    folder = out.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def _memory(n_sequences: int) -> int:
    """Peak bytes so far, which a run keeps, and what grows with the number of sequences."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + n_sequences * MEMORY_BYTES_PER_SEQUENCE
