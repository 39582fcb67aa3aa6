"""Facts that a Camera Trap Data Package needs besides the photos: the file of `hakuna export --project`."""

import re
from datetime import timedelta, timezone
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from inference.core.config_files import Strict

MINUTES_PER_HOUR = 60
MOST_OFFSET_MINUTES = 14 * MINUTES_PER_HOUR
"""Largest offset from UTC of any clock on earth."""


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"must name each only once, got {', '.join(values)}")
    return values


def _within(limit: int) -> AfterValidator:
    """A number of degrees from -limit to limit."""

    def check(value: float) -> float:
        if not -limit <= value <= limit:
            raise ValueError(f"must be -{limit} to {limit}, got {value:g}")
        return value

    return AfterValidator(check)


def _an_offset(text: str) -> str:
    if not re.fullmatch(r"[+-]\d\d:\d\d", text):
        raise ValueError(f"must look like +03:00, got {text!r}")
    hours, minutes = int(text[1:3]), int(text[4:])
    if minutes >= MINUTES_PER_HOUR or hours * MINUTES_PER_HOUR + minutes > MOST_OFFSET_MINUTES:
        raise ValueError(f"must be from -14:00 to +14:00 with minutes below 60, got {text}")
    return text


class Contributor(Strict):
    """A person or organization that contributed."""

    title: str
    role: Literal["contact", "principalInvestigator", "rightsHolder", "publisher", "contributor"] = "contributor"
    email: str | None = None
    path: str | None = None
    organization: str | None = None


class Deployment(Strict):
    """The place of a camera. `id` is its `site` in the metadata, or the folder of its photos."""

    id: str
    latitude: Annotated[float, _within(90)]
    longitude: Annotated[float, _within(180)]
    coordinate_uncertainty: int | None = Field(default=None, ge=1)
    location_name: str | None = None
    camera_model: str | None = None
    habitat: str | None = None


class Project(Strict):
    """Facts that a package needs besides the photos: the file of `--project`."""

    title: str
    sampling_design: Literal[
        "simpleRandom", "systematicRandom", "clusteredRandom", "experimental", "targeted", "opportunistic"
    ]
    capture_method: Annotated[
        tuple[Literal["activityDetection", "timeLapse"], ...], Field(min_length=1), AfterValidator(_each_once)
    ] = ("activityDetection",)
    individual_animals: bool = False
    utc_offset: Annotated[str, AfterValidator(_an_offset)]
    """Of the cameras' clocks."""
    contributors: tuple[Contributor, ...] = Field(min_length=1)
    deployments: tuple[Deployment, ...] = Field(min_length=1)

    @property
    def zone(self) -> timezone:
        """Time zone of the cameras' clocks."""
        hours, minutes = (int(part) for part in self.utc_offset[1:].split(":"))
        return timezone(timedelta(hours=hours, minutes=minutes) * (-1 if self.utc_offset[0] == "-" else 1))
