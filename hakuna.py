"""The command `hakuna`: puts the verbs of the three packages together."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated

import typer

from benchmark import cli as benchmark_cli
from benchmark import contract_cli
from inference import cli as inference_cli
from inference.domain import HakunaError
from models import cli as models_cli

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


app.command()(inference_cli.predict)
app.command()(inference_cli.merge)
app.command()(models_cli.pack)
app.command()(inference_cli.metadata)
app.command()(inference_cli.export)
app.command()(benchmark_cli.score)
app.command()(benchmark_cli.report)
app.command()(benchmark_cli.synth)
app.command()(benchmark_cli.demo)
app.command()(benchmark_cli.bench)
app.command()(contract_cli.rehearse)
app.command()(contract_cli.entrypoint)
app.command()(contract_cli.health)
app.command()(contract_cli.doctor)
app.command()(models_cli.train)
app.command()(models_cli.stack)
app.add_typer(models_cli.app, name="bundle")


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


if __name__ == "__main__":
    main()
