"""Arguments and options of several commands, with the same meaning in each."""

import inspect
import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from inference.cli.printing import STDOUT
from inference.core.choices import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_READ_TIMEOUT,
    GPU_BATCH_SIZE,
    DecoderName,
    Device,
    EngineName,
    LogFormat,
    Precision,
    Preset,
)
from inference.core.errors import UsageError
from inference.settings.verbosity import Verbosity, set_verbosity

PICTURE_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"RIFF")
"""JPEG, PNG, TIFF and raw photos, WebP and AVI."""
BRAND = b"ftyp"
"""From the fourth byte of HEIC, CR3, MP4 and MOV files."""
NO_FIGURES = frozenset(
    {"run.json", "status.json", "manifest.json", "datapackage.json", "rehearsal.json", "training.json"}
)
"""JSON files of runs, bundles, packages, rehearsals and trainings."""

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Folder with the photos and the CSV files.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Output folder of a finished run.")]
Records = Annotated[
    Path | None, typer.Option(help="Folder of the run's records, for a run made by `hakuna restack`; default: RUN.")
]
Bundle = Annotated[Path, typer.Option(help="Model bundle (`hakuna bundle import` makes one).")]
Out = Annotated[Path, typer.Option(help="Output folder.")]
Metadata = Annotated[Path | None, typer.Option(help="Metadata; default DATA/test_metadata.csv.")]
Labels = Annotated[
    Path | None, typer.Option(help="CSV with seq_id and 54 columns of 0 and 1: also score it. Default: none.")
]
LabelledOnly = Annotated[
    bool,
    typer.Option(
        "--labelled-only", help="Score only the sequences that have labels and a prediction, and count the others."
    ),
]
SubmissionFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Submission format; default DATA/submission_format.csv; 'none': every sequence of the metadata.",
    ),
]
Features = Annotated[Path | None, typer.Option(help="Also write the stacker matrix to this .npz file. Default: none.")]
FlipTta = Annotated[
    bool, typer.Option("--tta/--no-tta", help="Average with mirror images; off for the training features of stackers.")
]
Resize = Annotated[Preset | None, typer.Option(help="Reference resize; default: the bundle's.")]
Restart = Annotated[bool, typer.Option("--restart", help="Start over instead of resuming an earlier run.")]
AllowMixedHardware = Annotated[
    bool,
    typer.Option(
        "--allow-mixed-hardware",
        help="Mix records of processors whose networks answer differently; run.json counts them.",
    ),
]
Workers = Annotated[int | None, typer.Option(help="Parallel threads or processes; default: one per core.")]
BatchSize = Annotated[
    int | None,
    typer.Option(
        help=f"Sequences per call of the networks; default: {DEFAULT_BATCH_SIZE}, or {GPU_BATCH_SIZE} on a GPU."
    ),
]
Decoder = Annotated[
    DecoderName | None,
    typer.Option(
        help="Decoder of the photos; all give the same pixels. Default: auto, which is fast, or dali on a GPU."
    ),
]
Engine = Annotated[
    EngineName | None,
    typer.Option(help="Library that runs the networks. Default: auto, which is OpenVINO on CPUs, TensorFlow on a GPU."),
]
DeviceOption = Annotated[
    Device | None,
    typer.Option(
        "--device",
        help="Where networks run and DALI decodes; gpu: exit 10 if none can be used. Default: auto, a GPU if one can be used.",
    ),
]
NetworkPrecision = Annotated[
    Precision | None,
    typer.Option(
        help="mixed, int8 and auto (the fastest of them here) are used only if they pass a check against float32 at the "
        "start; 1 % of the sequences are audited at the end. Default: float32."
    ),
]
MaxLossIncrease = Annotated[
    str | None,
    typer.Option(
        help="Largest increase of the expected log loss, relative to it, at which a lower precision is accepted, such as "
        "0.1%. Default: the bundle's."
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="Time limit such as 8h, 90m or 45s; a number alone is seconds. A complete submission is written before "
        "then. run.json and a warning report how many sequences have only the usual share of each class (priors); exit 6 if all do. "
        "Default: no limit."
    ),
]
MaxFailures = Annotated[
    str | None,
    typer.Option(help="Largest share of photos that may fail, such as 5%; exit 9 if more do. Default: 100%."),
]
ReadTimeout = Annotated[
    str | None,
    typer.Option(help=f"Time limit for reading a photo; default: {DEFAULT_READ_TIMEOUT:g}s."),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard", help="I/N: only the I-th of N parts of the sequences; `hakuna merge` joins them. Default: all."
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        help="ray: on all GPUs of this machine; ray:HOST:PORT: on the workers of a Ray cluster. Default: this process.",
    ),
]
Log = Annotated[
    LogFormat | None,
    typer.Option("--log-format", help="Log for people or as JSON. Default: auto, which is JSON unless on a terminal."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing output.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log on a terminal too.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and requested figures.")]
JsonTarget = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="[PATH|-]",
        dir_okay=False,
        help="Write the figures as JSON to this file; -: print only them. Default: none.",
    ),
]


def help_of(command: Callable[..., None]) -> str:
    """The docstring of a command for terminals: examples keep their lines, so that they can be copied."""
    return (inspect.getdoc(command) or "").replace("Examples:\n", "Examples:\n\n\b\n")


def summary_of(command: Callable[..., None]) -> str:
    """The first sentence of its docstring, for lists of commands."""
    paragraph = (inspect.getdoc(command) or "").partition("\n\n")[0]
    return re.split(r"(?<=\.)\s", paragraph)[0]


def add_command(app: typer.Typer, command: Callable[..., None], **settings: Any) -> None:
    """Register a command, with the options shared by all."""
    app.command(help=help_of(command), short_help=summary_of(command), **settings)(_with_verbosity(command))


def command_group(description: str, *commands: Callable[..., None]) -> typer.Typer:
    """A group of commands, called by the word of the group and their own names."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=description)
    for command in commands:
        add_command(group, command, name=command.__name__.rstrip("_").replace("_", "-"))
    return group


def check_file(option: str, path: Path, force: bool, hint: str = "") -> None:
    """Raise UsageError if a file to be written exists and may not be replaced, or is a folder."""
    if os.path.isdir(path):
        raise UsageError(
            f"{option} {path}: must be a file to write, got a folder", hint="name a file, in it or elsewhere"
        )
    check_no_photo(option, path)
    check_absent(option, path, force, hint)


def check_no_photo(option: str, path: Path) -> None:
    """Raise UsageError if a file to be written would replace a photo or a film, which no `--force` does."""
    start = _start_of(path)
    if start.startswith(PICTURE_STARTS) or start[4:8] == BRAND:
        raise UsageError(f"{option} {path}: must not be a photo or film, got one", hint="choose another name")


def check_figures(path: Path, given: dict[str, Any]) -> None:
    """Raise UsageError if the file of `--json` is another file of the command, or exists and does not hold figures."""
    others = {one.resolve() for name, one in given.items() if isinstance(one, Path) and name != "json"}
    if path.resolve() in others or path.name in NO_FIGURES:
        raise UsageError(f"--json {path}: must not be a file that the command reads or writes otherwise")
    if os.path.isfile(path) and os.path.getsize(path) and not _start_of(path).lstrip().startswith(b"{"):
        raise UsageError(
            f"--json {path}: must be new or an earlier file of figures, got another file", hint="choose another name"
        )


def _start_of(path: Path) -> bytes:
    """The first bytes of a regular file, if it is one."""
    if os.path.isfile(path):
        with suppress(OSError), open(path, "rb") as file:
            return file.read(16)
    return b""


def check_package(option: str, path: Path, force: bool, mark: str) -> None:
    """Raise UsageError if a folder to be written exists and is not empty, unless an earlier output may be replaced.

    `mark` is the file that shows that it is one.
    """
    if os.path.isdir(path) and os.listdir(path) and not os.path.isfile(path / mark):
        raise UsageError(
            f"{option} {path}: must be new, empty or an earlier output with {mark}, got a folder with other files",
            hint="choose another name",
        )
    check_absent(option, path, force)


def check_absent(option: str, path: Path, force: bool, hint: str = "") -> None:
    """Raise UsageError if an output already exists and may not be replaced. An empty folder is allowed."""
    if force or not os.path.lexists(path) or (os.path.isdir(path) and not os.listdir(path)):
        return
    raise UsageError(
        f"{option} {path}: must not exist yet", hint=hint or "choose another name, or overwrite it with --force"
    )


def check_writable(path: Path) -> None:
    """Raise OutputError before the work if no file can be made beside this one, or in its nearest folder that exists."""
    from tempfile import TemporaryFile

    from inference.core.files import output_errors

    with output_errors(path), TemporaryFile(dir=next(one for one in path.absolute().parents if one.exists())):
        pass


def _with_verbosity(command: Callable[..., None]) -> Callable[..., None]:
    """The command with options `-v` and `-q`, which are not passed to it."""

    @wraps(command)
    def run(*, verbose: bool, quiet: bool, **given: Any) -> None:
        if verbose and quiet:
            raise UsageError("-v, -q: must not both be given")
        set_verbosity(Verbosity.QUIET if quiet else Verbosity.VERBOSE if verbose else Verbosity.NORMAL)
        if (target := given.get("json")) and target != STDOUT:
            check_figures(target, given)
            check_writable(target)
        command(**given)

    own = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("verbose", Verbose), ("quiet", Quiet))
    ]
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *added])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*own.parameters.values(), *added)}
    return run
