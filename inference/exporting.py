"""`hakuna export`: a finished run and its metadata -> a file or folder for other programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from inference.domain import Effort, ExportFormat, InputError, UsageError
from inference.export_camtrap import read_project, write_camtrap_dp
from inference.export_plain import write_long_csv, write_megadetector
from inference.finished_run import read_finished_run
from inference.metadata import read_metadata, read_sites
from inference.records import RECORDS_NAME, read_header, read_records

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from inference.domain import Sequence
    from inference.finished_run import FinishedRun

TELLING_THRESHOLD = 0.01
"""Of lists that others will sort out themselves."""
DECIDING_THRESHOLD = 0.5
"""Of observations, which are statements."""


def export(
    folder: Path,
    target: ExportFormat,
    out: Path,
    metadata_path: Path | None,
    threshold: float | None,
    project_path: Path | None,
) -> list[str]:
    """Write one format; returns what to tell about it. Raises InputError, UsageError, OutputError."""
    run = read_finished_run(folder)
    told = [run.warning] if run.warning else []
    if target is ExportFormat.LONG_CSV:
        n_rows = write_long_csv(run, out, TELLING_THRESHOLD if threshold is None else threshold)
        return [*told, f"{n_rows} rows of {len(run.predictions.seq_ids)} sequences -> {out}"]
    if metadata_path is None:
        raise UsageError(f"--metadata: must be given with --format {target}")
    metadata = read_metadata(metadata_path)
    missing = [seq_id for seq_id in run.predictions.seq_ids if seq_id not in metadata.sequences]
    if len(missing) == len(run.predictions.seq_ids):
        raise InputError(f"{metadata_path}: must be the metadata of the run {folder}, got none of its sequences")
    if missing:
        told.append(f"left out: {len(missing)} sequences that the metadata does not have")
    if target is ExportFormat.MEGADETECTOR:
        n_photos = write_megadetector(run, metadata, out, TELLING_THRESHOLD if threshold is None else threshold)
        return [*told, f"{n_photos} photos -> {out}"]
    if project_path is None:
        raise UsageError(f"--project: must be given with --format {target}")
    written = write_camtrap_dp(
        run,
        metadata.sequences,
        _sites(metadata.sequences, read_sites(metadata_path)),
        _unseen(run),
        read_project(project_path),
        out,
        DECIDING_THRESHOLD if threshold is None else threshold,
        datetime.now(UTC),
    )
    if written.n_without_time:
        told.append(
            f"left out: {written.n_without_time} sequences none of whose photos has a time, which the format needs"
        )
    return [*told, f"{written.n_observations} observations of {written.n_events} events -> {out}"]


def _sites(sequences: Mapping[str, Sequence], told: Mapping[str, str]) -> dict[str, str]:
    """The site of every sequence: told by the metadata, else the folder of its first photo."""
    return {
        seq_id: told.get(seq_id) or sequence.images[0].file_name.rpartition("/")[0] or "."
        for seq_id, sequence in sequences.items()
    }


def _unseen(run: FinishedRun) -> frozenset[str]:
    """Sequences none of whose photos any network saw. Raises CheckpointError where the records are gone."""
    path = run.folder / RECORDS_NAME
    header = read_header(path)
    return frozenset(
        record.seq_id for record in read_records(path, header) if not record.n_frames or record.effort is Effort.PRIORS
    )
