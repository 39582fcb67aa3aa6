"""`hakuna export`: a finished run and its metadata -> a file or folder for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from inference.core.choices import ExportFormat
from inference.core.errors import InputError, UsageError
from inference.core.sequences import Sequence
from inference.dataset.camera_folders import cameras_of
from inference.dataset.metadata import read_metadata
from inference.export.camtrap_dp import write_camtrap_dp
from inference.export.camtrap_project import read_project
from inference.export.long_csv import write_long_csv
from inference.export.megadetector import write_megadetector
from inference.outputs.finished_run import check_nothing_is_lost, read_finished_run, unprocessed_sequences

LISTING_THRESHOLD = 0.01
"""Of lists that others will sort out themselves."""
OBSERVATION_THRESHOLD = 0.5
"""Of observations, which are statements."""
UNSEEN = {
    ExportFormat.LONG_CSV: "left out",
    ExportFormat.MEGADETECTOR: "their photos are failures",
    ExportFormat.CAMTRAP_DP: "unclassified",
}
"""What becomes of sequences that nobody looked at."""


def export(
    folder: Path,
    target: ExportFormat,
    out: Path,
    metadata_path: Path | None,
    threshold: float | None,
    project_path: Path | None,
    records_folder: Path | None = None,
) -> list[str]:
    """Write one format; returns what to tell about it. Raises InputError, UsageError, OutputError, CheckpointError.

    Sequences that nobody looked at have the priors in the submission; no format says that of them.
    """
    check_nothing_is_lost(out, folder, metadata_path, project_path)
    run = read_finished_run(folder)
    unseen = unprocessed_sequences(run, records_folder)
    told = [run.warning] if run.warning else []
    if unseen:
        told.append(
            f"{len(unseen)} sequences were not looked at (no time, or no photo could be used): {UNSEEN[target]}"
        )
    if target is ExportFormat.LONG_CSV:
        n_rows = write_long_csv(run, unseen, out, LISTING_THRESHOLD if threshold is None else threshold)
        return [*told, f"{n_rows} rows of {len(run.predictions.seq_ids) - len(unseen)} sequences -> {out}"]
    if metadata_path is None:
        raise UsageError(f"--metadata: must be given with --format {target}")
    metadata = read_metadata(metadata_path)
    missing = [seq_id for seq_id in run.predictions.seq_ids if seq_id not in metadata.sequences]
    if len(missing) == len(run.predictions.seq_ids):
        raise InputError(f"{metadata_path}: must be the metadata of the run {folder}, got none of its sequences")
    if missing:
        told.append(f"left out: {len(missing)} sequences that the metadata does not have")
    if target is ExportFormat.MEGADETECTOR:
        least = LISTING_THRESHOLD if threshold is None else threshold
        n_photos = write_megadetector(run, metadata, unseen, out, least)
        return [*told, f"{n_photos} photos -> {out}"]
    if project_path is None:
        raise UsageError(f"--project: must be given with --format {target}")
    written = write_camtrap_dp(
        run,
        metadata.sequences,
        _sites(metadata.sequences),
        unseen,
        read_project(project_path),
        out,
        OBSERVATION_THRESHOLD if threshold is None else threshold,
        datetime.now(UTC),
    )
    if written.n_without_time:
        told.append(
            f"left out: {written.n_without_time} sequences none of whose photos has a time, which the format needs"
        )
    return [*told, f"{written.n_observations} observations of {written.n_events} events -> {out}"]


def _sites(sequences: Mapping[str, Sequence]) -> dict[str, str]:
    """The site of every sequence: told by the metadata, else the camera's folder of its first photo."""
    cameras = cameras_of(sequences.values())
    return {one.seq_id: one.site or cameras[one.seq_id] for one in sequences.values()}
