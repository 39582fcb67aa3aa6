"""Output of commands for people."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from inference.core.errors import DegradedError
from inference.settings.verbosity import Verbosity, verbosity

if TYPE_CHECKING:
    from inference.cli.session import Session

STDOUT = Path("-")
"""As the target of `--json`."""
NAMES = {
    "photo_bytes": "size of the photos",
    "startup_seconds": "start",
    "seconds_per_sequence": "time per sequence",
    "fits": "fits the budget",
}
HUNDREDTHS = 0.01
"""Of a second: smaller amounts are shown as less than that."""


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
        from inference.core.files import atomic_writer, make_parent

        make_parent(target)
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


def plan_rows(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and value of every known figure of `hakuna plan`, with its unit."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _parts(name, value)
        elif value is not None and name != "first_problems":
            yield _row(name, value)


def _parts(name: str, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if name == "projected_seconds":
        from inference.bundle.passes import EFFORTS_IN_WORDS
        from inference.settings.units import duration

        yield from ((f"time with {EFFORTS_IN_WORDS[label]}", duration(value)) for label, value in values.items())
    else:
        yield name.replace("_", " "), ", ".join(f"{n:,} {one}" for one, n in values.items()) or "none"


def _row(name: str, value: Any) -> tuple[str, str]:
    from inference.settings.units import amount_of_bytes, duration

    words = name.split("_")
    shown = NAMES.get(name, " ".join(word for word in words if word not in ("bytes", "seconds")))
    if isinstance(value, bool):
        return shown, "yes" if value else "no"
    if "bytes" in words:
        return shown, amount_of_bytes(value)
    if name == "seconds_per_sequence":
        return shown, f"{value:,.2f} s" if value >= HUNDREDTHS or not value else f"less than {HUNDREDTHS} s"
    if "seconds" in words:
        return shown, duration(value)
    return shown, f"{value:,}" if isinstance(value, int) else str(value)


def say(line: str, *, err: bool = False) -> None:
    """Print a line, unless `-q` was given."""
    if verbosity() is not Verbosity.QUIET:
        typer.echo(line, err=err)


def end_run(report: dict[str, Any], out: Path, run: Session, following: Iterable[object]) -> None:
    """Print the last lines of a run: results, files, the next command. For programs, log the event `complete`."""
    if run.is_human:
        _last_lines(report, out, following)
        return
    import structlog

    from inference.outputs.run_report import completion

    structlog.get_logger().info("complete", **completion(report, out))


@contextmanager
def ending_in_time(out: Path, run: Session, following: list[object]) -> Iterator[None]:
    """For people, print the last lines of a run also where its deadline ends it, or with an error for its budget.

    Both leave a submission.
    """

    def at_the_deadline(report: dict[str, Any]) -> None:
        remove_line()
        _last_lines(report, out, following)

    if run.is_human and verbosity() is not Verbosity.QUIET:
        from inference.cli.progress import remove_line

        run.state.on_deadline = at_the_deadline
    try:
        yield
    except DegradedError:
        if run.is_human:
            from inference.outputs.run_file import read_run_file

            with suppress(OSError, ValueError):
                _last_lines(read_run_file(out), out, following, with_hint=False)
        raise


def _last_lines(report: dict[str, Any], out: Path, following: Iterable[object], *, with_hint: bool = True) -> None:
    from inference.outputs.run_report import findings, remedy

    if "shard" in report:
        following = ["merge", out, "OTHER_SHARDS", "--bundle", "BUNDLE", "--out", "WHOLE"]
    hints = [f"hint: {hint}"] if with_hint and (hint := remedy(report)) else []
    lines = [*findings(report, out), *hints, f"next: hakuna {shlex.join(map(str, following))}"]
    with suppress(OSError):  # nobody reads: the run is complete anyway
        for line in lines:
            say(line, err=True)
