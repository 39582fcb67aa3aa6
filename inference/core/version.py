"""The version of this program."""

from importlib.metadata import version


def hakuna_version() -> str:
    """Version of this program."""
    return version("hakuna-runtime")
