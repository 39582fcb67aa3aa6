"""The order of things: photos -> records (phase 1), records -> submission (phase 2)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from inference import run_report
from inference.aggregation import aggregate
from inference.boosters import Stackers
from inference.bundle import DEMO_WARNING
from inference.decoding import decode_sequence, find_decoder, work_ahead
from inference.domain import (
    LABELS,
    N_CLASSES,
    CheckpointError,
    DecoderName,
    EngineName,
    Precision,
    Preset,
    Sequence,
    UsageError,
    ViewedSequence,
)
from inference.engines import Engine, find_engine, load_networks
from inference.features import FeatureFile, stacker_features
from inference.files import output_errors
from inference.info_strip import black_out_strip
from inference.metadata import hour_and_month
from inference.networks import Answers, LoadedNetworks, ask_networks
from inference.precision import PROOF_SEQUENCES, PrecisionProof, prove
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
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from inference.bundle import Bundle, Manifest
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
    flip_tta: bool = True
    decoder: DecoderName = DecoderName.AUTO
    engine: EngineName = EngineName.AUTO
    precision: Precision = Precision.FLOAT32


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
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    records_path = out / RECORDS_NAME
    existing = read_header(records_path) if records_path.exists() and not fresh else None
    engine = find_engine(_engine_name(job, existing))
    header = _records_header(job, engine, existing)
    n_kept = _whole_records(records_path, header, existing)
    complete = n_kept == header.n_sequences
    if complete and features_path is None and (report := run_report.verify(out, job.bundle)):
        log.info("already complete, verified, nothing changed", out=str(out), sequences=header.n_sequences)
        return report
    _log_job(job, engine, n_kept)
    run = RunFacts(plan=job.plan)
    if not complete:
        n_kept -= n_kept % batch_size  # a continued run sees the same batches
        networks, precision = _settled_networks(job, engine, header, n_workers, run.stopwatch)
        writer = RecordWriter(records_path, replace(header, precision=precision), keep=n_kept)
        try:
            _photos_to_records(job, networks, writer, n_kept, n_workers, batch_size, run.stopwatch, on_progress)
        finally:
            writer.close()
    run.n_kept = n_kept
    return records_to_submission(out, job.bundle, out, features_path=features_path, run=run)


def _photos_to_records(
    job: Job,
    networks: LoadedNetworks,
    writer: RecordWriter,
    n_kept: int,
    n_workers: int,
    batch_size: int,
    stopwatch: Stopwatch,
    on_progress: Progress,
) -> None:
    """Phase 1: every photo is read once, every network sees what exists, every sequence leaves one record."""
    sequences = job.plan.sequences
    viewed_sequences = _viewed_ahead(job, sequences[n_kept:], n_workers, BATCHES_AHEAD * batch_size, stopwatch)
    n_done = n_kept
    on_progress(n_done, len(sequences))
    while True:
        with stopwatch("wait for photos"):
            batch = list(islice(viewed_sequences, batch_size))
        if not batch:
            break
        with stopwatch("networks"):
            records = _ask(job, networks, batch)
        with stopwatch("write records"):
            writer.append(records)
        n_done += len(batch)
        on_progress(n_done, len(sequences))


def _viewed_ahead(
    job: Job, sequences: Iterable[Sequence], n_workers: int, n_ahead: int, stopwatch: Stopwatch
) -> Iterator[ViewedSequence]:
    return work_ahead(lambda sequence: photos_to_views(sequence, job, stopwatch), sequences, n_workers, n_ahead)


def _ask(job: Job, networks: LoadedNetworks, batch: list[ViewedSequence]) -> list[Record]:
    answers = ask_networks(batch, job.bundle.manifest, networks, flip_tta=job.flip_tta)
    return [_record(viewed, answer) for viewed, answer in zip(batch, answers, strict=True)]


def _settled_networks(
    job: Job, engine: Engine, header: RecordsHeader, n_workers: int, stopwatch: Stopwatch
) -> tuple[LoadedNetworks, dict[str, Any]]:
    """Load the networks in the precision that was settled when the records began, or settle it now."""
    if header.precision:
        with stopwatch("load networks"):
            return load_networks(job.bundle, engine, Precision(header.precision["used"])), header.precision
    settled: dict[str, Any] = {"asked": job.precision.value, "used": Precision.FLOAT32.value}
    with stopwatch("load networks"):
        networks = load_networks(job.bundle, engine, Precision.FLOAT32)
    if job.precision is Precision.FLOAT32:
        return networks, settled
    if not engine.supports_mixed:
        log.warning("mixed precision: this device has none, using float32", engine=str(engine), device=engine.device)
        return networks, {**settled, "reason": "not supported by the device"}
    with stopwatch("prove precision"):
        viewed = _viewed_ahead(job, job.plan.sequences, n_workers, n_workers, stopwatch)
        batch = list(islice((one for one in viewed if one.n_frames), PROOF_SEQUENCES))
        if not batch:
            return networks, {**settled, "reason": "no readable photo to prove it on"}
        mixed, proof = _prove_mixed(job, engine, networks, batch)
    figures = {"relative_loss_increase": proof.relative_increase, **asdict(proof)}
    if proof.holds:
        log.info("mixed precision: proven on the first photos", **figures)
        return mixed, {**settled, "used": Precision.MIXED.value, **figures}
    log.warning("mixed precision: does not hold, using float32", **figures)
    with stopwatch("load networks"):
        return load_networks(job.bundle, engine, Precision.FLOAT32), {**settled, **figures}


def _prove_mixed(
    job: Job, engine: Engine, float32: LoadedNetworks, batch: list[ViewedSequence]
) -> tuple[LoadedNetworks, PrecisionProof]:
    """Ask the networks in both precisions about the same photos; returns those in mixed precision."""

    def final_probabilities(networks: LoadedNetworks) -> Probabilities:
        chunks = estimate(iter(_ask(job, networks, batch)), job.bundle)
        return np.concatenate([np.empty((0, N_CLASSES), np.float32), *(chunk.probabilities for chunk in chunks)])

    expected = final_probabilities(float32)
    mixed = load_networks(job.bundle, engine, Precision.MIXED)
    bound = job.bundle.manifest.ensemble.max_mixed_loss_increase
    return mixed, prove(expected, final_probabilities(mixed), bound)


def photos_to_views(sequence: Sequence, job: Job, stopwatch: Stopwatch) -> ViewedSequence:
    """Everything that happens to one sequence before the networks: read, decode, mask, views."""
    manifest = job.bundle.manifest
    with stopwatch("decode (all workers)"):
        decoded = decode_sequence(sequence, job.data_folder, job.preset, manifest.n_frames, find_decoder(job.decoder))
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


def _engine_name(job: Job, existing: RecordsHeader | None) -> EngineName:
    """What `auto` meant when the records began goes on."""
    if job.engine is EngineName.AUTO and existing:
        return EngineName(existing.fingerprint["engine"].split()[0])
    return job.engine


def _records_header(job: Job, engine: Engine, existing: RecordsHeader | None) -> RecordsHeader:
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
            "engine": str(engine),
            "device": engine.device,
            "precision": job.precision.value,
        },
        outputs=outputs_of(job.bundle.manifest),
        labels=job.plan.labels,
        n_sequences=len(job.plan.sequences),
        precision=existing.precision if existing else {},
    )


def _whole_records(path: Path, header: RecordsHeader, existing: RecordsHeader | None) -> int:
    """How many records of this very job are there already. Raises CheckpointError if they are another job's."""
    if existing is None:
        return 0
    different = header.differences(existing)
    if different:
        raise CheckpointError(
            f"{path}: must belong to this run, but differs in {', '.join(different)}; "
            "choose another --out, or --fresh to start over"
        )
    return count_whole_records(path)


def _check_usable(path: Path, header: RecordsHeader, bundle: Bundle) -> None:
    if header.outputs != outputs_of(bundle.manifest):
        raise CheckpointError(f"{path}: must have been made with the networks of bundle {bundle.folder}")
    n_whole = count_whole_records(path)
    if n_whole != header.n_sequences:
        raise CheckpointError(
            f"{path}: must have {header.n_sequences} whole records, got {n_whole}; run predict to the end first"
        )


def _log_job(job: Job, engine: Engine, n_kept: int) -> None:
    plan = job.plan
    log.info(
        "predict",
        sequences=len(plan.sequences),
        kept=n_kept,
        bundle=job.bundle.manifest.name,
        preset=job.preset.value,
        engine=str(engine),
        device=engine.device,
    )
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
