"""Finished runs as a Camera Trap Data Package: Camtrap DP 1.0.2, observations of events."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.core.choices import PACKAGE_NAME
from inference.core.errors import InputError, UsageError, counted
from inference.core.files import atomic_csv, output_errors, write_json
from inference.core.labels import EMPTY, LABELS
from inference.core.sequences import Image, Sequence
from inference.dataset.camera_folders import plain_path
from inference.export.camtrap_project import Deployment, Project
from inference.export.taxonomy import SPECIES_LABELS, TAXA
from inference.outputs.finished_run import FinishedRun

VERSION = "1.0.2"
SCHEMAS = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}"
"""Address that the format requires in `datapackage.json`; nothing is loaded from it."""
DEPLOYMENT_COLUMNS = (
    "deploymentID", "locationID", "locationName", "latitude", "longitude", "coordinateUncertainty", "deploymentStart",
    "deploymentEnd", "setupBy", "cameraID", "cameraModel", "cameraDelay", "cameraHeight", "cameraDepth", "cameraTilt",
    "cameraHeading", "detectionDistance", "timestampIssues", "baitUse", "featureType", "habitat", "deploymentGroups",
    "deploymentTags", "deploymentComments",
)  # fmt: skip
MEDIA_COLUMNS = (
    "mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic", "fileName", "fileMediatype",
    "exifData", "favorite", "mediaComments",
)  # fmt: skip
OBSERVATION_COLUMNS = (
    "observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel",
    "observationType", "cameraSetupType", "scientificName", "count", "lifeStage", "sex", "behavior", "individualID",
    "individualPositionRadius", "individualPositionAngle", "individualSpeed", "bboxX", "bboxY", "bboxWidth",
    "bboxHeight", "classificationMethod", "classifiedBy", "classificationTimestamp", "classificationProbability",
    "observationTags", "observationComments",
)  # fmt: skip
FILE_PATH = re.compile(r"(?=[^./~])((?!\.{2}).)*")
"""Valid `filePath` (media-table-schema 1.0.2): relative, and without `..` anywhere."""
MEDIA_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png"}


Row = Mapping[str, Any]
"""A row of a table by column; missing columns stay empty."""


@dataclass(frozen=True)
class CamtrapSource:
    """The content of a package.

    Attributes
    ----------
    sequences : of the metadata, by `seq_id`
    sites : deployment of every sequence
    unprocessed : sequences without any photo that a network processed: `unclassified`
    threshold : smallest probability of an observation; a sequence without one is `unknown`
    created : when the package was made, with its time zone
    """

    run: FinishedRun
    sequences: Mapping[str, Sequence]
    sites: Mapping[str, str]
    unprocessed: frozenset[str]
    project: Project
    threshold: float
    created: datetime


@dataclass(frozen=True)
class Event:
    """A sequence with its deployment and times."""

    sequence: Sequence
    deployment: str
    start: datetime
    end: datetime
    moments: tuple[datetime | None, ...]


def write_camtrap_dp(source: CamtrapSource, folder: Path) -> list[str]:
    """Write `deployments.csv`, `media.csv`, `observations.csv` and, last, `datapackage.json` into a folder.

    Returns messages about omitted sequences and about the content of the package.
    Raises UsageError if the project lacks a deployment, InputError if no photo has a time.
    """
    run, project = source.run, source.project
    ours = [source.sequences[seq_id] for seq_id in run.predictions.seq_ids if seq_id in source.sequences]
    events = [event for one in ours if (event := _event(one, source.sites[one.seq_id], project.zone))]
    if not events:
        raise InputError(f"{run.folder}: at least one sequence must have a photo with a datetime, got none")
    known = {deployment.id: deployment for deployment in project.deployments}
    if missing := sorted({event.deployment for event in events} - known.keys()):
        raise UsageError(f"--project: deployments must have every site, got {len(missing)} missing {missing[:5]}")
    media = _media(events, source)
    rows = dict(zip(run.predictions.seq_ids, run.predictions.values, strict=True))
    observations = [row for event in events for row in _observation_rows(event, rows[event.sequence.seq_id], source)]
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _write_table(folder / "deployments.csv", DEPLOYMENT_COLUMNS, _deployment_rows(events, known))
    _write_table(folder / "media.csv", MEDIA_COLUMNS, media)
    _write_table(folder / "observations.csv", OBSERVATION_COLUMNS, observations)
    write_json(_package(source, events, observations), folder / PACKAGE_NAME, ensure_ascii=False)
    n_left_out = len(ours) - len(events)
    left_out = f"left out: {counted(n_left_out, 'sequence')} none of whose photos has a time, which the format needs"
    return [
        *([left_out] if n_left_out else []),
        f"{counted(len(observations), 'observation')} of {counted(len(events), 'event')} -> {folder}",
    ]


def _write_table(path: Path, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    with atomic_csv(path) as writer:
        writer.writerow(columns)
        writer.writerows([row.get(column) for column in columns] for row in rows)


def _event(sequence: Sequence, site: str, zone: timezone) -> Event | None:
    moments = tuple(_moment(image, zone) for image in sequence.images)
    known = [moment for moment in moments if moment]
    return Event(sequence, site, min(known), max(known), moments) if known else None


def _moment(image: Image, zone: timezone) -> datetime | None:
    try:
        moment = datetime.fromisoformat(image.datetime)
        return moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)
    except (ValueError, OverflowError):
        return None


def _deployment_rows(events: list[Event], known: Mapping[str, Deployment]) -> Iterator[Row]:
    for site in sorted({event.deployment for event in events}):
        here = [event for event in events if event.deployment == site]
        deployment = known[site]
        yield {
            "deploymentID": site,
            "locationName": deployment.location_name,
            "latitude": deployment.latitude,
            "longitude": deployment.longitude,
            "coordinateUncertainty": deployment.coordinate_uncertainty,
            "deploymentStart": _text(min(event.start for event in here)),
            "deploymentEnd": _text(max(event.end for event in here)),
            "cameraModel": deployment.camera_model,
            "habitat": deployment.habitat,
            "deploymentComments": "start and end are the times of the first and the last photo",
        }


def _media(events: list[Event], source: CamtrapSource) -> list[Row]:
    """One row per photo, even if it is in several sequences. Raises InputError for invalid paths and two sites."""
    rows: dict[str, Row] = {}
    deployments: dict[str, str] = {}
    for event in events:
        for image, moment in zip(event.sequence.images, event.moments, strict=True):
            path = _file_path(image.file_name)
            if deployments.setdefault(path, event.deployment) != event.deployment:
                raise InputError(
                    f"{path}: must be a photo of one site, got {deployments[path]!r} and {event.deployment!r} "
                    f"(sequence {event.sequence.seq_id})"
                )
            if path not in rows:
                rows[path] = _media_row(path, image, moment, event, source)
    return list(rows.values())


def _file_path(file_name: str) -> str:
    """The path in the form that the format requires. Raises InputError if it has none."""
    path = plain_path(file_name)
    if not FILE_PATH.fullmatch(path):
        raise InputError(
            f"file_name {file_name!r}: must be a path that Camtrap DP allows (below the folder of the photos, not hidden, "
            "without .. in it); rename the photo, or leave its sequence out of the metadata"
        )
    return path


def _media_row(path: str, image: Image, moment: datetime | None, event: Event, source: CamtrapSource) -> Row:
    comments = [] if moment else ["no timestamp: the event's time is used"]
    if reason := source.run.failures.get(image.file_name):
        comments.append(f"not used: {reason}")
    methods = source.project.capture_method
    return {
        "mediaID": path,
        "deploymentID": event.deployment,
        "captureMethod": methods[0] if len(methods) == 1 else None,
        "timestamp": _text(moment or event.start),
        "filePath": path,
        "filePublic": "false",
        "fileName": path.rpartition("/")[2],
        "fileMediatype": MEDIA_TYPES.get(path.rpartition(".")[2].lower(), "image/jpeg"),
        "mediaComments": "; ".join(comments),
    }


def _observation_rows(event: Event, row: npt.NDArray[np.float64], source: CamtrapSource) -> Iterator[Row]:
    """The observations of an event with probabilities float64 (C,)."""
    seq_id = event.sequence.seq_id
    common = {
        "deploymentID": event.deployment,
        "eventID": seq_id,
        "eventStart": _text(event.start),
        "eventEnd": _text(event.end),
        "observationLevel": "event",
        "classificationMethod": "machine",
        "classifiedBy": source.run.model,
        "observationComments": source.run.warning,
    }
    if seq_id in source.unprocessed:
        yield {
            **common, "observationID": f"{seq_id}:unclassified", "observationType": "unclassified",
            "classificationMethod": None, "classifiedBy": None,
        }  # fmt: skip
        return
    found = [label for label in SPECIES_LABELS if row[LABELS.index(label)] >= source.threshold]
    for label in found:
        taxon = TAXA[label]
        yield {
            **common,
            "observationID": f"{seq_id}:{label}",
            "observationType": "animal",
            "scientificName": taxon.scientific_name,
            "sex": taxon.sex,
            "classificationProbability": f"{row[LABELS.index(label)]:.9g}",
            "observationTags": f"label:{label}",
        }
    if not found:
        is_blank = row[EMPTY] >= source.threshold
        kind = "blank" if is_blank else "unknown"
        yield {
            **common,
            "observationID": f"{seq_id}:{kind}",
            "observationType": kind,
            "classificationProbability": f"{row[EMPTY]:.9g}" if is_blank else None,
        }


def _package(source: CamtrapSource, events: list[Event], observations: list[Row]) -> dict[str, Any]:
    """`datapackage.json`."""
    project, used = source.project, {event.deployment for event in events}
    names = {row["scientificName"] for row in observations if row.get("scientificName")}
    taxa = {taxon.scientific_name: taxon for taxon in TAXA.values() if taxon.scientific_name in names}
    days = [moment.date().isoformat() for event in events for moment in (event.start, event.end)]
    resources = [
        {
            "name": name,
            "path": f"{name}.csv",
            "profile": "tabular-data-resource",
            "format": "csv",
            "mediatype": "text/csv",
            "encoding": "utf-8",
            "schema": f"{SCHEMAS}/{name}-table-schema.json",
        }
        for name in ("deployments", "media", "observations")
    ]
    return {
        "resources": resources,
        "profile": f"{SCHEMAS}/camtrap-dp-profile.json",
        "created": _text(source.created),
        "title": project.title,
        "description": f"Machine predictions by {source.run.model}.",
        "contributors": [one.model_dump(exclude_none=True) for one in project.contributors],
        "project": {
            "title": project.title,
            "samplingDesign": project.sampling_design,
            "captureMethod": list(project.capture_method),
            "individualAnimals": project.individual_animals,
            "observationLevel": ["event"],
        },
        "spatial": _spatial([one for one in project.deployments if one.id in used]),
        "temporal": {"start": min(days), "end": max(days)},
        "taxonomic": [
            {
                "scientificName": name,
                **({"taxonRank": taxon.rank} if taxon.rank else {}),
                "vernacularNames": {"eng": taxon.english},
            }
            for name, taxon in sorted(taxa.items())
        ],
    }


def _spatial(deployments: list[Deployment]) -> dict[str, Any]:
    """GeoJSON: the bounding box of all deployments, or their common point."""
    west, east = (choose(one.longitude for one in deployments) for choose in (min, max))
    south, north = (choose(one.latitude for one in deployments) for choose in (min, max))
    if (west, south) == (east, north):
        return {"type": "Point", "coordinates": [west, south]}
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [corners]}


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
