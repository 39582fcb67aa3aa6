"""Finished runs as a Camera Trap Data Package: Camtrap DP 1.0.2, observations of events."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.core.errors import InputError, UsageError
from inference.core.files import atomic_csv, output_errors, write_json
from inference.core.labels import EMPTY, LABELS
from inference.core.sequences import Image, Sequence
from inference.dataset.camera_folders import plain_path
from inference.export.camtrap_project import Deployment, Project
from inference.export.taxonomy import SPECIES_LABELS, TAXA
from inference.outputs.finished_run import FinishedRun

VERSION = "1.0.2"
SCHEMAS = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}"
"""What the format wants to read in `datapackage.json`; nothing is loaded from there."""
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
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%z"
FILE_PATH = re.compile(r"(?=[^./~])((?!\.{2}).)*")
"""What `filePath` may be (media-table-schema 1.0.2): relative, and without `..` anywhere."""
MEDIA_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png"}


@dataclass(frozen=True)
class Event:
    """A sequence as the package knows it."""

    sequence: Sequence
    deployment: str
    start: datetime
    end: datetime
    moments: tuple[datetime | None, ...]


@dataclass(frozen=True)
class Written:
    """What the package holds, and how many sequences it cannot hold since none of their photos has a time."""

    n_events: int
    n_observations: int
    n_without_time: int


def write_camtrap_dp(
    run: FinishedRun,
    sequences: Mapping[str, Sequence],
    sites: Mapping[str, str],
    unseen: frozenset[str],
    project: Project,
    folder: Path,
    threshold: float,
    created: datetime,
) -> Written:
    """Write `deployments.csv`, `media.csv`, `observations.csv` and, last, `datapackage.json` into a folder.

    Parameters
    ----------
    sites : deployment of every sequence
    unseen : sequences none of whose photos any network saw: `unclassified`
    threshold : from here on a label is an observation; a sequence without any is `unknown`
    created : when the package was made, with its time zone

    Raises UsageError where the project does not know a deployment, InputError where nothing has a time.
    """
    ours = [sequences[seq_id] for seq_id in run.predictions.seq_ids if seq_id in sequences]
    events = [event for sequence in ours if (event := _event(sequence, sites[sequence.seq_id], project.zone))]
    if not events:
        raise InputError(f"{run.folder}: at least one sequence must have a photo with a datetime, got none")
    known = {deployment.id: deployment for deployment in project.deployments}
    used = {event.deployment for event in events}
    if missing := sorted(used - known.keys()):
        raise UsageError(f"--project: deployments must have every site, got {len(missing)} missing {missing[:5]}")
    media = _media(events, run, project)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with atomic_csv(folder / "deployments.csv") as writer:
        writer.writerow(DEPLOYMENT_COLUMNS)
        writer.writerows(_deployment_rows(events, known))
    with atomic_csv(folder / "media.csv") as writer:
        writer.writerow(MEDIA_COLUMNS)
        writer.writerows(media)
    rows = dict(zip(run.predictions.seq_ids, run.predictions.values, strict=True))
    observations = [
        row for event in events for row in _observation_rows(event, rows[event.sequence.seq_id], run, unseen, threshold)
    ]
    with atomic_csv(folder / "observations.csv") as writer:
        writer.writerow(OBSERVATION_COLUMNS)
        writer.writerows(_in_order(row, OBSERVATION_COLUMNS) for row in observations)
    package = _package(run, project, events, observations, created)
    write_json(package, folder / "datapackage.json", ensure_ascii=False)
    return Written(len(events), len(observations), len(ours) - len(events))


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


def _deployment_rows(events: list[Event], known: Mapping[str, Deployment]) -> Iterator[list[Any]]:
    for site in sorted({event.deployment for event in events}):
        here = [event for event in events if event.deployment == site]
        deployment = known[site]
        yield _in_order(
            {
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
            },
            DEPLOYMENT_COLUMNS,
        )


def _media(events: list[Event], run: FinishedRun, project: Project) -> list[list[Any]]:
    """A row for every photo; one that is in several sequences has one row. Raises InputError for paths, and for two places."""
    rows: dict[str, list[Any]] = {}
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
                rows[path] = _media_row(path, image, moment, event, run, project)
    return list(rows.values())


def _file_path(file_name: str) -> str:
    """The path as the format wants it. Raises InputError where it cannot be one."""
    path = plain_path(file_name)
    if not FILE_PATH.fullmatch(path):
        raise InputError(
            f"file_name {file_name!r}: must be a path that Camtrap DP allows (below the folder of the photos, not hidden, "
            "without .. in it); rename the photo, or leave its sequence out of the metadata"
        )
    return path


def _media_row(
    path: str, image: Image, moment: datetime | None, event: Event, run: FinishedRun, project: Project
) -> list[Any]:
    comments = [] if moment else ["no time of its own: that of the event"]
    if reason := run.failures.get(image.file_name):
        comments.append(f"not used: {reason}")
    return _in_order(
        {
            "mediaID": path,
            "deploymentID": event.deployment,
            "captureMethod": project.capture_method[0] if len(project.capture_method) == 1 else None,
            "timestamp": _text(moment or event.start),
            "filePath": path,
            "filePublic": "false",
            "fileName": path.rpartition("/")[2],
            "fileMediatype": MEDIA_TYPES.get(path.rpartition(".")[2].lower(), "image/jpeg"),
            "mediaComments": "; ".join(comments),
        },
        MEDIA_COLUMNS,
    )


def _observation_rows(
    event: Event, row: npt.NDArray[np.float64], run: FinishedRun, unseen: frozenset[str], threshold: float
) -> Iterator[dict[str, Any]]:
    seq_id = event.sequence.seq_id
    common = {
        "deploymentID": event.deployment,
        "eventID": seq_id,
        "eventStart": _text(event.start),
        "eventEnd": _text(event.end),
        "observationLevel": "event",
        "classificationMethod": "machine",
        "classifiedBy": run.model,
        "observationComments": run.warning,
    }
    if seq_id in unseen:
        yield {
            **common, "observationID": f"{seq_id}:unclassified", "observationType": "unclassified",
            "classificationMethod": None, "classifiedBy": None,
        }  # fmt: skip
        return
    found = [label for label in SPECIES_LABELS if row[LABELS.index(label)] >= threshold]
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
        is_blank = row[EMPTY] >= threshold
        kind = "blank" if is_blank else "unknown"
        probability = f"{row[EMPTY]:.9g}" if is_blank else None
        yield {
            **common,
            "observationID": f"{seq_id}:{kind}",
            "observationType": kind,
            "classificationProbability": probability,
        }


def _package(
    run: FinishedRun, project: Project, events: list[Event], observations: list[dict[str, Any]], created: datetime
) -> dict[str, Any]:
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
        "created": _text(created),
        "title": project.title,
        "description": f"Machine predictions by {run.model}.",
        "contributors": [one.model_dump(exclude_none=True) for one in project.contributors],
        "project": {
            "title": project.title,
            "samplingDesign": project.sampling_design,
            "captureMethod": list(project.capture_method),
            "individualAnimals": project.individual_animals,
            "observationLevel": ["event"],
        },
        "spatial": _spatial([one for one in project.deployments if one.id in {event.deployment for event in events}]),
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
    """GeoJSON: the box around all deployments, or the point where there is one."""
    west, east = (choose(one.longitude for one in deployments) for choose in (min, max))
    south, north = (choose(one.latitude for one in deployments) for choose in (min, max))
    if (west, south) == (east, north):
        return {"type": "Point", "coordinates": [west, south]}
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [corners]}


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _in_order(row: Mapping[str, Any], columns: tuple[str, ...]) -> list[Any]:
    return [row.get(column) for column in columns]
