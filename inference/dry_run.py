"""What a run would meet and take, found out without touching anything."""

from __future__ import annotations

import os
import resource
import shutil
import stat
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from inference.budget import MARGIN_SHARE, Batch
from inference.decoding import find_decoder
from inference.domain import Effort, FailureReason, Precision
from inference.engines import find_engine, load_networks
from inference.estimation import Estimator
from inference.passes import passes_for, relative_cost
from inference.photo_pass import PhotoPass
from inference.photos_to_records import pace_for
from inference.records_to_submission import CHUNK_RECORDS
from inference.screening import MAX_FILE_BYTES, safe_path
from inference.stopwatch import Stopwatch

if TYPE_CHECKING:
    from pathlib import Path

    from inference.budget import Pace
    from inference.domain import Sequence
    from inference.job import Job, RunOptions
    from inference.networks import LoadedNetworks
    from inference.run_state import RunState

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


@dataclass(frozen=True)
class FileCensus:
    """What the photos of a job look like from outside."""

    n_photos: int
    n_bytes: int
    problems: Counter[FailureReason]


def examine(job: Job, out: Path, options: RunOptions, state: RunState) -> dict[str, Any]:
    """Look at the files, measure a few batches, and project the run; returns figures ready for JSON.

    `fits` is None without a budget, and where no photo could be read to measure with.
    """
    engine = find_engine(job.engine)
    decoder = find_decoder(job.decoder, options.n_workers)
    estimator = Estimator(job.bundle)
    stopwatch = Stopwatch()
    with stopwatch("census"):
        census = take_census(job)
    work = PhotoPass(job, options, decoder, stopwatch, state.check)
    with stopwatch("load networks"):
        networks = load_networks(job.bundle, engine, Precision.FLOAT32, state.check)
    pace = pace_for(job, options.budget or float("inf"))
    _measure(work, networks, estimator, pace)
    n_sequences = len(job.sequences)
    spent = stopwatch.seconds()
    startup = state.seconds() - spent["measure"] - spent["census"]  # a run does neither
    seconds = {effort: _projected(pace, effort, n_sequences, startup) for effort in Effort if effort != Effort.PRIORS}
    needed, free = _disk(job, out)
    unknown = options.budget is None or (not pace.is_measured and n_sequences > 0)
    fits = None if unknown or options.budget is None else seconds[Effort.FULL] <= options.budget * (1 - MARGIN_SHARE)
    return {
        "sequences": n_sequences,
        "photos": census.n_photos,
        "photo_bytes": census.n_bytes,
        "problems": {reason.value: n for reason, n in sorted(census.problems.items())},
        "engine": str(engine),
        "device": engine.device,
        "decoder": decoder.name.value,
        "disk_bytes_needed": needed,
        "disk_bytes_free": free,
        "disk_is_enough": needed <= free,
        "memory_bytes": _memory(n_sequences),
        "startup_seconds": round(startup, 3),
        "seconds_per_sequence": round(pace.seconds_per_sequence(Effort.FULL), 4),
        "projected_seconds": {effort.label: round(value, 3) for effort, value in seconds.items()},
        "budget_seconds": options.budget,
        "fits": fits,
    }


def take_census(job: Job) -> FileCensus:
    """Count the photos that take part, their bytes, and what is wrong with them as far as their folder entries tell."""
    n_photos = n_bytes = 0
    problems: Counter[FailureReason] = Counter()
    for sequence in job.sequences:
        for image in sequence.images[: job.bundle.manifest.n_frames]:
            n_photos += 1
            path = safe_path(job.data_folder, image.file_name)
            if path is None:
                problems[FailureReason.UNSAFE_PATH] += 1
                continue
            try:
                status = os.stat(path)
            except FileNotFoundError:
                problems[FailureReason.MISSING] += 1
                continue
            except OSError:
                problems[FailureReason.UNREADABLE] += 1
                continue
            n_bytes += status.st_size
            problems.update(_problem(status))
    return FileCensus(n_photos, n_bytes, problems)


def _problem(status: os.stat_result) -> list[FailureReason]:
    if not stat.S_ISREG(status.st_mode):
        return [FailureReason.NOT_A_FILE]
    if not status.st_size:
        return [FailureReason.EMPTY_FILE]
    return [FailureReason.TOO_LARGE] if status.st_size > MAX_FILE_BYTES else []


def _measure(work: PhotoPass, networks: LoadedNetworks, estimator: Estimator, pace: Pace) -> None:
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
            pace.finish_seconds_per_sequence = seconds["estimate"] / len(together)


def _samples(sequences: tuple[Sequence, ...], batch_size: int) -> list[list[Sequence]]:
    """Batches evenly from all sequences; the first one twice, for warming up."""
    if not sequences:
        return []
    n_batches = min(MEASURED_BATCHES, -(-len(sequences) // batch_size))
    starts = [len(sequences) * number // n_batches for number in range(n_batches)]
    batches = [list(islice(sequences, start, start + batch_size)) for start in starts]
    return [batches[0], *batches]


def _projected(pace: Pace, effort: Effort, n_sequences: int, startup: float) -> float:
    return startup + n_sequences * (pace.seconds_per_sequence(effort) + pace.finish_seconds_per_sequence)


def _disk(job: Job, out: Path) -> tuple[int, int]:
    """Bytes that the outputs need, and that are free where they would go."""
    manifest = job.bundle.manifest
    n_outputs = sum(len(one.sizes) * (manifest.n_frames if one.per_frame else 1) for one in manifest.networks)
    record = RECORD_BYTES + RECORD_BYTES_PER_OUTPUT * n_outputs
    needed = int(len(job.sequences) * (record + ROW_COPIES * ROW_BYTES))
    folder = out.absolute()
    while not folder.exists():
        folder = folder.parent
    return needed, shutil.disk_usage(folder).free


def _memory(n_sequences: int) -> int:
    """Peak bytes so far, which a run keeps, and what grows with the number of sequences."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + n_sequences * MEMORY_BYTES_PER_SEQUENCE
