"""Output of commands for people."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from inference.settings.verbosity import Verbosity, verbosity

if TYPE_CHECKING:
    from inference.cli.session import Session

STDOUT = Path("-")
"""As the target of `--json`."""


def show_or_write(figures: dict[str, Any] | str, target: Path | None, show: Callable[[], None]) -> None:
    """Print a table of figures, and write them (or a text) as JSON to the target of `--json`; with `-` only that.

    Raises OutputError.
    """
    text = figures if isinstance(figures, str) else json.dumps(figures, indent=1)
    if target == STDOUT:
        sys.stdout.write(f"{text}\n")
        return
    show()
    if target:
        from inference.core.files import atomic_writer, output_errors

        with output_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_writer(target) as file:
            file.write(f"{text}\n")


def printing_beside(target: Path | None) -> AbstractContextManager[object]:
    """Redirect all other output to standard error, with `--json -`."""
    return redirect_stdout(sys.stderr) if target == STDOUT else nullcontext()


def print_table(rows: Iterable[tuple[str, ...]], *columns: str, show_header: bool = True) -> None:
    """Print a table; brackets in it are printed literally."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, show_header=show_header)
    for row in rows:
        table.add_row(*row)
    Console().print(table, markup=False, highlight=False)


def figure_rows(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The rows of a table of figures: name and value."""
    for name, value in figures.items():
        shown = ", ".join(f"{key}: {one:,}" for key, one in value.items()) if isinstance(value, dict) else value
        shown = ("no", "yes")[shown] if isinstance(shown, bool) else shown
        yield name.replace("_", " "), f"{shown:,}" if isinstance(shown, int) else str(shown)


def say(line: str, *, err: bool = False) -> None:
    """Print a line, unless `-q` was given."""
    if verbosity() is not Verbosity.QUIET:
        typer.echo(line, err=err)


def end_run(report: dict[str, Any], out: Path, run: Session, following: Iterable[object]) -> None:
    """Print the last lines of a run: results, files, the next command. For programs, log the event `complete`."""
    from inference.outputs.run_report import completion, findings

    if not run.is_human:
        import structlog

        structlog.get_logger().info("complete", **completion(report, out))
        return
    if "shard" in report:
        following = ["merge", out, "OTHER_SHARDS", "--bundle", "BUNDLE", "--out", "WHOLE"]
    with suppress(OSError):  # nobody reads: the run is complete anyway
        for line in findings(report, out):
            say(line, err=True)
        say(f"next: hakuna {shlex.join(map(str, following))}", err=True)
