"""A console whose tables keep their columns in logs."""

from rich.console import Console
from rich.table import Table

LOG_WIDTH = 140


def wide_console() -> Console:
    """Tables keep their columns in files and logs of CI, which have no width of their own."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=LOG_WIDTH, highlight=False)


def numbers_table(*columns: str) -> Table:
    """A table whose columns but the first are aligned to the right."""
    table = Table(*columns)
    for column in table.columns[1:]:
        column.justify = "right"
    return table
