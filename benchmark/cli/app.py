"""The command `hakuna`: puts the commands of the three packages together."""

import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import zip_longest
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from benchmark.cli import doctor, labels, rehearse, report, score, synth
from benchmark.cli.bench import app as bench
from benchmark.cli.bench import study
from inference.cli import export, metadata, predict, verify
from inference.cli.options import add_command
from inference.core.errors import HakunaError, InputError, OutOfMemoryError, OutputError
from inference.settings.environment import set_library_defaults
from inference.settings.packages import missing_packages
from models.cli import bundle, stack, train

PANELS = {
    "Classify": (predict.predict, predict.plan, predict.restack, predict.merge, metadata.metadata, export.export),
    "Evaluate": (labels.labels, score.score, report.report, synth.synth, synth.demo),
    "Competition": (bundle.pack, rehearse.rehearse),
    "Models": (train.train, stack.stack),
    "Operate": (verify.verify, doctor.doctor, rehearse.entrypoint, rehearse.health),
}


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
ACCESS_ERRORS = (errno.EACCES, errno.EPERM)


class Panels(TyperGroup):
    """Lists commands in panels. Typer's own class imports rich, which doubles the time of --help."""

    def format_commands(self, _: Any, formatter: Any) -> None:
        """Write one section per panel."""
        for panel in PANELS:
            commands = {
                name: one for name, one in self.commands.items() if getattr(one, "rich_help_panel", None) == panel
            }
            with formatter.section(panel):
                formatter.write_dl([(name, one.get_short_help_str()) for name, one in commands.items()])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`--json` without a file is `--json -`, `--smoke` without a number `--smoke 0`."""
        words = []
        for word, following in zip_longest(args, args[1:], fillvalue="--"):
            words.append(word)
            if word == "--json" and re.match("-.", following):
                words.append("-")
            if word == "--smoke" and not following.isdecimal():
                words.append("0")
        return super().parse_args(ctx, words)

    def invoke(self, ctx: Any) -> Any:
        """Without the words that pydantic puts before the message of a choice."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    name="hakuna", cls=Panels, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        typer.echo(f"hakuna {version('hakuna-runtime')}")
        raise typer.Exit


@app.callback()
def hakuna(
    _: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit."),
    ] = False,
) -> None:
    """Hakuna Runtime: batch inference for camera-trap photos."""


for panel, commands in PANELS.items():
    for command in commands:
        add_command(app, command, rich_help_panel=panel)
app.add_typer(bundle.app, name="bundle", rich_help_panel="Models")
app.add_typer(bench.app, name="bench", rich_help_panel="Operate")
app.add_typer(study.app, name="study", hidden=True)


def main() -> None:
    """Run the command; every HakunaError, and too little memory, becomes its exit code and one line."""
    try:
        _run()
    except SystemExit as end:
        if "inference.process.watchdog" in sys.modules and isinstance(end.code, int):
            from inference.process.watchdog import exit_process

            exit_process(end.code)
        raise


def _run() -> None:
    set_library_defaults()
    _open_standard_streams()
    try:
        try:
            with _system_errors(), missing_packages():
                app(prog_name="hakuna")
        except MemoryError as error:
            raise OutOfMemoryError(
                "memory: must suffice, got none when more was needed; saved work is kept; run again with fewer "
                "--workers, a smaller --batch-size or more memory"
            ) from error
    except HakunaError as error:
        if "structlog" in sys.modules:  # else no log was begun
            from inference.settings.logs import log_failure

            log_failure(error.exit_code, str(error), error.hint)
        with suppress(OSError):  # the reader may be gone; the exit code still reports the error
            typer.echo(f"hakuna: {error}", err=True)
            if error.hint:
                typer.echo(f"hint: {error.hint}", err=True)
        sys.exit(error.exit_code)


@contextmanager
def _system_errors() -> Iterator[None]:
    """Turn the errors of a full disk and of missing rights, which any call may raise, into OutputError and InputError."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise OutputError(
                f"{error.filename or 'output and temporary files'} must be writable, got: {error.strerror}"
            ) from error
        if error.errno in ACCESS_ERRORS:
            raise InputError(
                f"{error.filename or 'files'}: must be accessible to the user {os.geteuid()}, got: {error.strerror}"
            ) from error
        raise


def _open_standard_streams() -> None:
    """Open closed standard streams: libraries would write into the next file with that number. Both take any text."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  # for as long as the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be UTF-8; standard error escapes them anyway
        sys.stdout.reconfigure(errors="backslashreplace")
