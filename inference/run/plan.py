"""Projects a run's inputs, time, disk and memory without changing anything."""

import os
import resource
import shutil
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from inference.bundle.passes import Effort
from inference.core.choices import Precision
from inference.core.errors import DoesNotFitError, HakunaError, OutputError, TooManyFailuresError
from inference.core.files import nearest_folder
from inference.core.sequences import Sequence
from inference.dataset.input_check import check_any_photo, summarise_input
from inference.ensemble.estimator import Estimator
from inference.execution.job import Job, RunOptions
from inference.execution.local_executor import local_executor
from inference.execution.throughput import MeasuredThroughput, fits, run_seconds
from inference.process.progress import RunState
from inference.process.stopwatch import Stopwatch
from inference.records.jsonl import CHUNK_RECORDS
from inference.records.schema import Record
from inference.run.context import ExecutorFactory, RunContext
from inference.run.precision import select_precision
from inference.run.records_to_submission import check_features_path
from inference.run.resume import resume_point, with_networks
from inference.settings.units import amount_of_bytes
from inference.storage.interface import ENTRY_FAILURES

MEASURED_BATCHES = 3
"""Batches for measuring the rates, after one that warms up; taken evenly from all sequences."""
RECORD_BYTES_PER_OUTPUT = 4 * 54 * 4 / 3
"""54 float32 in base64."""
RECORD_BYTES = 200
"""All other fields of a record."""
ROW_BYTES = 54 * 13 + 30
"""A row of the submission: 54 numbers of at most 12 characters and a comma, and its `seq_id`."""
ROW_COPIES = 3
"""The submission, its temporary file, and the provisional one."""
MEMORY_BYTES_PER_SEQUENCE = 2_000
"""Metadata of three photos and a provisional row, measured with a million rows of metadata."""
INPUT_CHECK, MEASURE, ESTIMATE = "input check", "measure", "estimate"
"""Stages on the stopwatch that only a plan has."""


def plan(
    job: Job, out: Path, options: RunOptions, state: RunState, executor_for: ExecutorFactory = local_executor
) -> dict[str, Any]:
    """Check the files, measure a few batches, and project the run; returns figures ready for JSON.

    `fits` is None without a budget, and if no photo could be read for measuring.
    """
    stopwatch = Stopwatch()
    check_features_path(options.features_path, job.bundle.manifest)
    start = resume_point(job, out, options, state, stopwatch, executor_for)
    context = RunContext(
        job, options, out, start.header, start.executor, Estimator(job.bundle), state, stopwatch, lambda *_: None
    )
    n_frames, n_left = job.bundle.manifest.n_frames, state.n_all - state.n_done
    storage = job.storage(options.read_timeout)
    if not start.is_complete:
        check_any_photo(job.plan.sequences, storage, n_frames, state.check)
    with stopwatch(INPUT_CHECK):
        summary = summarise_input(job.sequences, storage, n_frames)
    with closing(context.executor):
        selected = select_precision(context)
        context = context if start.is_complete else with_networks(context, selected)
        context.estimator.load()
        with stopwatch(MEASURE):
            throughput, measured = _measured(context, Precision(selected["used"]))
    startup, seconds = _projected(context, throughput)
    is_known = throughput.is_measured or not n_left
    folder = out if out.exists() else nearest_folder(out)
    needed, free = _disk_bytes(job, n_left), shutil.disk_usage(folder).free
    return {
        "sequences": state.n_all,
        "sequences_kept_from_earlier_run": state.n_kept,
        "photos": summary.n_photos,
        "photo_bytes": summary.n_bytes,
        "problems": {reason.value: n for reason, n in sorted(summary.problems.items())},
        "first_problems": summary.first_problems,
        "measured_photos": measured,
        "engine": context.executor.facts.engine,
        "device": context.executor.facts.device,
        "decoder": context.executor.facts.decoder,
        "precision": selected["used"],
        "disk_bytes_needed": needed,
        "disk_bytes_free": free,
        "disk_is_enough": needed <= free,
        "output_is_writable": folder.is_dir() and os.access(folder, os.W_OK | os.X_OK),
        "memory_bytes": _peak_bytes() + state.n_all * MEMORY_BYTES_PER_SEQUENCE,
        "startup_seconds": round(startup, 3),
        "seconds_per_sequence": round(throughput.seconds_per_sequence(Effort.FULL), 4),
        "projected_seconds": seconds,
        "budget_seconds": options.budget,
        "fits": fits(seconds[Effort.FULL.label], options.budget) if options.budget and is_known else None,
    }


def reason_not_to_run(
    figures: dict[str, Any], out: Path, options: RunOptions, *, is_shard: bool = False
) -> HakunaError | None:
    """The most serious reason why the run would fail, judged by the figures of `plan`; None without one."""
    if figures["sequences_kept_from_earlier_run"] == figures["sequences"] > 0:
        return None  # nothing is read or written
    if not figures["output_is_writable"]:
        return OutputError(f"{out} must be writable, but is not")
    if not figures["disk_is_enough"]:
        needed, free = (amount_of_bytes(figures[name]) for name in ("disk_bytes_needed", "disk_bytes_free"))
        return OutputError(
            f"{out} must have room for about {needed}, got {free} free", hint="free some space, or choose another --out"
        )
    if refused := _too_many_failures(figures, options, is_shard=is_shard):
        return refused
    if figures["fits"] is False:
        return DoesNotFitError(
            f"--budget {options.budget:g} s: must be enough for every sequence at full effort, "
            f"got a projection of {figures['projected_seconds']['full']:g} s",
            hint="give a larger --budget; `hakuna predict` keeps this one and gives sequences less of the ensemble",
        )
    return None


def _too_many_failures(figures: dict[str, Any], options: RunOptions, *, is_shard: bool) -> HakunaError | None:
    """The error of a run whose photos fail, as far as folder entries and the measured batches show it."""
    unusable = {
        reason: n for reason, n in figures["measured_photos"].items() if reason not in ("used", *ENTRY_FAILURES)
    }
    n_failing = sum(figures["problems"].values()) + sum(unusable.values())
    n_allowed, first = options.allowed_failures(figures["photos"]), ", ".join(figures["first_problems"] or unusable)
    if n_failing == figures["photos"] > 0 and not is_shard:
        return TooManyFailuresError(f"photos: at least one must be usable, got none of {n_failing}, the first: {first}")
    if n_failing > n_allowed:
        return TooManyFailuresError(
            f"photos: at most {100 * options.max_failures:g}% may fail, {n_allowed} of {figures['photos']}, "
            f"got {n_failing} that cannot be used, the first: {first}"
        )
    return None


def _measured(context: RunContext, precision: Precision) -> tuple[MeasuredThroughput, dict[str, int]]:
    """Run a few batches, photos first and then networks, and time the estimate of a record on the stopwatch.

    Also returns the number of their photos that were used, and of those that were not, by reason.
    """
    throughput = MeasuredThroughput(context.job.costs, context.executor.facts.network_load)
    records: dict[str, Record] = {}
    for number, sequences in enumerate(_samples(context.job.sequences, context.options.batch_size)):
        block = context.executor.sample(sequences, precision)
        records |= {record.seq_id: record for record in block.records}
        together = (block.records * -(-CHUNK_RECORDS // len(sequences)))[:CHUNK_RECORDS]  # like the second phase
        if not number:
            context.estimator(together)
            continue  # the first one warms up
        throughput.observe(block.timing)
        with context.stopwatch(ESTIMATE, len(together)):
            context.estimator(together)
    n_used = sum(record.n_frames for record in records.values())
    failures = Counter(failure.reason.value for record in records.values() for failure in record.failures)
    return throughput, {"used": n_used, **dict(sorted(failures.items()))} if n_used or failures else {}


def _projected(context: RunContext, throughput: MeasuredThroughput) -> tuple[float, dict[str, float]]:
    """Seconds of the run's start, and of the whole run by effort."""
    state, spent = context.state, context.stopwatch.seconds()
    startup = state.seconds() - spent[INPUT_CHECK] - spent[MEASURE]
    finish = context.stopwatch.seconds_per_item(ESTIMATE)
    n_left = state.n_all - state.n_done
    seconds = {
        one.label: run_seconds(startup, n_left, throughput.seconds_per_sequence(one), state.n_all, finish)
        for one in Effort
        if one is not Effort.PRIORS
    }
    return startup, {label: round(whole, 3) for label, whole in seconds.items()}


def _samples(sequences: tuple[Sequence, ...], batch_size: int) -> list[list[Sequence]]:
    """Batches taken evenly from all sequences; the first one twice, as a warm-up."""
    if not sequences:
        return []
    n_batches = min(MEASURED_BATCHES, -(-len(sequences) // batch_size))
    starts = [len(sequences) * number // n_batches for number in range(n_batches)]
    batches = [list(sequences[start : start + batch_size]) for start in starts]
    return [batches[0], *batches]


def _peak_bytes() -> int:
    """The most memory that this process had; a run keeps it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _disk_bytes(job: Job, n_left: int) -> int:
    """Bytes that the outputs need in addition to existing files."""
    manifest = job.bundle.manifest
    n_outputs = sum(len(one.sizes) * (manifest.n_frames if one.per_frame else 1) for one in manifest.networks)
    record = RECORD_BYTES + RECORD_BYTES_PER_OUTPUT * n_outputs
    return int(n_left * record + len(job.sequences) * ROW_COPIES * ROW_BYTES)
