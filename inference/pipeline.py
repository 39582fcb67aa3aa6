"""The order of things: photos -> records (phase 1), records -> submission (phase 2)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from inference import run_report
from inference.aggregation import aggregate
from inference.boosters import Stackers
from inference.bundle import DEMO_WARNING
from inference.decoding import decode_sequence, work_ahead
from inference.domain import LABELS, CheckpointError, Sequence, UsageError, ViewedSequence
from inference.features import FeatureFile, stacker_features
from inference.files import output_errors
from inference.info_strip import black_out_strip
from inference.metadata import hour_and_month
from inference.networks import Answers, ask_networks
from inference.records import (
    RECORDS_NAME,
    Record,
    RecordsHeader,
    RecordWriter,
    count_whole_records,
    outputs_of,
    read_header,
    read_records,
)
from inference.run_report import RecordCounts, RunFacts
from inference.submission import FAILURES_NAME, SUBMISSION_NAME, write_failures, write_submission
from inference.views import make_views, same_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from inference.bundle import Bundle, Manifest
    from inference.decode_pillow import Preset
    from inference.domain import Probabilities
    from inference.metadata import Plan
    from inference.stopwatch import Stopwatch

log = structlog.get_logger()

Progress = Callable[[int, int], None]
"""Called with the number of sequences done and of all."""

BATCHES_AHEAD = 2
"""Batches of decoded sequences that may wait for the networks: bounds memory."""
CHUNK_RECORDS = 1024
"""Records that phase 2 holds at a time: 7 MB of features."""


@dataclass(frozen=True)
class Job:
    """What to compute: the same job gives the same bytes, however it is run."""

    data_folder: Path
    plan: Plan
    bundle: Bundle
    preset: Preset
    flip_tta: bool


def predict(
    job: Job,
    out: Path,
    *,
    n_workers: int,
    batch_size: int,
    fresh: bool,
    features_path: Path | None,
    on_progress: Progress,
) -> dict[str, Any]:
    """Predict every sequence of the plan and write everything into `out`; returns the content of `run.json`.

    Records of the same job that are already there are kept; a finished run is verified and left alone.
    """
    # TensorFlow takes seconds to import: only a run that needs it does.
    from inference import engine_tensorflow  # noqa: PLC0415

    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    header = _records_header(job, engine_tensorflow.describe())
    records_path = out / RECORDS_NAME
    n_kept = 0 if fresh else _whole_records(records_path, header)
    complete = n_kept == header.n_sequences
    if complete and features_path is None and (report := run_report.verify(out, job.bundle)):
        log.info("already complete, verified, nothing changed", out=str(out), sequences=header.n_sequences)
        return report
    _log_job(job, n_kept)
    run = RunFacts(plan=job.plan)
    if not complete:
        n_kept -= n_kept % batch_size  # a continued run sees the same batches
        writer = RecordWriter(records_path, header, keep=n_kept)
        try:
            _photos_to_records(job, writer, n_kept, n_workers, batch_size, run.stopwatch, on_progress)
        finally:
            writer.close()
    run.n_kept = n_kept
    return records_to_submission(out, job.bundle, out, features_path=features_path, run=run)


def _photos_to_records(
    job: Job,
    writer: RecordWriter,
    n_kept: int,
    n_workers: int,
    batch_size: int,
    stopwatch: Stopwatch,
    on_progress: Progress,
) -> None:
    """Phase 1: every photo is read once, every network sees what exists, every sequence leaves one record."""
    from inference import engine_tensorflow  # noqa: PLC0415  # see predict

    manifest = job.bundle.manifest
    sequences = job.plan.sequences
    with stopwatch("load networks"):
        engine_tensorflow.prepare_devices()
        networks = {
            network.name: engine_tensorflow.TensorFlowNetwork(
                job.bundle.path(network.folder), tuple(network_input.name for network_input in network.inputs)
            )
            for network in manifest.networks
        }
    viewed_sequences = work_ahead(
        lambda sequence: photos_to_views(sequence, job, stopwatch),
        islice(sequences, n_kept, None),
        n_workers,
        n_ahead=BATCHES_AHEAD * batch_size,
    )
    n_done = n_kept
    on_progress(n_done, len(sequences))
    while True:
        with stopwatch("wait for photos"):
            batch = list(islice(viewed_sequences, batch_size))
        if not batch:
            break
        with stopwatch("networks"):
            answers = ask_networks(batch, manifest, networks, flip_tta=job.flip_tta)
        with stopwatch("write records"):
            writer.append([_record(viewed, answer) for viewed, answer in zip(batch, answers, strict=True)])
        n_done += len(batch)
        on_progress(n_done, len(sequences))


def photos_to_views(sequence: Sequence, job: Job, stopwatch: Stopwatch) -> ViewedSequence:
    """Everything that happens to one sequence before the networks: read, decode, mask, views."""
    manifest = job.bundle.manifest
    with stopwatch("decode (all workers)"):
        decoded = decode_sequence(sequence, job.data_folder, job.preset, manifest.n_frames)
    if not decoded.frames:
        return ViewedSequence(sequence, 0, {}, decoded.failures, 0)
    with stopwatch("views (all workers)"):
        frames, n_resized = same_size(decoded.frames)
        frames = black_out_strip(frames)
        views = make_views(frames, manifest.view_keys)
    return ViewedSequence(sequence, len(frames), views, decoded.failures, n_resized)


def records_to_submission(
    records_folder: Path,
    bundle: Bundle,
    out: Path,
    *,
    features_path: Path | None = None,
    run: RunFacts | None = None,
) -> dict[str, Any]:
    """Phase 2: records -> aggregation -> stackers -> submission; returns the content of `run.json`.

    `bundle` may be another one than the records were made with, as long as its networks are the same.
    """
    run = run or RunFacts()
    records_path = records_folder / RECORDS_NAME
    header = read_header(records_path)
    _check_usable(records_path, header, bundle)
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    counts = RecordCounts()
    with run.stopwatch("aggregate, stack, write"), _feature_file(features_path, bundle.manifest) as feature_file:
        chunks = estimate(read_records(records_path, header), bundle)
        rows = (_observed(chunk, counts, feature_file) for chunk in chunks)
        write_submission(out / SUBMISSION_NAME, header.labels, header.n_sequences, rows)
        write_failures(out / FAILURES_NAME, read_records(records_path, header))
    _log_counts(counts, bundle)
    return run_report.write(out, header, bundle, counts, run)


@dataclass(frozen=True)
class EstimatedChunk:
    """Final probabilities of some records, float32 (N, C), and the features of those with a readable frame."""

    records: list[Record]
    probabilities: Probabilities
    seen: list[Record]
    features: npt.NDArray[np.float64] | None


def estimate(records: Iterator[Record], bundle: Bundle) -> Iterator[EstimatedChunk]:
    """Aggregate and stack records, a chunk at a time; a sequence without a readable frame gets the priors."""
    manifest = bundle.manifest
    stacking = manifest.ensemble.stacking
    stackers = Stackers(bundle, stacking) if stacking else None
    priors = np.array([manifest.priors[label] for label in LABELS], np.float32)
    while chunk := list(islice(records, CHUNK_RECORDS)):
        seen = [record for record in chunk if record.n_frames]
        probabilities = np.tile(priors, (len(chunk), 1))
        features = None
        if seen:
            aggregated = aggregate(seen, manifest)
            estimates = aggregated.estimate
            if stacking and stackers:
                features = stacker_features(aggregated, manifest, stacking)
                estimates = stackers.restack(estimates, features)
            probabilities[[record.n_frames > 0 for record in chunk]] = estimates
        yield EstimatedChunk(chunk, probabilities, seen, features)


def _observed(
    chunk: EstimatedChunk, counts: RecordCounts, feature_file: FeatureFile | None
) -> tuple[list[str], Probabilities]:
    """Count a chunk and keep its features on its way to the submission."""
    counts.add(chunk.records)
    if feature_file and chunk.features is not None:
        feature_file.append(
            [record.seq_id for record in chunk.seen], [record.n_frames for record in chunk.seen], chunk.features
        )
    return [record.seq_id for record in chunk.records], chunk.probabilities


def _feature_file(path: Path | None, manifest: Manifest) -> AbstractContextManager[FeatureFile | None]:
    if path is None:
        return nullcontext()
    if not manifest.feature_names:
        raise UsageError(f"--features {path}: the bundle must have stackers, got {manifest.name} without")
    return FeatureFile(path, manifest.feature_names)


def _record(viewed: ViewedSequence, answers: Answers) -> Record:
    hour, month = hour_and_month(viewed.sequence)
    return Record(
        seq_id=viewed.sequence.seq_id,
        frame_outputs=answers.frame_outputs,
        sequence_outputs=answers.sequence_outputs,
        hour=hour,
        month=month,
        failures=viewed.failures,
        n_resized=viewed.n_resized,
        has_metadata=bool(viewed.sequence.images),
    )


def _records_header(job: Job, engine: dict[str, str]) -> RecordsHeader:
    """Everything that the records depend on."""
    digest = hashlib.sha256()
    for sequence in job.plan.sequences:
        digest.update(repr((sequence.seq_id, [(i.file_name, i.datetime) for i in sequence.images])).encode())
    return RecordsHeader(
        fingerprint={
            "hakuna version": run_report.hakuna_version(),
            "bundle": job.bundle.id,
            "metadata and submission format": digest.hexdigest(),
            "preprocessing": job.preset.value,
            "flip TTA": "on" if job.flip_tta else "off",
            **engine,
        },
        outputs=outputs_of(job.bundle.manifest),
        labels=job.plan.labels,
        n_sequences=len(job.plan.sequences),
    )


def _whole_records(path: Path, header: RecordsHeader) -> int:
    """How many records of this very job are there already. Raises CheckpointError if they are another job's."""
    if not path.exists():
        return 0
    existing = read_header(path)
    if existing == header:
        return count_whole_records(path)
    different = sorted(
        name
        for name in header.fingerprint.keys() | existing.fingerprint.keys()
        if header.fingerprint.get(name) != existing.fingerprint.get(name)
    )
    raise CheckpointError(
        f"{path}: must belong to this run, but differs in {', '.join(different) or 'its columns'}; "
        "choose another --out, or --fresh to start over"
    )


def _check_usable(path: Path, header: RecordsHeader, bundle: Bundle) -> None:
    if header.outputs != outputs_of(bundle.manifest):
        raise CheckpointError(f"{path}: must have been made with the networks of bundle {bundle.folder}")
    n_whole = count_whole_records(path)
    if n_whole != header.n_sequences:
        raise CheckpointError(
            f"{path}: must have {header.n_sequences} whole records, got {n_whole}; run predict to the end first"
        )


def _log_job(job: Job, n_kept: int) -> None:
    plan = job.plan
    log.info("predict", sequences=len(plan.sequences), kept=n_kept, bundle=job.bundle.manifest.name, preset=job.preset)
    dropped = {
        "without metadata, get the priors": plan.n_without_metadata,
        "in the metadata but not in the submission format, left out": plan.n_not_in_format,
        "duplicate metadata rows, merged": plan.n_duplicate_rows,
    }
    for what, count in dropped.items():
        if count:
            log.warning("metadata", count=count, what=what)


def _log_counts(counts: RecordCounts, bundle: Bundle) -> None:
    if counts.failures:
        log.warning("photos that could not be used", **{reason.value: n for reason, n in counts.failures.items()})
    if counts.n_priors:
        log.warning("sequences without a readable photo, get the priors", count=counts.n_priors)
    if counts.n_resized:
        log.warning("frames resized to the first frame's size", count=counts.n_resized)
    if bundle.manifest.demo:
        log.warning(DEMO_WARNING, bundle=bundle.manifest.name)
