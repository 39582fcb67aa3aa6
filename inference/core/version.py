"""The version of this program."""

from __future__ import annotations

from importlib.metadata import version


def hakuna_version() -> str:
    """Version of this program."""
    return version("hakuna-runtime")
