"""Checks that a metadata table is the one that a finished run was made from."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from inference.core.errors import InputError
from inference.core.sequences import Sequence
from inference.dataset.metadata import site_and_seconds
from inference.outputs.finished_run import FinishedRun
from inference.records.jsonl import METADATA, digest_of_sequences, read_header, read_records
from inference.records.schema import RECORDS_NAME, RecordsHeader


def check_metadata(
    run: FinishedRun, sequences: Mapping[str, Sequence], path: Path, records_folder: Path | None = None
) -> int:
    """The number of the run's sequences that the metadata of `path` do not have.

    Further sequences, further columns and other sites are allowed: people add them after the run. Raises InputError
    if none of the run's sequences is there, or if photos or times are others. The fingerprint of the run shows that.
    Where sequences were left out it cannot be compared, but the records have the time of each one.
    """
    seq_ids = run.predictions.seq_ids
    ours = [sequences.get(seq_id) or Sequence(seq_id, ()) for seq_id in seq_ids]
    n_missing = sum(not one.images for one in ours)
    if n_missing == len(ours):
        raise InputError(f"{path}: must be the metadata of the run {run.folder}, got none of its sequences")
    digests = [digest_of_sequences(some) for some in (ours, [replace(one, site="") for one in ours])]
    known = run.run.get("fingerprint", {}).get(METADATA)
    if known in digests:
        return n_missing
    records = (records_folder or run.folder) / RECORDS_NAME
    header = read_header(records) if records.exists() else None
    recorded = header.fingerprint.get(METADATA) if header else None
    known = known or recorded  # `run.json` of a run that its budget ended has no fingerprint
    if known is None or known in digests:
        return n_missing
    if header is None or recorded != known:
        raise _other(path, run)
    with_sites, n_left_out = _as_recorded(records, header, ours, path, run)
    if not n_left_out and digest_of_sequences(with_sites) != known:
        raise _other(path, run)
    return n_missing


def _as_recorded(
    records: Path, header: RecordsHeader, ours: Iterable[Sequence], path: Path, run: FinishedRun
) -> tuple[list[Sequence], int]:
    """The sequences with the sites of their records, and the number of those whose photos were left out.

    Raises InputError if a sequence has another time than its record, or lacks a photo that could not be used.
    """
    found = {one.seq_id: one for one in ours}
    n_left_out = 0
    for record in read_records(records, header):
        sequence = found.get(record.seq_id)
        if sequence is None or not sequence.images:
            n_left_out += record.has_metadata
            continue
        names = {image.file_name for image in sequence.images}
        is_ours = record.has_metadata and site_and_seconds(sequence)[1] == record.seconds
        if not is_ours or any(one.file_name not in names for one in record.failures):
            raise _other(path, run, f" in the sequence {record.seq_id!r}")
        found[record.seq_id] = replace(sequence, site=record.site)
    return list(found.values()), n_left_out


def _other(path: Path, run: FinishedRun, where: str = "") -> InputError:
    return InputError(
        f"{path}: must have the photos and times that the run {run.folder} was made from, got others{where}",
        hint="give the metadata that `hakuna predict` was given; for other photos run `hakuna predict` with another --out",
    )
