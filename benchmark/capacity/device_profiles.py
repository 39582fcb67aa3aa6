"""Describes an unavailable device: its peak rates, the share of them to assume, and the source of each number."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from inference.core.choices import Precision
from inference.core.config_files import Strict, load_toml

PROFILES_FOLDER = Path(__file__).parents[1] / "profiles"
TERA, GIGA = 1e12, 1e9
LOW, MID, HIGH = "low", "mid", "high"
"""Levels of speed: shares of the peak."""
PROFILED = (Precision.FLOAT32, Precision.MIXED)
"""The precisions that a profile describes."""


class Basis(StrEnum):
    """The support of a number."""

    MEASURED = "measured"
    SPECIFIED = "specified"
    """By the manufacturer."""
    ASSUMED = "assumed"


class Assumption(Strict):
    """A number, its support and its source."""

    value: float = Field(gt=0)
    basis: Basis
    source: str = Field(min_length=1)


class Arithmetic(Strict):
    """Multiplication rate of the device in one precision."""

    peak_tflops: Assumption
    """Nominal operations per second, in 10^12; a multiply-add counts as two."""
    low: Assumption
    """Share of the peak that the networks reach at least; verdicts use this one."""
    mid: Assumption
    high: Assumption

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low.value <= self.mid.value <= self.high.value <= 1:
            raise ValueError("low, mid and high: must be in this order and at most 1")
        return self

    def operations_per_second(self, level: str) -> float:
        """The rate that the networks reach at a level: low, mid or high."""
        share: Assumption = getattr(self, level)
        return share.value * self.peak_tflops.value * TERA


class Profile(Strict):
    """A device and the machine around it."""

    format_version: Literal[1]
    name: str
    gpus: tuple[str, ...]
    """Words in the driver's names of such devices."""
    description: str
    photo_core_seconds: Assumption
    """Seconds of one core for one photo of 2048x1536, from the file to the views."""
    cores: Assumption
    call_seconds: Assumption
    """Cost of a call of a network beside its operations and its transfer."""
    bus_gb_per_second: Assumption
    """Rate at which images get to the device, in 10^9 bytes."""
    startup_seconds: Assumption
    postprocess_seconds_per_sequence: Assumption
    """Aggregation, stackers, submission."""
    float32: Arithmetic
    mixed: Arithmetic

    def arithmetic(self, precision: Precision) -> Arithmetic:
        """The rates in a precision."""
        return self.mixed if precision is Precision.MIXED else self.float32

    def assumptions(self) -> Iterator[tuple[tuple[str, ...], Assumption]]:
        """Every number with its path: `("mixed", "low")` or `("cores",)`."""
        for name, one in self:
            if isinstance(one, Arithmetic):
                yield from (((name, inner), number) for inner, number in one)
            elif isinstance(one, Assumption):
                yield (name,), one

    def with_value(self, path: tuple[str, ...], value: float) -> Self:
        """The same profile with another value of one number."""
        *outer, name = path
        owner = getattr(self, outer[0]) if outer else self
        changed = owner.model_copy(update={name: getattr(owner, name).model_copy(update={"value": value})})
        return self.model_copy(update={outer[0]: changed}) if outer else changed


def load_profile(name_or_path: str) -> Profile:
    """Read a profile of the project by name, or any by path. Raises UsageError."""
    return load_toml("--device-profile", name_or_path, Profile, folder=PROFILES_FOLDER)
