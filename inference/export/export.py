"""`hakuna export`: a finished run and its metadata -> a file or folder for other programs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from inference.core.choices import ExportFormat
from inference.core.config_files import load_toml
from inference.core.errors import InputError, UsageError
from inference.core.sequences import Sequence
from inference.dataset.camera_folders import cameras_of
from inference.dataset.metadata import read_metadata
from inference.export.camtrap_dp import CamtrapSource, write_camtrap_dp
from inference.export.camtrap_project import Project
from inference.export.long_csv import write_long_csv
from inference.export.megadetector import write_megadetector
from inference.outputs.finished_run import check_nothing_is_lost, read_finished_run, unprocessed_sequences

LISTING_THRESHOLD = 0.01
"""Of lists that others will sort out themselves."""
OBSERVATION_THRESHOLD = 0.5
"""Of observations, which are statements."""
UNPROCESSED = {
    ExportFormat.LONG_CSV: "left out",
    ExportFormat.MEGADETECTOR: "their photos are failures",
    ExportFormat.CAMTRAP_DP: "unclassified",
}
"""What becomes of sequences none of whose photos went through a network."""


def export(
    folder: Path,
    target: ExportFormat,
    out: Path,
    metadata_path: Path | None,
    threshold: float | None,
    project_path: Path | None,
    records_folder: Path | None = None,
) -> list[str]:
    """Write one format; returns messages about what was written and what was left out.

    Unprocessed sequences have the priors in the submission; no format writes them as predictions.
    Raises InputError, UsageError, OutputError, CheckpointError.
    """
    check_nothing_is_lost(out, folder, metadata_path, project_path)
    run = read_finished_run(folder)
    unprocessed = unprocessed_sequences(run, records_folder)
    messages = [run.warning] if run.warning else []
    if unprocessed:
        messages.append(
            f"{len(unprocessed)} sequences were not processed (no time, or no photo could be used): {UNPROCESSED[target]}"
        )
    if threshold is None:
        threshold = OBSERVATION_THRESHOLD if target is ExportFormat.CAMTRAP_DP else LISTING_THRESHOLD
    if target is ExportFormat.LONG_CSV:
        n_rows = write_long_csv(run, unprocessed, out, threshold)
        return [*messages, f"{n_rows} rows of {len(run.predictions.seq_ids) - len(unprocessed)} sequences -> {out}"]
    if metadata_path is None:
        raise UsageError(f"--metadata: must be given with --format {target}")
    metadata = read_metadata(metadata_path)
    n_missing = sum(seq_id not in metadata.sequences for seq_id in run.predictions.seq_ids)
    if n_missing == len(run.predictions.seq_ids):
        raise InputError(f"{metadata_path}: must be the metadata of the run {folder}, got none of its sequences")
    if n_missing:
        messages.append(f"left out: {n_missing} sequences that the metadata does not have")
    if target is ExportFormat.MEGADETECTOR:
        n_photos = write_megadetector(run, metadata, unprocessed, out, threshold)
        return [*messages, f"{n_photos} photos -> {out}"]
    if project_path is None:
        raise UsageError(f"--project: must be given with --format {target}")
    project = load_toml("--project", project_path, Project)
    sites = _sites(metadata.sequences)
    source = CamtrapSource(run, metadata.sequences, sites, unprocessed, project, threshold, datetime.now(UTC))
    written = write_camtrap_dp(source, out)
    if n_left_out := written.n_without_time:
        messages.append(f"left out: {n_left_out} sequences none of whose photos has a time, which the format needs")
    return [*messages, f"{written.n_observations} observations of {written.n_events} events -> {out}"]


def _sites(sequences: Mapping[str, Sequence]) -> dict[str, str]:
    """The site of every sequence: that of the metadata, else the camera's folder of its first photo."""
    cameras = cameras_of(sequences.values())
    return {one.seq_id: one.site or cameras[one.seq_id] for one in sequences.values()}
