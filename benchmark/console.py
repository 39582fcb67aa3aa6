"""A console whose tables keep their columns in logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    pass

LOG_WIDTH = 140


def wide_console() -> Console:
    """Tables keep their columns in files and logs of CI, which have no width of their own."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)
