"""The version of this program."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def hakuna_version() -> str:
    """Version of this program."""
    return version("hakuna-runtime")
