"""What an earlier run left in the output folder: whose it is, and how much of it stays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import islice
from math import inf
from pathlib import Path

from inference.bundle.passes import Effort
from inference.core import version
from inference.core.choices import REFERENCE_PIXELS, DecoderName, EngineName
from inference.core.errors import CheckpointError
from inference.core.sequences import IO_FAILURES, FailureReason
from inference.execution.job import Job, RunOptions
from inference.images.decoder import Decoder, find_decoder
from inference.networks.engine import Engine, find_engine
from inference.process.progress import RunState
from inference.records.jsonl import read_header, read_records
from inference.records.schema import RECORDS_NAME, Record, RecordsHeader, outputs_of
from inference.storage.interface import STAT_FAILURES, Entry


def records_header(job: Job, engine: Engine, decoder: Decoder, existing: RecordsHeader | None) -> RecordsHeader:
    """Everything that the records depend on."""
    digest = hashlib.sha256()
    for sequence in job.plan.sequences:
        photos = [(image.file_name, image.datetime) for image in sequence.images]
        digest.update(repr((sequence.seq_id, sequence.site, photos)).encode())
    return RecordsHeader(
        fingerprint={
            "hakuna version": version.hakuna_version(),
            "bundle": job.bundle.id,
            "metadata and submission format": digest.hexdigest(),
            "preprocessing": job.preset.value,
            "flip TTA": "on" if job.flip_tta else "off",
            "engine": str(engine),
            "device": engine.device,
            "pixels": decoder.pixels,
            "precision": job.precision.value,
        },
        outputs=outputs_of(job.bundle.manifest),
        labels=job.plan.labels,
        n_sequences=len(job.sequences),
        first=job.first,
        n_all=len(job.plan.sequences),
        precision=existing.precision if existing else {},
    )


@dataclass(frozen=True)
class ResumePoint:
    """What a run begins with, or goes on with: the same engine and decoder as before, where `auto` chose them.

    Attributes
    ----------
    path : of the records
    header : of the records that this run makes
    existing : header of the records that are there, of the same job; None where the run starts anew
    """

    path: Path
    engine: Engine
    decoder: Decoder
    header: RecordsHeader
    existing: RecordsHeader | None


def resume_point(job: Job, out: Path, options: RunOptions) -> ResumePoint:
    """Find engine and decoder, and look whose records are in the folder.

    Raises
    ------
    CheckpointError
        They are another job's.
    UsageError, UnusableGpuError
        Engine or decoder are not there.
    """
    path = out / RECORDS_NAME
    existing = read_header(path) if path.exists() and not options.fresh else None
    engine = find_engine(_engine_name(job, existing))
    decoder = find_decoder(_decoder_name(job, existing), options.n_workers)
    header = records_header(job, engine, decoder, existing)
    different = header.differences(existing) if existing else []
    if different:
        raise CheckpointError(
            f"{path}: must belong to this run, but differs in {', '.join(different)}; "
            "choose another --out, or --restart to start over"
        )
    return ResumePoint(path, engine, decoder, header, existing)


def _engine_name(job: Job, existing: RecordsHeader | None) -> EngineName:
    """What `auto` meant when the records began goes on."""
    if job.engine is EngineName.AUTO and existing:
        return EngineName(existing.fingerprint["engine"].split()[0])
    return job.engine


def _decoder_name(job: Job, existing: RecordsHeader | None) -> DecoderName:
    """What `auto` meant when the records began goes on."""
    if job.decoder is DecoderName.AUTO and existing:
        used_dali = existing.fingerprint.get("pixels", REFERENCE_PIXELS) != REFERENCE_PIXELS
        return DecoderName.DALI if used_dali else DecoderName.FAST
    return job.decoder


@dataclass
class CompletedRecords:
    """What stays of an earlier run.

    Attributes
    ----------
    is_complete : whether it left nothing to do
    n_recovered : photos that failed in a complete run and look as if they would not any more
    """

    is_complete: bool = False
    n_recovered: int = 0


def count_completed(start: ResumePoint, job: Job, options: RunOptions, state: RunState) -> CompletedRecords:
    """Tell `state` what an earlier run of this very job left.

    At the end of the records, sequences that there was no time to look at are done again, and of an unfinished run those
    of which the disk did not give any photo, with the one before, if it lacks some: single bad spots cost no more than
    themselves. An unfinished run also does everything again from the first sequence with a photo that was missing and is
    there by now. A run with more failures than allowed is unfinished.
    """
    header, path = start.header, start.path
    state.n_all = header.n_sequences
    if start.existing is None:
        return CompletedRecords()
    n_whole = n_looked_at = n_read = n_failures = 0
    recovered = _Recovered(job, options)
    for n_whole, record in enumerate(read_records(path, header), start=1):
        state.check()
        if record.effort < Effort.PRIORS or not record.has_metadata:
            n_looked_at = n_whole
        in_trouble = not IO_FAILURES.isdisjoint(failure.reason for failure in record.failures)
        if record.n_frames or not in_trouble:
            n_read = n_whole - in_trouble  # the first one in trouble may have been half read
        n_failures += len(record.failures)
        recovered.look(n_whole - 1, record)
    is_finished = n_whole == header.n_sequences and n_failures <= options.allowed_failures(job.n_photos)
    n_kept = n_looked_at if is_finished else int(min(n_looked_at, n_read, recovered.first))
    if n_kept < header.n_sequences:
        n_kept -= n_kept % options.batch_size  # a run that goes on sees the same batches
    for record in islice(read_records(path, header), n_kept):
        state.n_failures += len(record.failures)
        state.n_degraded += record.is_degraded
    state.n_done = state.n_kept = n_kept
    return CompletedRecords(n_kept == header.n_sequences, recovered.n_photos)


class _Recovered:
    """Photos whose folder entries told that they failed, and tell so no more."""

    def __init__(self, job: Job, options: RunOptions) -> None:
        self._storage = job.storage(options.read_timeout)
        self._is_looking = True
        self.n_photos = 0
        self.first: float = inf
        """Index of the first sequence with one of them."""

    def look(self, index: int, record: Record) -> None:
        """Look at the failed photos of a sequence again; no more where the disk does not answer."""
        names = [failure.file_name for failure in record.failures if failure.reason in STAT_FAILURES]
        if not names or not self._is_looking:
            return
        entries = self._storage.entries(names)
        self._is_looking = all(isinstance(one, Entry) or one.reason is not FailureReason.TIMED_OUT for one in entries)
        n_recovered = sum(isinstance(one, Entry) for one in entries)
        self.n_photos += n_recovered
        if n_recovered:
            self.first = min(self.first, index)
