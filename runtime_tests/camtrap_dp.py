"""Camtrap DP 1.0.2 (camtrap-dp.tdwg.org/data) as table schemas for frictionless: names, types, constraints.

Written from the published tables, without their descriptions, so that packages are validated without a network.
"""

from __future__ import annotations

from typing import Any

TIME = {"type": "datetime", "format": "%Y-%m-%dT%H:%M:%S%z"}
TEXT, NUMBER, WHOLE, YES_NO = {"type": "string"}, {"type": "number"}, {"type": "integer"}, {"type": "boolean"}
REQUIRED = {"required": True}
IDENTITY = {"required": True, "unique": True}


def field(name: str, kind: dict[str, str], **constraints: object) -> dict[str, Any]:
    return {"name": name, **kind, "constraints": constraints}


def foreign(fields: str, resource: str) -> dict[str, Any]:
    return {"fields": fields, "reference": {"resource": resource, "fields": fields}}


DEPLOYMENTS: dict[str, Any] = {
    "fields": [
        field("deploymentID", TEXT, **IDENTITY),
        field("locationID", TEXT),
        field("locationName", TEXT),
        field("latitude", NUMBER, required=True, minimum=-90, maximum=90),
        field("longitude", NUMBER, required=True, minimum=-180, maximum=180),
        field("coordinateUncertainty", WHOLE, minimum=1),
        field("deploymentStart", TIME, **REQUIRED),
        field("deploymentEnd", TIME, **REQUIRED),
        field("setupBy", TEXT),
        field("cameraID", TEXT),
        field("cameraModel", TEXT),
        field("cameraDelay", WHOLE, minimum=0),
        field("cameraHeight", NUMBER, minimum=0),
        field("cameraDepth", NUMBER, minimum=0),
        field("cameraTilt", WHOLE, minimum=-90, maximum=90),
        field("cameraHeading", WHOLE, minimum=0, maximum=360),
        field("detectionDistance", NUMBER, minimum=0),
        field("timestampIssues", YES_NO),
        field("baitUse", YES_NO),
        field(
            "featureType",
            TEXT,
            enum=[
                "roadPaved", "roadDirt", "trailHiking", "trailGame", "roadUnderpass", "roadOverpass", "roadBridge",
                "culvert", "burrow", "nestSite", "carcass", "waterSource", "fruitingTree",
            ],
        ),
        field("habitat", TEXT),
        field("deploymentGroups", TEXT),
        field("deploymentTags", TEXT),
        field("deploymentComments", TEXT),
    ],
    "missingValues": ["", "NaN", "nan"],
    "primaryKey": "deploymentID",
}  # fmt: skip

MEDIA: dict[str, Any] = {
    "fields": [
        field("mediaID", TEXT, **IDENTITY),
        field("deploymentID", TEXT, **REQUIRED),
        field("captureMethod", TEXT, enum=["activityDetection", "timeLapse"]),
        field("timestamp", TIME, **REQUIRED),
        field("filePath", TEXT, required=True, pattern=r"^(?=^[^./~])(^((?!\.{2}).)*$).*$"),
        field("filePublic", YES_NO, **REQUIRED),
        field("fileName", TEXT),
        field("fileMediatype", TEXT, required=True, pattern=r"^(image|video|audio)/.*$"),
        field("exifData", {"type": "object"}),
        field("favorite", YES_NO),
        field("mediaComments", TEXT),
    ],
    "missingValues": ["", "NaN", "nan"],
    "primaryKey": "mediaID",
    "foreignKeys": [foreign("deploymentID", "deployments")],
}

OBSERVATIONS: dict[str, Any] = {
    "fields": [
        field("observationID", TEXT, **IDENTITY),
        field("deploymentID", TEXT, **REQUIRED),
        field("mediaID", TEXT),
        field("eventID", TEXT),
        field("eventStart", TIME, **REQUIRED),
        field("eventEnd", TIME, **REQUIRED),
        field("observationLevel", TEXT, required=True, enum=["media", "event"]),
        field(
            "observationType",
            TEXT,
            required=True,
            enum=["animal", "human", "vehicle", "blank", "unknown", "unclassified"],
        ),
        field("cameraSetupType", TEXT, enum=["setup", "calibration"]),
        field("scientificName", TEXT),
        field("count", WHOLE, minimum=1),
        field("lifeStage", TEXT, enum=["adult", "subadult", "juvenile"]),
        field("sex", TEXT, enum=["female", "male"]),
        field("behavior", TEXT),
        field("individualID", TEXT),
        field("individualPositionRadius", NUMBER, minimum=0),
        field("individualPositionAngle", NUMBER, minimum=-90, maximum=90),
        field("individualSpeed", NUMBER, minimum=0),
        field("bboxX", NUMBER, minimum=0, maximum=1),
        field("bboxY", NUMBER, minimum=0, maximum=1),
        field("bboxWidth", NUMBER, minimum=1e-15, maximum=1),
        field("bboxHeight", NUMBER, minimum=1e-15, maximum=1),
        field("classificationMethod", TEXT, enum=["human", "machine"]),
        field("classifiedBy", TEXT),
        field("classificationTimestamp", TIME),
        field("classificationProbability", NUMBER, minimum=0, maximum=1),
        field("observationTags", TEXT),
        field("observationComments", TEXT),
    ],
    "missingValues": ["", "NaN", "nan"],
    "primaryKey": "observationID",
    "foreignKeys": [foreign("deploymentID", "deployments"), foreign("mediaID", "media")],
}

TABLES = {"deployments": DEPLOYMENTS, "media": MEDIA, "observations": OBSERVATIONS}

PROFILE: dict[str, Any] = {
    "type": "object",
    "required": ["resources", "profile", "created", "contributors", "project", "spatial", "temporal", "taxonomic"],
    "properties": {
        "resources": {
            "minItems": 3,
            "items": {
                "required": ["name", "path", "profile", "schema"],
                "properties": {
                    "name": {"enum": list(TABLES)},
                    "profile": {"enum": ["tabular-data-resource"]},
                    "schema": {"type": "string", "pattern": r"1\.0\.2"},
                },
            },
        },
        "profile": {"type": "string", "pattern": r"1\.0\.2"},
        "created": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$"},
        "contributors": {
            "minItems": 1,
            "items": {
                "required": ["title"],
                "properties": {
                    "role": {"enum": ["contact", "principalInvestigator", "rightsHolder", "publisher", "contributor"]}
                },
            },
        },
        "project": {
            "required": ["title", "samplingDesign", "captureMethod", "individualAnimals", "observationLevel"],
            "properties": {
                "samplingDesign": {
                    "enum": [
                        "simpleRandom", "systematicRandom", "clusteredRandom", "experimental", "targeted",
                        "opportunistic",
                    ]
                },
                "captureMethod": {
                    "minItems": 1, "uniqueItems": True, "items": {"enum": ["activityDetection", "timeLapse"]},
                },
                "individualAnimals": {"type": "boolean"},
                "observationLevel": {"items": {"enum": ["media", "event"]}},
            },
        },
        "spatial": {"required": ["type", "coordinates"]},
        "temporal": {
            "required": ["start", "end"],
            "additionalProperties": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"},
        },
        "taxonomic": {
            "type": "array",
            "items": {
                "required": ["scientificName"],
                "properties": {
                    "taxonRank": {
                        "enum": ["kingdom", "phylum", "class", "order", "family", "genus", "species", "subspecies"]
                    },
                    "vernacularNames": {
                        "patternProperties": {"^[a-z]{3}$": {"type": "string"}}, "additionalProperties": False,
                    },
                },
            },
        },
    },
}  # fmt: skip
