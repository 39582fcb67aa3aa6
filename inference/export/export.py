"""`hakuna export`: a finished run and its metadata -> a file or folder for other programs."""

from datetime import UTC, datetime
from pathlib import Path

from inference.core.choices import ExportFormat
from inference.core.config_files import load_toml
from inference.core.errors import InputError, UsageError, counted
from inference.dataset.camera_folders import cameras_of
from inference.dataset.metadata import Metadata, moment_of, read_metadata
from inference.export.camtrap_dp import CamtrapSource, write_camtrap_dp
from inference.export.camtrap_project import Project
from inference.export.long_csv import Place, write_long_csv
from inference.export.megadetector import write_megadetector
from inference.outputs.finished_run import FinishedRun, check_nothing_is_lost, read_finished_run, unprocessed_sequences

LISTING_THRESHOLD = 0.01
"""For lists, which their readers filter."""
OBSERVATION_THRESHOLD = 0.5
"""For observations, which are statements."""
UNPROCESSED = {
    ExportFormat.LONG_CSV: "left out",
    ExportFormat.MEGADETECTOR: "their photos are failures",
    ExportFormat.CAMTRAP_DP: "unclassified",
}
"""Treatment of sequences without any photo that a network processed."""


def export(
    folder: Path,
    target: ExportFormat,
    out: Path,
    metadata_path: Path | None,
    threshold: float | None,
    project_path: Path | None,
    records_folder: Path | None = None,
) -> list[str]:
    """Write one format; returns messages about written and omitted items.

    Unprocessed sequences have the priors in the submission; no format writes them as predictions.
    Raises InputError, UsageError, OutputError, CheckpointError.
    """
    check_nothing_is_lost(out, folder, metadata_path, project_path)
    run = read_finished_run(folder)
    unprocessed = unprocessed_sequences(run, records_folder)
    messages = [run.warning] if run.warning else []
    if unprocessed:
        messages.append(
            f"{counted(len(unprocessed), 'sequence was', 'sequences were')} not processed (no time, or no photo could be used): {UNPROCESSED[target]}"
        )
    if threshold is None:
        threshold = OBSERVATION_THRESHOLD if target is ExportFormat.CAMTRAP_DP else LISTING_THRESHOLD
    if target is ExportFormat.LONG_CSV:
        places = _places(_metadata_of(run, metadata_path)) if metadata_path else {}
        n_rows = write_long_csv(run, unprocessed, out, threshold, places)
        return [
            *messages,
            f"{counted(n_rows, 'row')} of {counted(len(run.predictions.seq_ids) - len(unprocessed), 'sequence')} -> {out}",
        ]
    if metadata_path is None:
        raise UsageError(f"--metadata: must be given with --format {target}")
    metadata = _metadata_of(run, metadata_path)
    if n_missing := sum(seq_id not in metadata.sequences for seq_id in run.predictions.seq_ids):
        messages.append(f"left out: {counted(n_missing, 'sequence')} that the metadata does not have")
    if target is ExportFormat.MEGADETECTOR:
        n_photos = write_megadetector(run, metadata, unprocessed, out, threshold)
        return [*messages, f"{counted(n_photos, 'photo')} -> {out}"]
    if project_path is None:
        raise UsageError(f"--project: must be given with --format {target}")
    if n_midnights := metadata.without_time.n_rows:
        messages.append(f"{counted(n_midnights, 'photo has', 'photos have')} a date without a time, taken as midnight")
    project = load_toml("--project", project_path, Project)
    sites = _sites(metadata)
    source = CamtrapSource(run, metadata.sequences, sites, unprocessed, project, threshold, datetime.now(UTC))
    return [*messages, *write_camtrap_dp(source, out)]


def _metadata_of(run: FinishedRun, path: Path) -> Metadata:
    metadata = read_metadata(path)
    if not any(seq_id in metadata.sequences for seq_id in run.predictions.seq_ids):
        raise InputError(f"{path}: must be the metadata of the run {run.folder}, got none of its sequences")
    return metadata


def _sites(metadata: Metadata) -> dict[str, str]:
    """The site of every sequence; if the metadata has none for it, the camera folder of its first photo."""
    sequences = metadata.sequences.values()
    return cameras_of(sequences) | {one.seq_id: one.site for one in sequences if one.site}


def _places(metadata: Metadata) -> dict[str, Place]:
    moments = {seq_id: moment_of(sequence) for seq_id, sequence in metadata.sequences.items()}
    sites = _sites(metadata)
    return {seq_id: Place(sites[seq_id], moment.isoformat(" ") if moment else "") for seq_id, moment in moments.items()}
