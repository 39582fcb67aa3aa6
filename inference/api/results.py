"""Opens bundles and finished runs; exports runs to the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from inference.api.arguments import StrPath, choice, optional_path
from inference.bundle import reader
from inference.core.choices import ExportFormat
from inference.core.errors import UsageError

if TYPE_CHECKING:  # it would load NumPy
    from inference.outputs.finished_run import FinishedRun


def open_bundle(folder: StrPath) -> reader.Bundle:
    """Open a model bundle; every file is verified against its SHA-256.

    Raises
    ------
    BundleError
        The bundle is missing or damaged.

    Examples
    --------
    >>> [network.name for network in open_bundle("bundle").manifest.networks][:2]
    ['v1', 'v2']
    """
    return reader.open_bundle(Path(folder))


def read_run(folder: StrPath) -> FinishedRun:
    """Read a finished run: `predictions` (probabilities, float64 (N, C), 0-1), `failures`, `run`.

    Raises
    ------
    InputError
        A file is missing or damaged.
    CheckpointError
        `run.json` is damaged.

    Examples
    --------
    >>> report = predict("season", "bundle", "results", workers=2)
    >>> run = read_run("results")
    >>> run.predictions.values.shape
    (12, 54)
    """
    from inference.outputs.finished_run import read_finished_run

    return read_finished_run(Path(folder))


def export(
    run: StrPath,
    out: StrPath,
    *,
    target: ExportFormat | str,
    metadata: StrPath | None = None,
    threshold: float | None = None,
    project: StrPath | None = None,
    records: StrPath | None = None,
) -> list[str]:
    """Write the results of a run in a format of other programs.

    Parameters
    ----------
    run : output folder of a finished run
    out : file to write; with "camtrap-dp" a folder
    target : "long-csv", "megadetector" or "camtrap-dp"
    metadata : CSV file that the run was made from, other sites allowed; required for all formats except "long-csv", where
        it adds site and time
    threshold : smallest listed probability, 0 to 1; default 0.01, with "camtrap-dp" 0.5
    project : TOML file with facts that photos cannot show; required for "camtrap-dp", and only allowed there
    records : folder of the run's records, for a run made by `restack`; default: `run`

    Returns
    -------
    Messages about written and omitted items.

    Raises
    ------
    UsageError, InputError, OutputError, CheckpointError
        See `inference.core.errors`.

    Examples
    --------
    >>> report = predict("season", "bundle", "results", workers=2)
    >>> lines = export("results", "results.csv", target="long-csv", threshold=0.5)
    >>> lines[0]
    'demo model: not for conclusions'
    """
    chosen = choice(ExportFormat, target, "--format")
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"--threshold: must be from 0 to 1, got {threshold!r}")
    if chosen is not ExportFormat.LONG_CSV and metadata is None:
        raise UsageError(f"--metadata: must be given with --format {chosen}")
    if (chosen is ExportFormat.CAMTRAP_DP) != (project is not None):
        raise UsageError("--project: must be given with --format camtrap-dp, and only then")
    from inference.export import export as exporting

    return exporting.export(
        Path(run), chosen, Path(out), optional_path(metadata), threshold, optional_path(project), optional_path(records)
    )
