"""Checks every file of a finished run, and that they belong together."""

from pathlib import Path
from typing import Any

from inference.bundle.reader import Bundle
from inference.core.errors import CheckpointError, HakunaError, InputError, counted
from inference.outputs.finished_run import read_finished_run, read_run_report, records_of
from inference.outputs.run_file import RUN_REPORT_NAME, STATUS, read_checked
from inference.outputs.run_report import SHARD_COMPLETE, RecordCounts
from inference.process.lock import check_unlocked
from inference.process.progress import COMPLETE, FAILED, INTERRUPTED, LAST_STAGES, OUT_OF_TIME, STATUS_NAME
from inference.records.jsonl import check_not_too_many, read_header, read_records
from inference.records.schema import RECORDS_NAME, RecordsHeader

ENDS = {COMPLETE: "was complete", OUT_OF_TIME: "ran out of time", INTERRUPTED: "was interrupted", FAILED: "failed"}
"""Last stages of runs that were not killed."""


def verify_run(folder: Path, records_folder: Path | None = None) -> dict[str, Any]:
    """Check fields, hashes, checksums, and the number and order of the records; returns the figures.

    Raises LockedError while a run writes the folder, and the errors of `check_run`.
    """
    if folder.is_dir():
        check_unlocked(folder)
    return check_run(folder, records_folder)


def check_run(folder: Path, records_folder: Path | None = None) -> dict[str, Any]:
    """The same without a look at the lock, which the caller may hold.

    Raises InputError if the run ended before it was finished, and the errors of `read_finished_run` and
    `unprocessed_sequences`.
    """
    status = _read_status(folder)
    if status and not (folder / RUN_REPORT_NAME).exists():
        end = ENDS.get(status["stage"], f"ended in stage {status['stage']!r} (killed, or its disk was full)")
        raise InputError(
            f"{folder / RUN_REPORT_NAME}: must be there, as a finished run leaves it, but the run {end}, with "
            f"{status['done']:,} of {counted(status['total'], 'sequence')} done; the same `hakuna predict` finishes it"
        )
    if status and status["stage"] not in LAST_STAGES:
        raise CheckpointError(
            f"{folder / STATUS_NAME}: must show the end of the run, as {RUN_REPORT_NAME} does, got the stage "
            f"{status['stage']!r}; the same `hakuna predict` rewrites it"
        )
    report = read_run_report(folder)
    recounted: dict[str, Any] = {}
    if report["status"] == SHARD_COMPLETE:
        n_sequences = n_records = _check_shard(folder, report)
    else:
        run, counts = read_finished_run(folder), RecordCounts()
        n_sequences, n_records = len(run.predictions.seq_ids), len(records_of(run, records_folder, counts=counts))
        if report["status"] == COMPLETE:
            recounted = counts.facts()
    for name, expected in {"sequences": n_sequences, **recounted}.items():
        if (got := report["counts"][name]) != expected:
            raise CheckpointError(
                f"{folder / RUN_REPORT_NAME}: counts.{name} must be that of the other files, {expected}, got {got}"
            )
    files = [
        RUN_REPORT_NAME,
        *([STATUS_NAME] if status else []),
        *report.get("files", []),
        *([RECORDS_NAME] if n_records else []),
    ]
    return {"status": report["status"], "sequences": n_sequences, "records": n_records, "files": files}


def intact_report(folder: Path, bundle: Bundle, header: RecordsHeader) -> dict[str, Any] | None:
    """The report of a finished run of this bundle and job; None unless it and all other files are as they must be."""
    try:
        report = read_run_report(folder)
        is_ours = report.get("fingerprint") == header.fingerprint and report["bundle"]["id"] == bundle.id
        if not is_ours or report["status"] != COMPLETE or not (folder / STATUS_NAME).exists():
            return None
        check_run(folder)
    except HakunaError:
        return None  # unreadable or edited: the files are written again
    return report


def _read_status(folder: Path) -> dict[str, Any] | None:
    """The content of `status.json`, which `restack` does not write."""
    path = folder / STATUS_NAME
    try:
        return read_checked(path, STATUS) if path.exists() else None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: must be as `hakuna predict` leaves it, got: {error}") from error


def _check_shard(folder: Path, report: dict[str, Any]) -> int:
    """The number of records, which are those of its header; only `hakuna merge` can check their order."""
    path = folder / RECORDS_NAME
    header = read_header(path)
    shard = {"first": header.first, "sequences": header.n_sequences, "of": header.n_all}
    if (header.fingerprint, shard) != (report["fingerprint"], report["shard"]):
        raise CheckpointError(f"{path}: must be the records that {RUN_REPORT_NAME} describes, got others")
    n_records = 0
    for n_records, _ in enumerate(read_records(path, header, strict=True), start=1):
        check_not_too_many(n_records, header, str(path))
    if n_records < header.n_sequences:
        raise CheckpointError(f"{path}: must have {counted(header.n_sequences, 'record')}, got {n_records:,}")
    return n_records
