"""Compares this program with the published program's method: both in one sitting, on the same photos and networks."""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmark.provenance import origin
from benchmark.studies.published_program import PublishedRun, run_published
from benchmark.synthetic.season import SeasonOptions, write_seasons
from benchmark.timing.harness import run_predict
from inference.api.jobs import build_job
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import EngineName, Precision
from inference.core.sequences import ImageSize
from inference.execution.executor import PHASE
from inference.networks.engine import find_engine, lower_precisions
from inference.outputs.run_file import RUN_REPORT_NAME
from inference.records.jsonl import read_header, read_records
from inference.records.schema import RECORDS_NAME, Record, outputs_of
from inference.settings.cache import CACHE_VARIABLE
from inference.settings.packages import is_installed
from models.bundling.import_assets import import_assets, run_in_child
from models.bundling.quantize import quantize_bundle
from models.bundling.untrained import write_untrained_assets
from models.spec.recipe import load_recipe

SEED = 1
ANY_LOSS = 1.0
"""Untrained networks are not to be protected."""
CALIBRATION = SeasonOptions(n_sequences=32, n_cameras=8, size=ImageSize(480, 640), seed=SEED)
"""Drawn photos that calibrate networks in int8."""
RUNS = ("first", "second")
"""Of a bundle on a machine; the second finds the results of the checks."""


def compare(data: Path, *, recipe_name: str, application: str, work: Path, command: str) -> dict[str, Any]:
    """Time both on the photos of `data` with untrained networks; returns figures ready for JSON.

    `work` receives the networks and the bundle, and reuses those of an earlier comparison.

    Our runs are processes of their own, from start to exit, in every precision that this machine offers. The work is the
    time from the first photo to the last record, the start everything before it. `largest_difference` between the
    answers for the frames shows that both did the same work. Each speed-up is that of the second run.
    """
    recipe = load_recipe(recipe_name)
    assets = work / "assets"
    bundle = _bundle(assets, recipe_name, application, work)
    job = build_job(data, bundle)
    begun = time.perf_counter()
    published = run_in_child(assets, run_published, data, job.plan.sequences, assets, recipe)
    whole = time.perf_counter() - begun
    offered = lower_precisions(bundle, find_engine(EngineName.AUTO))
    ours = {one.value: _runs(data, bundle, one, published) for one in (Precision.FLOAT32, *offered)}
    return {
        "application": application,
        "sequences": len(job.plan.sequences),
        "frames": sum(len(one) for one in published.frame_outputs.values()),
        "published": {
            "whole_seconds": round(whole, 1),
            "startup_seconds": round(published.startup_seconds, 1),
            "work_seconds": round(published.seconds, 1),
            "network_passes": published.n_passes,
        },
        "ours": ours,
        "speedup": {
            name: {
                "whole": round(whole / one[RUNS[-1]]["whole_seconds"], 2),
                "work": round(published.seconds / one[RUNS[-1]]["work_seconds"], 2),
            }
            for name, one in ours.items()
        },
        **origin(command),
    }


def _bundle(assets: Path, recipe_name: str, application: str, work: Path) -> Bundle:
    """The bundle of untrained networks, in int8 too where the machine has a use for it and NNCF is installed."""
    recipe, plain, quantised = load_recipe(recipe_name), work / "bundle", work / "bundle_int8"
    if not plain.exists():
        write_untrained_assets(assets, recipe, SEED, application)
        import_assets(assets, recipe, plain, demo=True)
    if Precision.INT8 not in find_engine(EngineName.AUTO).lower_precisions or not is_installed("nncf"):
        return open_bundle(plain)
    if not quantised.exists():
        write_seasons(work / "photos", (SEED,), CALIBRATION)
        quantize_bundle(open_bundle(plain), work / "photos", quantised, ANY_LOSS)
    return open_bundle(quantised)


def _runs(data: Path, bundle: Bundle, precision: Precision, published: PublishedRun) -> dict[str, dict[str, Any]]:
    """Figures of the first and of the second run of a bundle on a machine."""
    options = ("--precision", precision, "--max-loss-increase", ANY_LOSS)
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {CACHE_VARIABLE: f"{folder}/cache"}):
        return {name: _run(data, bundle, Path(folder, name), options, published) for name in RUNS}


def _run(data: Path, bundle: Bundle, out: Path, options: tuple[object, ...], published: PublishedRun) -> dict[str, Any]:
    cost = run_predict(data, bundle.folder, out, *options)
    report = json.loads((out / RUN_REPORT_NAME).read_text(encoding="utf-8"))
    path = out / RECORDS_NAME
    records = [record for record in read_records(path, read_header(path)) if record.n_frames]
    seconds = report["seconds"]
    return {
        "engine": report["fingerprint"]["engine"],
        "precision": report["precision"],
        "whole_seconds": round(cost.seconds, 1),
        "start_seconds": round(cost.seconds - seconds[PHASE] - seconds["aggregate, stack, write"], 1),
        "work_seconds": round(seconds[PHASE], 1),
        "network_passes": _n_passes(records, bundle),
        "stages": seconds,
        "largest_difference": max(
            float(np.abs(one.frame_outputs - published.frame_outputs[one.seq_id]).max()) for one in records
        ),
    }


def _n_passes(records: list[Record], bundle: Bundle) -> int:
    """Passes of images through a backbone, counting mirror images and both branches of a network."""
    manifest = bundle.manifest
    passes = {network.name: (1 + network.flip_tta) * len(network.inputs) for network in manifest.networks}
    per_frame = sum(passes[one.network] for one in outputs_of(manifest) if one.per_frame)
    per_sequence = sum(passes[one.network] for one in outputs_of(manifest) if not one.per_frame)
    return sum(record.n_frames * per_frame + (record.n_frames > 1) * per_sequence for record in records)
