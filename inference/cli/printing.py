"""What commands print for people."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import Any

STDOUT = Path("-")
"""As the target of `--json`."""


def show_or_write(text: str, target: Path | None, show: Callable[[], None]) -> None:
    """Show figures to people, and write them as JSON where `--json` says; with `-` only that. Raises OutputError."""
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
    """Where anything else is printed meanwhile: with `--json -` to standard error."""
    return redirect_stdout(sys.stderr) if target == STDOUT else nullcontext()


def print_figures(figures: dict[str, Any]) -> None:
    """Print figures as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "figure")
    for name, value in figures.items():
        shown = ", ".join(f"{key}: {one:,}" for key, one in value.items()) if isinstance(value, dict) else value
        table.add_row(name.replace("_", " "), f"{shown:,}" if isinstance(shown, int) else str(shown))
    Console().print(table)


def print_summary(report: dict[str, Any], out: Path, is_human: bool) -> None:
    """Print what a run came to, for a person."""
    if not is_human:
        return
    with suppress(OSError, SystemExit):  # rich ends the program where nobody reads: the run is complete all the same
        _print_counts(report, out)


def _print_counts(report: dict[str, Any], out: Path) -> None:
    from rich.console import Console

    counts = report["counts"]
    console = Console(stderr=True)
    if "warning" in report:
        console.print(f"[bold red]{report['warning']}[/]")
    if report["degraded"]:
        console.print("[bold red]degraded: the time budget was too short for everything, see run.json[/]")
    if "shard" in report:
        console.print(f"{counts['sequences']} sequences; `hakuna merge` makes the submission", highlight=False)
        return
    console.print(
        f"{counts['sequences']} sequences, {sum(counts['failed_photos'].values())} photos not used, "
        f"{counts['sequences_with_priors']} sequences with priors -> {out / 'submission.csv'}",
        highlight=False,
        markup=False,  # a path may have brackets
    )
