"""Exports, read back."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from inference.core.choices import ExportFormat
from inference.core.sequences import Sequence
from inference.dataset.label_tables import read_submission
from inference.dataset.metadata import METADATA_NAME, read_metadata
from inference.export.export import export
from inference.records.jsonl import METADATA, digest_of_sequences
from runtime_tests import camtrap_dp
from runtime_tests.tables import rows_of

PROJECT = """
title = "Synthetic season"
sampling_design = "systematicRandom"
utc_offset = "+03:00"

[[contributors]]
title = "A. Person"
role = "contact"

[[deployments]]
id = "S1/B01/B01_R1"
latitude = -2.25
longitude = 34.5

[[deployments]]
id = "S1/B02/B02_R1"
latitude = -2.3
longitude = 34.6
coordinate_uncertainty = 100
location_name = "Kopje"

[[deployments]]
id = "S1/B03/B03_R1"
latitude = -2.35
longitude = 34.7
"""


def failures(finished: Path) -> dict[str, str]:
    return {row["file_name"]: row["reason"] for row in rows_of(finished / "failures.csv")}


def megadetector(finished: Path, season: Path, out: Path, threshold: float | None = None) -> dict[str, Any]:
    export(finished, ExportFormat.MEGADETECTOR, out, season / METADATA_NAME, threshold, None)
    content: dict[str, Any] = json.loads(out.read_text())
    return content


def camtrap(
    finished: Path, metadata: Path, project: Path, out: Path, threshold: float | None = None
) -> tuple[list[str], dict[str, Any], dict[str, list[dict[str, str]]]]:
    run = made_from(finished, metadata, out.with_name(f"run for {out.name}"))
    told = export(run, ExportFormat.CAMTRAP_DP, out, metadata, threshold, project)
    tables = {name: rows_of(out / f"{name}.csv") for name in camtrap_dp.TABLES}
    return told, json.loads((out / "datapackage.json").read_text()), tables


def made_from(finished: Path, metadata: Path, folder: Path) -> Path:
    """A run with the same answers whose `run.json` has the fingerprint of other metadata, where they are others."""
    content = json.loads((finished / "run.json").read_text())
    known = read_metadata(metadata).sequences
    ours = [known.get(seq_id, Sequence(seq_id, ())) for seq_id in read_submission(finished / "submission.csv").seq_ids]
    digests = [digest_of_sequences(some) for some in (ours, [replace(one, site="") for one in ours])]
    if content.get("fingerprint", {METADATA: digests[0]})[METADATA] in digests:
        return finished
    content["fingerprint"][METADATA] = digests[0]
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    (folder / "run.json").write_text(json.dumps(content))
    return folder


def copied(finished: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in ("submission.csv", "failures.csv", "run.json", "records.jsonl"):
        (folder / name).write_bytes((finished / name).read_bytes())
    return folder
