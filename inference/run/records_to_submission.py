"""Phase 2: records -> aggregation -> (neighbours) -> stackers -> submission."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from inference.bundle.manifest import DEMO_WARNING, Manifest
from inference.bundle.reader import Bundle
from inference.core.errors import CheckpointError, OutputError, UsageError
from inference.core.files import output_errors
from inference.core.iteration import batched
from inference.ensemble.estimator import Estimator, Predictions, neighbourhood_of_records
from inference.ensemble.features import FeatureFile
from inference.ensemble.neighbourhood import Neighbourhood
from inference.outputs import run_report
from inference.outputs.run_report import RecordCounts, RunMetadata
from inference.outputs.submission import FAILURES_NAME, SUBMISSION_NAME, write_failures, write_submission
from inference.process.progress import RunState
from inference.records.jsonl import CHUNK_RECORDS, read_header, read_records
from inference.records.schema import RECORDS_NAME, Record, RecordsHeader, outputs_of

if TYPE_CHECKING:
    from inference.core.sequences import Probabilities

log = structlog.get_logger()


def records_to_submission(
    records_folder: Path,
    estimator: Estimator,
    out: Path,
    features_path: Path | None = None,
    run: RunMetadata | None = None,
) -> dict[str, Any]:
    """Write `submission.csv`, `failures.csv` and `run.json`; returns the content of the last.

    The estimator's bundle may be another one than the records were made with, as long as its networks are the same.
    """
    run, bundle = run or RunMetadata(), estimator.bundle
    records_path = records_folder / RECORDS_NAME
    header = read_header(records_path)
    check_usable(records_path, header, bundle)
    check_features_path(features_path, bundle.manifest)
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    counts = RecordCounts()
    run.neighbourhood = _neighbourhood(records_path, header, estimator, run)
    with run.stopwatch("aggregate, stack, write"), _feature_file(features_path, bundle.manifest) as feature_file:
        estimated = _estimated(batched(read_records(records_path, header), CHUNK_RECORDS), estimator, run.neighbourhood)
        rows = _rows((_observed(chunk, counts, feature_file, run) for chunk in estimated), run.state)
        write_submission(out / SUBMISSION_NAME, header.labels, header.n_sequences, rows)
        write_failures(out / FAILURES_NAME, read_records(records_path, header))
    _log_counts(counts, bundle)
    return run_report.write(out, header, bundle, counts, run)


def _neighbourhood(path: Path, header: RecordsHeader, estimator: Estimator, run: RunMetadata) -> Neighbourhood | None:
    """What the neighbours saw, if the bundle asks; said where it is too little to be used."""
    with run.stopwatch("look around"):
        chunks = batched(_checked(read_records(path, header), run), CHUNK_RECORDS)
        found = neighbourhood_of_records(chunks, header.n_sequences, estimator.bundle.manifest)
    if found and not found.is_used:
        log.warning(
            "neighbours: too few sequences have another camera around, not used",
            coverage=[round(share, 4) for share in found.coverage],
            without_camera_or_moment=found.n_unplaced,
        )
    return found


def _checked(records: Iterator[Record], run: RunMetadata) -> Iterator[Record]:
    for record in records:
        run.state.check()
        yield record


def _estimated(
    chunks: Iterable[list[Record]], estimator: Estimator, neighbourhood: Neighbourhood | None
) -> Iterator[Predictions]:
    """Estimate every record, each with its rows of the neighbourhood."""
    first = 0
    for chunk in chunks:
        around = neighbourhood.means[first : first + len(chunk)] if neighbourhood else None
        first += len(chunk)
        yield estimator(chunk, around)


def _rows(
    chunks: Iterator[tuple[list[str], Probabilities]], state: RunState
) -> Iterator[tuple[list[str], Probabilities]]:
    """All rows of the submission; behind the last one nobody else may give it its name any more."""
    yield from chunks
    state.end.acquire()


def _observed(
    chunk: Predictions, counts: RecordCounts, feature_file: FeatureFile | None, run: RunMetadata
) -> tuple[list[str], Probabilities]:
    """Count a chunk and keep its features on its way to the submission."""
    run.state.check()
    counts.add(chunk.records)
    if feature_file and chunk.features is not None:
        feature_file.append(
            [record.seq_id for record in chunk.stacked], [record.n_frames for record in chunk.stacked], chunk.features
        )
    return [record.seq_id for record in chunk.records], chunk.probabilities


def check_features_path(path: Path | None, manifest: Manifest) -> None:
    """Raise UsageError or OutputError, before hours of work, where the features could not be written after them."""
    if path is None:
        return
    if not manifest.feature_names:
        raise UsageError(f"--features {path}: the bundle must have stackers, got {manifest.name} without")
    if path.suffix != ".npz" or path.is_dir():
        raise UsageError(f"--features {path}: must be a file whose name ends in .npz")
    if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise OutputError(f"--features {path}: must be in a folder that is there and writable")


def _feature_file(path: Path | None, manifest: Manifest) -> AbstractContextManager[FeatureFile | None]:
    return FeatureFile(path, manifest.feature_names) if path else nullcontext()


def check_usable(path: Path, header: RecordsHeader, bundle: Bundle) -> None:
    """Raise CheckpointError where the records are not those of every sequence by the networks of this bundle."""
    if header.outputs != outputs_of(bundle.manifest):
        raise CheckpointError(f"{path}: must have been made with the networks of bundle {bundle.folder}")
    if header.n_sequences != header.n_all:
        raise CheckpointError(
            f"{path}: must hold all {header.n_all} sequences, got a shard of {header.n_sequences}; `hakuna merge` joins them"
        )
    n_whole = sum(1 for _ in read_records(path, header))
    if n_whole != header.n_sequences:
        raise CheckpointError(
            f"{path}: must have {header.n_sequences} whole records, got {n_whole}; run predict to the end first"
        )


def _log_counts(counts: RecordCounts, bundle: Bundle) -> None:
    if counts.failures:
        log.warning("photos that could not be used", **{reason.value: n for reason, n in counts.failures.items()})
    if counts.n_unusable:
        log.warning("sequences without a usable photo, get the priors", count=counts.n_unusable)
    if counts.n_without_moment:
        log.warning("sequences without a datetime, taken for noon in July", count=counts.n_without_moment)
    if counts.efforts:
        log.warning("sequences degraded for lack of time", **{one.label: n for one, n in counts.efforts.items()})
    if counts.n_mixed:
        log.warning("sequences in mixed precision for lack of time", count=counts.n_mixed)
    if counts.n_resized:
        log.warning("frames resized to the first frame's size", count=counts.n_resized)
    if bundle.manifest.demo:
        log.warning(DEMO_WARNING, bundle=bundle.manifest.name)
