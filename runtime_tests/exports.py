"""Exports, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inference.core.choices import ExportFormat
from inference.dataset.metadata import METADATA_NAME
from inference.export.export import export
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
    told = export(finished, ExportFormat.CAMTRAP_DP, out, metadata, threshold, project)
    tables = {name: rows_of(out / f"{name}.csv") for name in camtrap_dp.TABLES}
    return told, json.loads((out / "datapackage.json").read_text()), tables


def copied(finished: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in ("submission.csv", "failures.csv", "run.json", "records.jsonl"):
        (folder / name).write_bytes((finished / name).read_bytes())
    return folder
