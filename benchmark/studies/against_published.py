"""Compares this program with the published program's method: both in one run, on the same photos and networks."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.provenance import origin
from benchmark.studies.published_program import PublishedRun, run_published
from inference.api.jobs import build_job, run_job
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.execution.executor import LOAD
from inference.execution.job import Job, RunOptions
from inference.records.jsonl import read_header, read_records
from inference.records.schema import RECORDS_NAME, Record, outputs_of
from inference.run.precision import PROVE
from inference.settings.logs import LoggedProgress
from models.bundling.import_assets import import_assets
from models.bundling.untrained import write_untrained_assets
from models.spec.recipe import load_recipe

SEED = 1


def compare(data: Path, *, recipe_name: str, application: str, work: Path, command: str) -> dict[str, Any]:
    """Time both on the photos of `data` with untrained networks; returns figures ready for JSON.

    `work` receives the networks and the bundle, and reuses those of an earlier comparison.

    Start-up (importing, loading networks, comparing precisions) is reported separately. `largest_difference` between
    the answers for the frames shows that both did the same work. `speedup` is that of mixed precision; None if the
    device has none or its answers differed too much.
    """
    recipe = load_recipe(recipe_name)
    assets, bundle_folder = work / "assets", work / "bundle"
    if not bundle_folder.exists():
        write_untrained_assets(assets, recipe, SEED, application)
        import_assets(assets, recipe, bundle_folder, demo=True)
    job = build_job(data, bundle_folder)
    float32 = _run_ours(job, work / "out_float32")
    mixed = _run_ours(replace(job, precision=Precision.MIXED), work / "out_mixed")
    published = run_published(data, job.plan.sequences, assets, recipe)
    return {
        "application": application,
        "sequences": len(job.plan.sequences),
        "frames": float32.report["counts"]["frames"],
        "published": {
            "startup_seconds": round(published.startup_seconds, 1),
            "seconds": round(published.seconds, 1),
            "network_passes": published.n_passes,
        },
        "ours_float32": float32.figures(published),
        "ours_mixed": mixed.figures(published),
        "speedup_float32": round(published.seconds / float32.seconds, 2),
        "speedup": round(published.seconds / mixed.seconds, 2)
        if mixed.report["precision"]["used"] == Precision.MIXED
        else None,
        **origin(command),
    }


@dataclass(frozen=True)
class OurRun:
    """Duration and results of a run of this program."""

    report: dict[str, Any]
    records: list[Record]
    n_passes: int
    startup_seconds: float
    """Loading the networks and, if requested, comparing the precisions."""
    seconds: float
    """The rest of the run."""

    def figures(self, published: PublishedRun) -> dict[str, Any]:
        """The figures for the committed file, ready for JSON."""
        return {
            "engine": self.report["fingerprint"]["engine"],
            "precision": self.report["precision"],
            "startup_seconds": round(self.startup_seconds, 1),
            "seconds": round(self.seconds, 1),
            "network_passes": self.n_passes,
            "stages": self.report["seconds"],
            "largest_difference": max(
                float(np.abs(one.frame_outputs - published.frame_outputs[one.seq_id]).max()) for one in self.records
            ),
        }


def _run_ours(job: Job, out: Path) -> OurRun:
    options = RunOptions(n_workers=len(os.sched_getaffinity(0)), fresh=True)
    report = run_job(job, out, options, LoggedProgress())
    path = out / RECORDS_NAME
    records = [record for record in read_records(path, read_header(path)) if record.n_frames]
    startup_seconds = report["seconds"][LOAD] + report["seconds"].get(PROVE, 0.0)
    seconds = report["seconds"]["elapsed"] - startup_seconds
    return OurRun(report, records, _n_passes(records, job.bundle), startup_seconds, seconds)


def _n_passes(records: list[Record], bundle: Bundle) -> int:
    """Passes of images through a backbone, counting mirror images and both branches of a network."""
    manifest = bundle.manifest
    passes = {network.name: (1 + network.flip_tta) * len(network.inputs) for network in manifest.networks}
    per_frame = sum(passes[one.network] for one in outputs_of(manifest) if one.per_frame)
    per_sequence = sum(passes[one.network] for one in outputs_of(manifest) if not one.per_frame)
    return sum(record.n_frames * per_frame + (record.n_frames > 1) * per_sequence for record in records)
