"""Phase 2: records -> aggregation -> (neighbours) -> stackers -> submission."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import structlog

from inference.bundle.manifest import DEMO_WARNING, Manifest
from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.errors import CheckpointError, OutputError, TooManyFailuresError, UsageError, counted
from inference.core.files import nearest_folder, output_errors
from inference.core.iteration import batched
from inference.core.sequences import Probabilities
from inference.ensemble.audit import verdict
from inference.ensemble.estimator import Estimator, neighbourhood_of_records
from inference.ensemble.features import feature_file
from inference.ensemble.neighbourhood import Neighbourhood
from inference.outputs import run_report
from inference.outputs.finished_run import check_own_results, check_run_files
from inference.outputs.run_report import CUT_SHORT, RecordCounts, RunMetadata
from inference.outputs.submission import FAILURES_NAME, SUBMISSION_NAME, failures_file, write_submission
from inference.process.progress import RunState
from inference.records.jsonl import CHUNK_RECORDS, all_in_place, read_header, read_records
from inference.records.schema import RECORDS_NAME, Record, RecordsHeader, outputs_of

log = structlog.get_logger()


def records_to_submission(
    records_folder: Path,
    estimator: Estimator,
    out: Path,
    features_path: Path | None = None,
    run: RunMetadata | None = None,
) -> dict[str, Any]:
    """Write `submission.csv`, `failures.csv` and `run.json`; returns the content of `run.json`.

    The estimator's bundle may differ from the one behind the records, as long as its networks are the same.
    Raises CheckpointError unless the records are those of every sequence by these networks, TooManyFailuresError if
    there are photos and not one could be used.
    """
    run, bundle = run or RunMetadata(), estimator.bundle
    path = records_folder / RECORDS_NAME
    header = read_header(path)
    check_usable(path, header, bundle)
    check_features_path(features_path, bundle.manifest)
    check_run_files(out, OutputError)
    check_own_results(out)
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    audited = verdict(records_folder, header, estimator, run.state.check)
    if audited:
        log.info("audit of the precision", **audited)
    counts = RecordCounts()
    neighbourhood = _neighbourhood(path, header, estimator, run)
    with run.stopwatch("aggregate, stack, write"), ExitStack() as files:
        append_failures = files.enter_context(failures_file(out / FAILURES_NAME))
        append_features = None
        if features_path:
            append_features = files.enter_context(feature_file(features_path, bundle.manifest.feature_names))

        def rows() -> Iterator[tuple[list[str], Probabilities]]:
            """Names and probabilities of the sequences in chunks; collects counts, failures and features on the way."""
            first = 0
            for records in batched(_whole(path, header, run.state), CHUNK_RECORDS):
                around = neighbourhood.means[first : first + len(records)] if neighbourhood else None
                first += len(records)
                found = estimator(records, around)
                counts.add(records, found.probabilities)
                append_failures(records)
                if append_features and found.features is not None:
                    append_features(found.stacked, found.features)
                yield [record.seq_id for record in records], found.probabilities
            _check_any_photo_was_used(counts)
            run.state.submission_lock.acquire()  # from here on, no deadline replaces the submission

        write_submission(out / SUBMISSION_NAME, header.labels, header.n_sequences, rows())
    _log_counts(counts, bundle)
    report = run_report.write(out, header, bundle, counts, run, neighbourhood, audited)
    if sentence := run_report.shortfall(report):
        log.warning(sentence, **report["counts"]["sequences_by_effort"])
    return report


def _check_any_photo_was_used(counts: RecordCounts) -> None:
    """Raise TooManyFailuresError if photos were read, and not one could be used: everything would be priors."""
    if counts.n_frames or counts.efforts[Effort.PRIORS] or not counts.failures:
        return
    raise TooManyFailuresError(
        f"photos: at least one must be usable, got none of {counts.failures.total():,}, the first: "
        f"{', '.join(counts.first_failures)}; records are kept, no submission is written",
        hint="`hakuna predict --restart` rereads every photo",
    )


def _neighbourhood(path: Path, header: RecordsHeader, estimator: Estimator, run: RunMetadata) -> Neighbourhood | None:
    """Scores of the neighbours, if the bundle needs them; a coverage too low to use them is logged."""
    with run.stopwatch("neighbours"):
        chunks = batched(_whole(path, header, run.state), CHUNK_RECORDS)
        found = neighbourhood_of_records(chunks, header.n_sequences, estimator.bundle.manifest)
    if found and not found.is_used:
        log.warning(
            "neighbours: coverage too low, not used",
            coverage=[round(share, 4) for share in found.coverage],
            without_camera_or_moment=found.n_unlocated,
        )
    return found


def _whole(path: Path, header: RecordsHeader, state: RunState) -> Iterator[Record]:
    """All records. Raises CheckpointError at the end unless they are those of all sequences, in order."""
    return all_in_place(read_records(path, header, state.check), header, str(path))


def check_features_path(path: Path | None, manifest: Manifest) -> None:
    """Raise UsageError or OutputError before hours of work if the features could not be written."""
    if path is None:
        return
    if not manifest.feature_names:
        raise UsageError(f"--features {path}: the bundle must have stackers, got {manifest.name} without")
    if path.suffix != ".npz" or path.is_dir():
        raise UsageError(f"--features {path}: must be a file whose name ends in .npz")
    if path.is_file() and not is_zipfile(path):
        raise UsageError(f"--features {path}: must be new or an earlier .npz file, got another file")
    folder = nearest_folder(path)
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise OutputError(f"--features {path}: must be in a writable folder, or in one that can be made in {folder}")


def check_usable(path: Path, header: RecordsHeader, bundle: Bundle) -> None:
    """Raise CheckpointError unless the header covers every sequence, with the networks of this bundle."""
    if header.outputs != outputs_of(bundle.manifest):
        raise CheckpointError(f"{path}: must have been made with the networks of bundle {bundle.folder}")
    if header.n_sequences != header.n_all:
        raise CheckpointError(
            f"{path}: must hold all of {counted(header.n_all, 'sequence')}, got a shard of {header.n_sequences:,}; `hakuna merge` joins them"
        )


def _log_counts(counts: RecordCounts, bundle: Bundle) -> None:
    if counts.failures:
        log.warning("photos that could not be used", **{reason.value: n for reason, n in counts.failures.items()})
    if counts.n_cut_short:
        log.warning(CUT_SHORT, count=counts.n_cut_short, files=", ".join(counts.cut_short))
    for count, message in (
        (counts.n_unusable, "sequences without a usable photo, get the usual share of each class (priors)"),
        (counts.n_without_moment, "sequences without a datetime, assumed noon in July"),
        (
            counts.n_lower_precision,
            "sequences in a lower precision (faster, a little less exact), to keep the time budget",
        ),
        (counts.n_resized, "frames resized to the first frame's size"),
    ):
        if count:
            log.warning(message, count=count)
    if bundle.manifest.demo:
        log.warning(DEMO_WARNING, bundle=bundle.manifest.name)
