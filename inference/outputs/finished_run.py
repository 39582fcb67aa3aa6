"""Reads the folder of a finished run, for exports and reports."""

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from inference.bundle.manifest import DEMO_WARNING
from inference.bundle.passes import Effort
from inference.core.errors import CheckpointError, HakunaError, InputError, UsageError, counted
from inference.core.files import check_run_folder, os_errors, sha256_of_file
from inference.dataset.label_tables import Table, read_submission
from inference.dataset.metadata import csv_rows
from inference.outputs.run_file import RUN_REPORT_NAME, read_run_file
from inference.outputs.run_report import COMPLETE, OUT_OF_TIME, RecordCounts
from inference.outputs.submission import FAILURES_COLUMNS, FAILURES_NAME, PARTIAL_NAME, SUBMISSION_NAME
from inference.process.progress import STATUS_NAME
from inference.records.jsonl import all_in_place, read_header, read_records
from inference.records.schema import AUDIT_NAME, RECORDS_NAME

RUN_FILES = (RECORDS_NAME, AUDIT_NAME, SUBMISSION_NAME, PARTIAL_NAME, FAILURES_NAME, RUN_REPORT_NAME, STATUS_NAME)
"""Files that a run writes into its folder."""
WRITTEN_AGAIN = "the same `hakuna predict`, or `hakuna restack`,"


class RecordsElsewhereError(CheckpointError):
    """The records of a run are not in its folder."""


@dataclass(frozen=True)
class FinishedRun:
    """The files of an output folder.

    Attributes
    ----------
    predictions : the submission
    failures : reasons why photos could not be used, by file name
    run : content of `run.json`
    """

    folder: Path
    predictions: Table
    failures: dict[str, str]
    run: dict[str, Any]

    @property
    def warning(self) -> str | None:
        """Warning that everything made from the run must show."""
        return DEMO_WARNING if self.run["bundle"]["demo"] else None

    @property
    def model(self) -> str:
        """Name of the bundle, with the warning if any."""
        name = f"hakuna {self.run['bundle']['name']}"
        return f"{name} ({self.warning})" if self.warning else name


def check_run_files(folder: Path, error: type[HakunaError]) -> None:
    """Raise `error` if a folder, a pipe or anything but a regular file has the name of a file of a run."""
    for path in (folder / name for name in RUN_FILES):
        if os.path.exists(path) and not os.path.isfile(path):
            got = "a folder" if os.path.isdir(path) else "a pipe, socket or device"
            raise error(f"{path}: must be a regular file or absent, got {got}; remove it or choose another folder")


def check_own_results(folder: Path) -> None:
    """Raise UsageError if a folder holds a submission that no run made: a run would replace it."""
    foreign = [name for name in (SUBMISSION_NAME, FAILURES_NAME) if (folder / name).is_file()]
    if foreign and not any((folder / name).is_file() for name in (RECORDS_NAME, RUN_REPORT_NAME, STATUS_NAME)):
        raise UsageError(
            f"--out {folder}: must be new, empty or an earlier run, got a folder with {foreign[0]} and no {RUN_REPORT_NAME}",
            hint="choose another folder",
        )


def check_nothing_is_lost(out: Path, folder: Path, *sources: Path | None) -> None:
    """Raise UsageError if an output made from a run would replace one of its sources."""
    taken = [folder, *(folder / name for name in RUN_FILES), *(path for path in sources if path)]
    if out.resolve() in {path.resolve() for path in taken}:
        raise UsageError(f"--out {out}: must not be the run, or a file that this is made from")


def read_finished_run(folder: Path) -> FinishedRun:
    """Read `submission.csv`, `failures.csv` and `run.json`.

    Raises InputError if it is a shard, or a file is missing or damaged, or differs from its hash in `run.json`: a run is writing the folder,
    was killed while writing it, or the file was edited. Raises CheckpointError if `run.json` itself is damaged.
    """
    run = read_run_report(folder)
    if shard := run.get("shard"):
        raise InputError(
            f"{folder}: must be a whole run, got a shard with {shard['sequences']:,} of {counted(shard['of'], 'sequence')}",
            hint="`hakuna merge` joins the shards of a run",
        )
    digests = run.get("files", {})
    failures = _read_failures(folder / FAILURES_NAME)
    predictions = read_submission(folder / SUBMISSION_NAME)
    for path in (folder / name for name in (SUBMISSION_NAME, FAILURES_NAME) if name in digests):
        with os_errors(InputError, f"{path}: must be readable"):
            # After reading: `run.json` is written last, so a file replaced in the meantime differs from its hash.
            if sha256_of_file(path) != digests[path.name]:
                raise InputError(
                    f"{path}: must be the file that {RUN_REPORT_NAME} describes, got another",
                    hint=f"if no run is writing it, {WRITTEN_AGAIN} rewrites both",
                )
    return FinishedRun(folder, predictions, failures, run)


def read_run_report(folder: Path) -> dict[str, Any]:
    """Read `run.json` alone, with the same errors."""
    check_run_folder(folder)
    check_run_files(folder, InputError)
    path = folder / RUN_REPORT_NAME
    try:
        return read_run_file(folder)
    except OSError as error:
        if any((folder / name).exists() for name in (RECORDS_NAME, STATUS_NAME)):
            raise InputError(
                f"{folder}: must be a finished run, got an unfinished one without {RUN_REPORT_NAME}",
                hint="repeat the same `hakuna predict`: it resumes",
            ) from error
        raise InputError(f"{path}: must be there, as `hakuna predict` leaves it, got: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(
            f"{path}: must be as `hakuna predict` leaves it, got: {error}", hint=f"{WRITTEN_AGAIN} rewrites it"
        ) from error


def unprocessed_sequences(run: FinishedRun, records_folder: Path | None = None) -> frozenset[str]:
    """Sequences without any photo that a network processed: their rows are the priors.

    Read from the records: those of `records_folder` if the run was made from them (`hakuna restack`). They are not
    needed if `run.json` counts no such sequences.
    Raises RecordsElsewhereError if the records are missing or from another run, CheckpointError if they do not match.
    """
    counts = run.run.get("counts", {})
    status = run.run.get("status")
    if status == COMPLETE and counts.get("sequences_with_priors") == 0:
        return frozenset()
    everything = frozenset(run.predictions.seq_ids)
    return everything - {seq_id for seq_id, is_processed in records_of(run, records_folder) if is_processed}


def photos_cut_short(run: FinishedRun) -> tuple[str, ...]:
    """The photos without their end that were used, if the run has any and its records. Raises CheckpointError."""
    path = run.folder / RECORDS_NAME
    if not run.run.get("counts", {}).get("photos_cut_short") or not path.exists():
        return ()
    return tuple(name for record in read_records(path, read_header(path)) for name in record.cut_short)


def records_of(
    run: FinishedRun, records_folder: Path | None = None, *, counts: RecordCounts | None = None
) -> list[tuple[str, bool]]:
    """Sequence, and whether a network processed it, of every record behind the submission.

    Raises the errors of `unprocessed_sequences`. With `counts`, which they are added to, they are checked as far as the
    submission needs them.
    """
    # The deadline may come between a record and its row: only the first `n_finished` rows are final, in the same order.
    is_short = run.run.get("status") == OUT_OF_TIME
    n_finished = run.run.get("counts", {}).get("sequences_finished") if is_short else None
    path = (records_folder or run.folder) / RECORDS_NAME
    if n_finished == 0:
        return []
    if not path.exists():
        raise RecordsElsewhereError(
            f"{path}: must be there to show which sequences were processed and which have only the usual share of each "
            "class (priors); if the run was made by `hakuna restack`, give the folder of the records with --records"
        )
    header = read_header(path)
    if header.fingerprint != run.run.get("fingerprint", header.fingerprint):
        raise RecordsElsewhereError(f"{path}: must be the records that {run.folder} was made of, got others")
    expected = run.predictions.seq_ids[:n_finished]
    found = read_records(path, header, strict=counts is not None)
    if counts is not None and not is_short:
        found = all_in_place(found, header, str(path))
    records: list[tuple[str, bool]] = []
    for record in islice(found, n_finished):
        if counts is not None and (row := run.predictions.values[len(records) : len(records) + 1]).size:
            counts.add([record], row.astype(np.float32))
        records.append((record.seq_id, record.n_frames > 0 and record.effort < Effort.PRIORS))
    if tuple(seq_id for seq_id, _ in records) != expected:
        raise CheckpointError(
            f"{path}: must be the {len(expected)} records that {run.folder} was made of, in the order of its "
            f"{SUBMISSION_NAME}, got others"
        )
    return records


def _read_failures(path: Path) -> dict[str, str]:
    with csv_rows(path) as (header, rows):
        if header != list(FAILURES_COLUMNS):
            raise InputError(f"{path}, row 1: must be {', '.join(FAILURES_COLUMNS)}, got {', '.join(header)}")
        return {file_name: reason for _, (_, file_name, reason) in rows}
