"""A console whose tables keep their columns in logs."""

from rich.console import Console
from rich.table import Table

LOG_WIDTH = 140


def wide_console() -> Console:
    """A console wide enough to keep table columns in files and CI logs, which have no width."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=LOG_WIDTH, highlight=False)


def numbers_table(*columns: str) -> Table:
    """A table with all columns but the first aligned to the right."""
    table = Table(*columns)
    table.columns[0].no_wrap, table.columns[0].overflow = True, "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    return table
