"""Types of arguments, and their conversion."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TypedDict, TypeVar

from inference.core.choices import DecoderName, Device, EngineName, Precision, Preset
from inference.core.errors import UsageError

StrPath = str | os.PathLike[str]
Choice = TypeVar("Choice", bound=StrEnum)


class Arguments(TypedDict, total=False):
    """Arguments shared by `predict` and `plan`; `predict` describes them."""

    metadata: StrPath | None
    submission_format: StrPath | None
    features: StrPath | None
    flip_tta: bool
    resize: Preset | str | None
    restart: bool
    allow_mixed_hardware: bool
    workers: int | None
    batch_size: int | None
    decoder: DecoderName | str | None
    engine: EngineName | str | None
    device: Device | str | None
    precision: Precision | str | None
    max_loss_increase: float | str | None
    budget: float | str | None
    max_failures: float | str | None
    read_timeout: float | str | None
    shard: str | None


def optional_path(path: StrPath | None) -> Path | None:
    """A path, or None."""
    return None if path is None else Path(path)


def choice(kind: type[Choice], name: str, option: str) -> Choice:
    """The member with that name. Raises UsageError naming the option."""
    try:
        return kind(name)
    except ValueError as error:
        raise UsageError(f"{option}: must be one of {', '.join(kind)}, got {name!r}") from error
