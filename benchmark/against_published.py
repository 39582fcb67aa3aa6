"""Ours against the published program's way of working: both in one run, on the same photos and the same networks."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.published import run_published
from inference.bundle import open_bundle
from inference.domain import Preset
from inference.files import atomic_writer
from inference.logs import LoggedProgress
from inference.metadata import FORMAT_NAME, METADATA_NAME, plan_sequences, read_metadata, read_submission_format
from inference.pipeline import Job, predict
from inference.records import RECORDS_NAME, outputs_of, read_header, read_records
from models.importing import import_assets
from models.random_assets import write_random_assets
from models.recipes import load_recipe

if TYPE_CHECKING:
    from inference.bundle import Bundle
    from inference.domain import Probabilities
    from inference.records import Record

SEED = 1


def compare(data: Path, *, recipe_name: str, application: str, work: Path) -> dict[str, Any]:
    """Time both on the photos of `data` with untrained networks; returns figures ready for JSON.

    `work` gets the networks and the bundle; those of an earlier comparison are used again.

    Start-up (importing, loading networks) is reported apart. `largest_difference` between the two runs' answers about
    the frames shows that they did the same work.
    """
    recipe = load_recipe(recipe_name)
    plan = plan_sequences(read_metadata(data / METADATA_NAME), read_submission_format(data / FORMAT_NAME))
    assets, bundle_folder, out = work / "assets", work / "bundle", work / "out"
    if not bundle_folder.exists():
        write_random_assets(assets, recipe, SEED, application)
        import_assets(assets, recipe, bundle_folder, demo=True)
    bundle = open_bundle(bundle_folder)
    ours = predict(
        Job(data, plan, bundle, Preset(recipe.ensemble.preprocessing)),
        out,
        n_workers=len(os.sched_getaffinity(0)),
        batch_size=8,
        fresh=True,
        features_path=None,
        on_progress=LoggedProgress(),
    )
    published = run_published(data, plan.sequences, assets, recipe)
    path = out / RECORDS_NAME
    records = [record for record in read_records(path, read_header(path)) if record.n_frames]
    seconds = ours["seconds"]["elapsed"] - ours["seconds"]["load networks"]
    return {
        "application": application,
        "sequences": len(plan.sequences),
        "frames": ours["counts"]["frames"],
        "published": {
            "startup_seconds": round(published.startup_seconds, 1),
            "seconds": round(published.seconds, 1),
            "network_passes": published.n_passes,
        },
        "ours_float32": {
            "startup_seconds": round(ours["seconds"]["load networks"], 1),
            "seconds": round(seconds, 1),
            "network_passes": _n_passes(records, bundle),
        },
        "speedup_float32": round(published.seconds / seconds, 2),
        "largest_difference": _largest_difference(records, published.frame_outputs),
        "machine": describe_machine(),
    }


def _n_passes(records: list[Record], bundle: Bundle) -> int:
    """How often a backbone ran on an image, mirror images and both branches of a network counted."""
    manifest = bundle.manifest
    passes = {network.name: (1 + network.flip_tta) * len(network.inputs) for network in manifest.networks}
    per_frame = sum(passes[one.network] for one in outputs_of(manifest) if one.per_frame)
    per_sequence = sum(passes[one.network] for one in outputs_of(manifest) if not one.per_frame)
    return sum(record.n_frames * per_frame + (record.n_frames > 1) * per_sequence for record in records)


def _largest_difference(records: list[Record], expected: dict[str, Probabilities]) -> float:
    return max(float(np.abs(record.frame_outputs - expected[record.seq_id]).max()) for record in records)


def describe_machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        **{name: version(name) for name in ("hakuna-runtime", "keras", "numpy", "pillow")},
    }


def write_json(figures: dict[str, Any], path: Path) -> None:
    """Keep the figures of a comparison."""
    with atomic_writer(path) as file:
        json.dump(figures, file, indent=1)
        file.write("\n")
