"""The order of things: photos -> records (phase 1), records -> submission (phase 2)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from inference import run_report
from inference.decoding import find_decoder
from inference.domain import REFERENCE_PIXELS, CheckpointError, DecoderName, EngineName
from inference.engines import find_engine
from inference.files import output_errors
from inference.job import records_header
from inference.photos_to_records import PhotoPass, photos_to_records, settled_networks
from inference.records import RECORDS_NAME, RecordWriter, count_whole_records, read_header
from inference.records_to_submission import records_to_submission
from inference.run_report import RunFacts

if TYPE_CHECKING:
    from pathlib import Path

    from inference.decoding import Decoder
    from inference.engines import Engine
    from inference.job import Job
    from inference.photos_to_records import Progress
    from inference.records import RecordsHeader

log = structlog.get_logger()


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
    decoder = find_decoder(_decoder_name(job, existing), n_workers)
    header = records_header(job, engine, decoder, existing)
    n_kept = _whole_records(records_path, header, existing)
    complete = n_kept == header.n_sequences
    if complete and features_path is None and (report := run_report.verify(out, job.bundle)):
        log.info("already complete, verified, nothing changed", out=str(out), sequences=header.n_sequences)
        return report
    _log_job(job, engine, decoder, n_kept)
    run = RunFacts(plan=job.plan)
    if not complete:
        n_kept -= n_kept % batch_size  # a continued run sees the same batches
        work = PhotoPass(job, decoder, n_workers, batch_size, run.stopwatch)
        networks, precision = settled_networks(work, engine, header.precision)
        writer = RecordWriter(records_path, replace(header, precision=precision), keep=n_kept)
        try:
            photos_to_records(work, networks, writer, n_kept, on_progress)
        finally:
            writer.close()
        run.overlap = work.overlap()
    run.n_kept = n_kept
    return records_to_submission(out, job.bundle, out, features_path=features_path, run=run)


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


def _log_job(job: Job, engine: Engine, decoder: Decoder, n_kept: int) -> None:
    plan = job.plan
    log.info(
        "predict",
        sequences=len(plan.sequences),
        kept=n_kept,
        bundle=job.bundle.manifest.name,
        preset=job.preset.value,
        engine=str(engine),
        device=engine.device,
        decoder=decoder.name.value,
    )
    dropped = {
        "without metadata, get the priors": plan.n_without_metadata,
        "in the metadata but not in the submission format, left out": plan.n_not_in_format,
        "duplicate metadata rows, merged": plan.n_duplicate_rows,
    }
    for what, count in dropped.items():
        if count:
            log.warning("metadata", count=count, what=what)
