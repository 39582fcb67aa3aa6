"""The records of shards -> the records of one run."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from inference.core.errors import CheckpointError, counted
from inference.core.files import output_errors, sync_folder
from inference.core.iteration import batched
from inference.ensemble.audit import audit_header, audited_records, sample_of
from inference.outputs import run_report
from inference.records.jsonl import RecordWriter, all_in_place, check_not_too_many, read_header, read_records
from inference.records.schema import AUDIT_NAME, PROBE, RECORDS_NAME, Record, RecordsHeader
from inference.run.resume import check_probe

WRITE_BLOCK = 256
"""Records passed to the operating system at once."""


@dataclass(frozen=True)
class Part:
    """A file of records.

    Attributes
    ----------
    end : index after the last sequence in it
    probe_difference : largest difference between its networks' answers to the probe and the first shard's
    """

    path: Path
    header: RecordsHeader
    end: int
    probe_difference: float = 0.0


def merge_records(
    folders: list[Path], out: Path, check: Callable[[], None] = lambda: None, *, allow_mixed_hardware: bool = False
) -> None:
    """Join the records of shards, in any order; shards may repeat or overlap.

    Writes `records.jsonl` in `out`, which must not hold the records of another run or of a shard. `check` is called for
    every record and raises to stop the work.

    Raises
    ------
    CheckpointError
        The shards belong to different runs, were made in different precisions, have different answers to the probe
        (unless that is allowed), leave out sequences, or have records that do not match their sequences.
    """
    parts = [_part(folder / RECORDS_NAME, check) for folder in folders]
    first = min(parts, key=lambda part: part.header.first)
    whole = _whole(first.header)
    for number, part in enumerate(parts):
        different = [one for one in whole.differences(_whole(part.header)) if one != PROBE]
        if part.header.precision.get("used") != whole.precision.get("used"):
            different.append("used precision")
        wanted = f"{part.path}: must belong to the same run as {first.path}"
        if different:
            raise CheckpointError(f"{wanted}, but differs in {', '.join(different)}")
        difference = check_probe(whole, part.header.probe, wanted, allowed=allow_mixed_hardware)
        parts[number] = replace(part, probe_difference=difference)
    target = out / RECORDS_NAME
    if target.exists() and (different := whole.differences(read_header(target))):
        raise CheckpointError(
            f"{target}: must be absent or of this run, but differs in {', '.join(different)}; choose another --out"
        )
    temporary = out / f".{RECORDS_NAME}.merging"
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    try:
        with closing(RecordWriter(temporary, whole)) as writer:
            for block in batched(all_in_place(_joined(parts, whole.n_all, check), whole, "shards"), WRITE_BLOCK):
                writer.append(block)
        run_report.invalidate(out)
        with output_errors(out):
            os.replace(temporary, target)
            sync_folder(out)
        if whole.is_lower_precision:
            _join_audits(parts, whole, out, check)
    finally:
        temporary.unlink(missing_ok=True)


def _join_audits(parts: list[Part], header: RecordsHeader, out: Path, check: Callable[[], None]) -> None:
    """Join the audited records of shards. The first sequence of the sample that no shard has audited ends it."""
    found = {one.seq_id: one for part in parts for one in audited_records(part.path.parent)}
    names = (one.seq_id for one in read_records(out / RECORDS_NAME, header, check) if one.has_metadata)
    sample = sample_of(names, header.n_all)
    with closing(RecordWriter(out / AUDIT_NAME, audit_header(header, sample))) as writer:
        for seq_id in sample:
            if seq_id not in found:
                break
            writer.append([found[seq_id]])


def _whole(header: RecordsHeader) -> RecordsHeader:
    """The header of the run that a shard belongs to."""
    return replace(header, first=0, n_sequences=header.n_all)


def _part(path: Path, check: Callable[[], None]) -> Part:
    header = read_header(path)
    n_records = sum(1 for _ in read_records(path, header, check))
    check_not_too_many(n_records, header, str(path))
    return Part(path, header, header.first + n_records)


def _joined(parts: list[Part], n_all: int, check: Callable[[], None]) -> Iterator[Record]:
    """Every sequence once, always from the part that reaches furthest."""
    position = 0
    while position < n_all:
        candidates = [part for part in parts if part.header.first <= position < part.end]
        if not candidates:
            following = [part.header.first for part in parts if position < part.header.first < part.end]
            raise CheckpointError(
                f"shards: must hold all of {counted(n_all, 'sequence')}, got none for those from {position + 1} "
                f"to {min(following, default=n_all)}; finish or add the shard that has them"
            )
        best = max(candidates, key=lambda part: part.end)
        first = best.header.first
        # Stop before the end of the file, which may still grow.
        for record in islice(read_records(best.path, best.header, check), position - first, best.end - first):
            yield replace(record, probe_difference=record.probe_difference + best.probe_difference)
        position = best.end
