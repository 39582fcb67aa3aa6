"""A whole run from nothing: a synthetic season, an untrained bundle, a prediction and its score."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.scoring import Score, read_labels, read_submission, score
from benchmark.synthetic import LABELS_NAME, write_season
from inference.domain import ImageSize, Preset, UsageError
from inference.files import output_errors
from inference.job import Job, RunOptions
from inference.metadata import FORMAT_NAME, METADATA_NAME, plan_sequences, read_metadata, read_submission_format
from inference.pipeline import predict
from inference.run_state import locked
from inference.submission import SUBMISSION_NAME
from models.importing import import_assets
from models.random_assets import write_random_assets
from models.recipes import load_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from inference.bundle import Bundle
    from inference.photos_to_records import Progress

RECIPE = "third_place"
PHOTO_SIZE = ImageSize(480, 640)
N_CAMERAS = 5
MARKER_NAME = ".hakuna-demo"
"""A folder with this file was made by a demo and may be made anew."""


@dataclass(frozen=True)
class DemoFiles:
    """Where a demo left its files, and how well it did."""

    data: Path
    bundle: Path
    out: Path
    score: Score


def run_demo(folder: Path, *, n_sequences: int, seed: int, n_workers: int, on_progress: Progress) -> DemoFiles:
    """Make everything below `folder`. Raises UsageError if it holds something that is not an earlier demo's."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER_NAME).exists():
            raise UsageError(f"--out {folder}: must be new, empty or an earlier demo's")
        shutil.rmtree(folder)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARKER_NAME).touch()
    data, out = folder / "data", folder / "out"
    write_season(data, n_sequences=n_sequences, n_cameras=N_CAMERAS, size=PHOTO_SIZE, seed=seed)
    bundle = make_demo_bundle(folder / "bundle", folder / "assets", seed)
    job = Job(
        data_folder=data,
        plan=plan_sequences(read_metadata(data / METADATA_NAME), read_submission_format(data / FORMAT_NAME)),
        bundle=bundle,
        preset=Preset(bundle.manifest.ensemble.preprocessing),
    )
    with locked(out) as output:
        predict(job, output, RunOptions(n_workers=n_workers), on_progress)
    result = score(read_submission(out / SUBMISSION_NAME), read_labels(data / LABELS_NAME))
    return DemoFiles(data, bundle.folder, out, result)


def make_demo_bundle(folder: Path, assets: Path, seed: int) -> Bundle:
    """An untrained bundle of the published ensemble's shape, made by importing untrained networks."""
    recipe = load_recipe(RECIPE)
    write_random_assets(assets, recipe, seed)
    return import_assets(assets, recipe, folder, demo=True)
