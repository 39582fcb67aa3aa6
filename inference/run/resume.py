"""Examines the records of an earlier run in the output folder: which job they belong to, and which ones to keep."""

import hashlib
import math
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from inference.bundle.passes import Effort
from inference.core import version
from inference.core.choices import REFERENCE_PIXELS, DecoderName, EngineName, Precision
from inference.core.errors import CheckpointError, OutputError
from inference.core.sequences import IO_FAILURES, MOST_NAMED, FailureReason, named
from inference.execution.executor import Executor, ExecutorFacts
from inference.execution.job import Job, RunOptions
from inference.images.decoder import is_whole
from inference.networks.engine import CPU
from inference.networks.probe import LARGEST_GPU_DIFFERENCE
from inference.outputs.finished_run import check_own_results, check_run_files
from inference.outputs.run_file import RUN_REPORT_NAME, read_run_file
from inference.process.progress import RunState
from inference.process.stopwatch import Stopwatch
from inference.records.jsonl import (
    METADATA,
    SEQ_IDS,
    check_not_too_many,
    digest_of_seq_ids,
    digest_of_sequences,
    read_header,
    read_records,
)
from inference.records.schema import PROBE, RECORDS_NAME, Record, RecordsHeader, outputs_of
from inference.run.context import ExecutorFactory, RunContext
from inference.storage.interface import ENTRY_FAILURES, Entry

log = structlog.get_logger()


def records_header(job: Job, facts: ExecutorFacts, existing: RecordsHeader | None) -> RecordsHeader:
    """Everything that the records depend on. The probe, which needs the networks, is copied from `existing`."""
    return RecordsHeader(
        fingerprint={
            "hakuna version": version.hakuna_version(),
            "bundle": job.bundle.id,
            METADATA: digest_of_sequences(job.plan.sequences),
            SEQ_IDS: digest_of_seq_ids(sequence.seq_id for sequence in job.plan.sequences),
            "preprocessing": job.preset.value,
            "flip TTA": "on" if job.flip_tta else "off",
            "engine": facts.engine,
            "device": facts.device,
            "pixels": facts.pixels,
            "precision": job.wanted_precision,
            **({PROBE: existing.fingerprint.get(PROBE, "")} if existing else {}),
        },
        outputs=outputs_of(job.bundle.manifest),
        labels=job.plan.labels,
        n_sequences=len(job.sequences),
        first=job.first,
        n_all=len(job.plan.sequences),
        precision=existing.precision if existing else {},
        probe=existing.probe if existing else (),
    )


def with_networks(context: RunContext, precision: dict[str, Any]) -> RunContext:
    """The run, with the answers to the probe by its networks in the selected precision.

    Raises CheckpointError if kept records come from networks with other answers; see `check_probe`.
    """
    answers = context.executor.load(Precision(precision["used"]))
    probe = tuple(answers.ravel().tolist())
    header, path = replace(context.header, precision=precision), context.records_path
    if context.state.n_kept:
        allowed = context.options.allow_mixed_hardware
        difference = check_probe(header, probe, f"{path}: must belong to this run", allowed=allowed)
        return replace(context, header=header, probe_difference=difference)
    digest = hashlib.sha256(np.ascontiguousarray(answers, "<f4").tobytes()).hexdigest()
    header = replace(header, fingerprint=header.fingerprint | {PROBE: digest}, probe=probe)
    return replace(context, header=header, probe_difference=0.0)


def check_probe(begun: RecordsHeader, probe: tuple[float, ...], wanted: str, *, allowed: bool) -> float:
    """The largest difference between these answers to the probe and those at the first record.

    On CPUs they must be the same, bit for bit. On GPUs the kernels may differ from run to run, within a bound. Raises
    CheckpointError, starting with `wanted`, if they differ by more and that is not allowed.
    """
    is_comparable = len(begun.probe) == len(probe)
    difference = float(np.abs(np.subtract(begun.probe, probe)).max(initial=0.0)) if is_comparable else math.inf
    bound = 0.0 if begun.fingerprint.get("device") == CPU else LARGEST_GPU_DIFFERENCE
    if not (difference <= bound or (allowed and difference < math.inf)):
        raise CheckpointError(
            f"{wanted}, but differs in {PROBE} of its networks, by up to {difference:.2g} (allowed: {bound:g}): another "
            "kind of processor rounds differently; use the original kind, start over, or mix both with --allow-mixed-hardware"
        )
    if difference:
        log.warning("the networks answer the probe differently from the first records", largest_difference=difference)
    return difference


@dataclass(frozen=True)
class ResumePoint:
    """The point where a run begins or resumes.

    Attributes
    ----------
    header : header of the records that this run makes
    is_complete : whether the earlier run left nothing to do
    n_recovered : photos that failed or were cut short in the earlier run, and now seem usable
    """

    executor: Executor
    header: RecordsHeader
    is_complete: bool = False
    n_recovered: int = 0


def resume_point(
    job: Job, out: Path, options: RunOptions, state: RunState, stopwatch: Stopwatch, executor_for: ExecutorFactory
) -> ResumePoint:
    """Find the executor, read the header of existing records, and set `state` to the records that are kept.

    Raises
    ------
    CheckpointError
        The records belong to another job or do not match its sequences.
    OutputError
        Something other than a file has the name of an output.
    UsageError, UnusableGpuError
        The engine or decoder is not available.
    """
    check_run_files(out, OutputError)
    check_own_results(out)
    path = out / RECORDS_NAME
    existing = read_header(path) if path.exists() and not options.fresh else None
    executor = executor_for(_as_begun(job, existing), options, stopwatch, state.check)
    try:
        header = records_header(job, executor.facts, existing)
        state.n_all = header.n_sequences
        if existing is None:
            if not options.fresh:
                _check_results(out, header)
            return ResumePoint(executor, header)
        _check_same(path, header, existing)
        n_recovered = _count_completed(path, header, job, options, state)
        return ResumePoint(executor, header, state.n_done == state.n_all, n_recovered)
    except BaseException:
        executor.close()
        raise


def _check_same(path: Path, header: RecordsHeader, existing: RecordsHeader) -> None:
    """Raise CheckpointError if the job that left a file differs from this one."""
    if different := header.differences(existing):
        raise CheckpointError(
            f"{path}: must belong to this run, but differs in {', '.join(different)}; "
            "choose another --out, or --restart to start over"
        )


def _check_results(out: Path, header: RecordsHeader) -> None:
    """Raise CheckpointError if results without their records are those of another run."""
    try:
        known = read_run_file(out)["fingerprint"]  # with the probe, which the header does not have yet
        results = replace(header, fingerprint={name: one for name, one in known.items() if name != PROBE})
    except (OSError, ValueError, KeyError):
        return  # none, or damaged: nobody can use them
    _check_same(out / RUN_REPORT_NAME, header, results)


def _as_begun(job: Job, existing: RecordsHeader | None) -> Job:
    """The job that continues existing records, with `auto` resolved to the engine and decoder that they were made with."""
    if existing is None:
        return job
    engine, decoder, pixels = job.engine, job.decoder, existing.fingerprint.get("pixels", "")
    if engine is EngineName.AUTO:
        engine = EngineName(existing.fingerprint["engine"].split()[0])
    if decoder is DecoderName.AUTO and pixels == REFERENCE_PIXELS:
        decoder = DecoderName.FAST
    elif decoder is DecoderName.AUTO and pixels.split()[:1] == [DecoderName.DALI.value]:
        decoder = DecoderName.DALI
    return replace(job, engine=engine, decoder=decoder, begun=existing)


def _count_completed(path: Path, header: RecordsHeader, job: Job, options: RunOptions, state: RunState) -> int:
    """Set `state` to the progress of an earlier run; returns the number of bad photos that were repaired since.

    Sequences at the end of the records that were skipped for lack of time are redone. In an unfinished run, so are
    those at the end without any photo from the disk, and the one before if it lacks some: single bad spots cost no more
    than themselves. An unfinished run also redoes everything from the first sequence with such a photo. A run with more failures than allowed, or with nothing else, is unfinished.
    """
    n_whole = n_processed = n_read = 0
    failures, differences = array("L"), array("d")
    degraded, predicted, efforts, mixed = (array("B") for _ in range(4))
    count_recovered, n_recovered, first_recovered = _count_recovered(job, options, path), 0, header.n_sequences
    for n_whole, record in enumerate(read_records(path, header), start=1):
        state.check()
        check_not_too_many(n_whole, header, str(path))
        if record.seq_id != (planned := job.sequences[n_whole - 1].seq_id):
            raise CheckpointError(
                f"{path}, line {n_whole + 1}: must be the record of sequence {planned!r}, got that of {record.seq_id!r}; "
                "choose another --out, or --restart to start over"
            )
        if record.effort < Effort.PRIORS or not record.has_metadata:
            n_processed = n_whole
        has_io_failure = not IO_FAILURES.isdisjoint(failure.reason for failure in record.failures)
        if record.n_frames or not has_io_failure:
            n_read = n_whole - has_io_failure  # the first one may be partly read
        failures.append(len(record.failures))
        state.first_failures += named(record.failures) if len(state.first_failures) < MOST_NAMED else []
        degraded.append(record.is_degraded)
        efforts.append(record.effort)
        mixed.append(record.is_mixed)
        predicted.append(record.n_frames > 0)
        differences.append(record.probe_difference)
        if found := count_recovered(record):
            n_recovered, first_recovered = n_recovered + found, min(first_recovered, n_whole - 1)
    is_finished = n_whole == header.n_sequences and sum(failures) <= options.allowed_failures(job.n_photos)
    is_finished = is_finished and (any(predicted) or not any(failures))
    n_kept = n_processed if is_finished else min(n_processed, n_read, first_recovered)
    if n_kept < header.n_sequences:
        n_kept -= n_kept % options.batch_size  # a resumed run sees the same batches
    state.n_failures, state.n_degraded = sum(failures[:n_kept]), sum(degraded[:n_kept])
    state.n_predicted, state.n_lower_precision = sum(predicted[:n_kept]), sum(mixed[:n_kept])
    state.efforts = Counter(Effort(one).label for one in efforts[:n_kept] if one)
    state.first_failures = state.first_failures[: state.n_failures]
    state.probe_differences = Counter(filter(None, differences[:n_kept]))
    state.n_done = state.n_kept = n_kept
    return n_recovered


def _count_recovered(job: Job, options: RunOptions, records: Path) -> Callable[[Record], int]:
    """Count the photos in a record that failed or were cut short, and now seem usable.

    Where the bytes were at fault, a photo that was changed after the last record is read and decoded. After the first
    lookup without an answer from the disk, no more photos are looked up.
    """
    storage, is_answering, written_ns = job.storage(options.read_timeout), True, records.stat().st_mtime_ns

    def count(record: Record) -> int:
        nonlocal is_answering
        needs_bytes = dict.fromkeys(record.cut_short, True)
        needs_bytes |= {one.file_name: one.reason not in ENTRY_FAILURES for one in record.failures}
        if not needs_bytes or not is_answering:
            return 0
        n_recovered, entries = 0, storage.entries(list(needs_bytes))
        for name, entry in zip(needs_bytes, entries, strict=True):
            if isinstance(entry, Entry):
                n_recovered += not needs_bytes[name] or (
                    max(entry.changed_ns, entry.placed_ns) > written_ns and is_whole(storage, name)
                )
            else:
                is_answering = is_answering and entry.reason is not FailureReason.TIMED_OUT
        return n_recovered

    return count
