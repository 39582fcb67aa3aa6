"""What stackers gain, as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from inference.domain import N_CLASSES

if TYPE_CHECKING:
    from models.stacking_run import Outcome

DIGITS = 6


def print_outcome(outcome: Outcome) -> None:
    """Print the log loss of each class before and after, on the half that no stacker saw."""
    table = Table("class", "before", "after", "change", "positives", "trees")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in outcome.results:
        change = f"{100 * (one.after / one.before - 1):+.1f} %" if one.before else ""
        table.add_row(
            one.label,
            f"{one.before:.{DIGITS}f}",
            f"{one.after:.{DIGITS}f}",
            change,
            str(one.n_positive),
            str(one.n_trees),
        )
    console = Console()
    console.print(
        f"trained on {outcome.train}, judged by the held-out half of {outcome.valid} -> {outcome.out}", highlight=False
    )
    console.print(table)
    gained = sum(one.before - one.after for one in outcome.results) / N_CLASSES
    console.print(f"the score over {N_CLASSES} classes falls by {gained:.{DIGITS}f}", highlight=False)
