"""The command `hakuna`: puts the commands of the three packages together."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated

import typer

from benchmark.cli import doctor, rehearse, report, score, synth
from benchmark.cli.bench import app as app_module
from inference.cli import export, merge, metadata, predict
from inference.core.errors import HakunaError
from models.cli import bundle, pack, stack, train

app = typer.Typer(
    name="hakuna",
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich would double the time that --help takes
    pretty_exceptions_enable=False,
)


def _tell_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"hakuna {version('hakuna-runtime')}")
        raise typer.Exit


@app.callback()
def hakuna(
    _: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_tell_version, help="Show the version and exit."),
    ] = False,
) -> None:
    """Hakuna Runtime: batch inference for camera-trap photos."""


app.command()(predict.predict)
app.command()(merge.merge)
app.command()(pack.pack)
app.command()(metadata.metadata)
app.command()(export.export)
app.command()(score.score)
app.command()(report.report)
app.command()(synth.synth)
app.command()(synth.demo)
app.command()(app_module.bench)
app.command()(rehearse.rehearse)
app.command()(rehearse.entrypoint)
app.command()(rehearse.health)
app.command()(doctor.doctor)
app.command()(train.train)
app.command()(stack.stack)
app.add_typer(bundle.app, name="bundle")


def main() -> None:
    """Run the command; the exit code is that of RELIABILITY.md."""
    _open_standard_streams()
    try:
        app()
    except HakunaError as error:
        with suppress(OSError):  # nobody may listen any more; the exit code still tells
            typer.echo(f"hakuna: {error}", err=True)
        sys.exit(error.exit_code)


def _open_standard_streams() -> None:
    """Where the caller closed one, the next file that is opened would get its number, and libraries would write into it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  # for as long as the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
