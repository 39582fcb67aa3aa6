"""`hakuna export`: a finished run and its metadata -> a file or folder for other programs."""

from datetime import UTC, datetime
from pathlib import Path

from inference.core.choices import ExportFormat
from inference.core.config_files import load_toml
from inference.core.errors import UsageError, counted
from inference.core.files import make_parent
from inference.dataset.camera_folders import cameras_of
from inference.dataset.metadata import Metadata, moment_of, read_metadata
from inference.export.camtrap_dp import CamtrapSource, write_camtrap_dp
from inference.export.camtrap_project import Project
from inference.export.long_csv import Place, write_long_csv
from inference.export.megadetector import write_megadetector
from inference.outputs.finished_run import check_nothing_is_lost, read_finished_run, unprocessed_sequences
from inference.outputs.run_metadata import check_metadata

LISTING_THRESHOLD = 0.01
"""For lists, which their readers filter."""
OBSERVATION_THRESHOLD = 0.5
"""For observations, which are statements."""
UNPROCESSED = {
    ExportFormat.LONG_CSV: "left out",
    ExportFormat.MEGADETECTOR: "their photos are failures",
    ExportFormat.CAMTRAP_DP: "unclassified if a photo of theirs has a time",
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
            f"{counted(len(unprocessed), 'sequence was', 'sequences were')} not processed (the time budget ended, or no photo could be used): {UNPROCESSED[target]}"
        )
    if threshold is None:
        threshold = OBSERVATION_THRESHOLD if target is ExportFormat.CAMTRAP_DP else LISTING_THRESHOLD
    if target is ExportFormat.LONG_CSV:
        places = {}
        if metadata_path is not None:
            metadata = read_metadata(metadata_path)
            check_metadata(run, metadata.sequences, metadata_path, records_folder)
            places = _places(metadata)
        make_parent(out)
        n_rows = write_long_csv(run, unprocessed, out, threshold, places)
        return [
            *messages,
            f"{counted(n_rows, 'row')} of {counted(len(run.predictions.seq_ids) - len(unprocessed), 'sequence')} -> {out}",
        ]
    if metadata_path is None:
        raise UsageError(f"--metadata: must be given with --format {target}")
    metadata = read_metadata(metadata_path)
    if n_missing := check_metadata(run, metadata.sequences, metadata_path, records_folder):
        messages.append(f"left out: {counted(n_missing, 'sequence')} that the metadata does not have")
    if target is ExportFormat.MEGADETECTOR:
        make_parent(out)
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


def _sites(metadata: Metadata) -> dict[str, str]:
    """The site of every sequence; if the metadata has none for it, the camera folder of its first photo."""
    sequences = metadata.sequences.values()
    return cameras_of(sequences) | {one.seq_id: one.site for one in sequences if one.site}


def _places(metadata: Metadata) -> dict[str, Place]:
    moments = {seq_id: moment_of(sequence) for seq_id, sequence in metadata.sequences.items()}
    sites = _sites(metadata)
    return {seq_id: Place(sites[seq_id], moment.isoformat(" ") if moment else "") for seq_id, moment in moments.items()}
