"""Phase 2: records -> aggregation -> stackers -> submission."""

from __future__ import annotations

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
from inference.domain import LABELS, CheckpointError, UsageError
from inference.features import FeatureFile, stacker_features
from inference.files import output_errors
from inference.records import RECORDS_NAME, Record, count_whole_records, outputs_of, read_header, read_records
from inference.run_report import RecordCounts, RunFacts
from inference.submission import FAILURES_NAME, SUBMISSION_NAME, write_failures, write_submission

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from inference.bundle import Bundle, Manifest
    from inference.domain import Probabilities
    from inference.records import RecordsHeader

log = structlog.get_logger()

CHUNK_RECORDS = 1024
"""Records that are held at a time: 7 MB of features."""


def records_to_submission(
    records_folder: Path,
    bundle: Bundle,
    out: Path,
    *,
    features_path: Path | None = None,
    run: RunFacts | None = None,
) -> dict[str, Any]:
    """Write `submission.csv`, `failures.csv` and `run.json`; returns the content of the last.

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


def _check_usable(path: Path, header: RecordsHeader, bundle: Bundle) -> None:
    if header.outputs != outputs_of(bundle.manifest):
        raise CheckpointError(f"{path}: must have been made with the networks of bundle {bundle.folder}")
    n_whole = count_whole_records(path)
    if n_whole != header.n_sequences:
        raise CheckpointError(
            f"{path}: must have {header.n_sequences} whole records, got {n_whole}; run predict to the end first"
        )


def _log_counts(counts: RecordCounts, bundle: Bundle) -> None:
    if counts.failures:
        log.warning("photos that could not be used", **{reason.value: n for reason, n in counts.failures.items()})
    if counts.n_priors:
        log.warning("sequences without a readable photo, get the priors", count=counts.n_priors)
    if counts.n_resized:
        log.warning("frames resized to the first frame's size", count=counts.n_resized)
    if bundle.manifest.demo:
        log.warning(DEMO_WARNING, bundle=bundle.manifest.name)
