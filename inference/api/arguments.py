"""What arguments may be."""

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from inference.core.errors import UsageError

StrPath = str | os.PathLike[str]
Progress = Callable[[int, int], None]
"""Called with the number of sequences done and of all sequences."""
Choice = TypeVar("Choice", bound=StrEnum)


def optional_path(path: StrPath | None) -> Path | None:
    """A path, or None."""
    return None if path is None else Path(path)


def choice(kind: type[Choice], name: str, option: str) -> Choice:
    """The member with that name. Raises UsageError naming the option."""
    try:
        return kind(name)
    except ValueError as error:
        raise UsageError(f"{option}: must be one of {', '.join(kind)}, got {name!r}") from error
