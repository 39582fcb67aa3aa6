"""`hakuna rehearse`, `entrypoint` and `health`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.sandbox.contract import Runner
from inference.cli.options import JsonTarget, Labels
from inference.cli.printing import print_table, show_or_write
from inference.core.errors import HakunaError, counted
from inference.process.progress import process_start
from inference.settings.verbosity import Verbosity, verbosity
from models.cli.bundle import ContractName
from models.spec.kinds import DEFAULT_CONTRACT

if TYPE_CHECKING:
    from benchmark.rehearsal.entry import EntryReport

KNOWN_PACKAGES = ("numpy", "pillow", "lightgbm", "tensorflow", "tensorflow-cpu", "openvino")
"""Packages of the program that are printed; `rehearsal.json` lists all."""


def rehearse(
    archive: Annotated[
        Path, typer.Argument(help="submission.zip with a main.py at its root, or a folder with its contents.")
    ],
    data: Annotated[Path, typer.Option(help="Folder with photos, test_metadata.csv and submission_format.csv.")],
    labels: Labels = None,
    contract: ContractName = DEFAULT_CONTRACT,
    models: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the contract's place of models, read-only; code_execution has one. Default: none."
        ),
    ] = None,
    smoke: Annotated[
        int | None,
        typer.Option(
            metavar="[N]",
            min=0,
            help="First run on N sequences (default: the contract's number), with its shorter time limit; stop if that fails.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time limit such as 8h or 90m: from unpacking to the program's end; default: the contract's."
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for submission.csv, log.txt and rehearsal.json: new, empty, or that of an earlier rehearsal."
        ),
    ] = Path("rehearsal"),
    json: JsonTarget = None,
    runner: Annotated[
        Runner | None,
        typer.Option(
            help="Default: Docker if there is an engine with the image, else bubblewrap. process: no isolation."
        ),
    ] = None,
    image: Annotated[str | None, typer.Option(help="Image for Docker; default: hakuna-runtime:cpu.")] = None,
) -> None:
    """Run a participant's archive as the competition would: no network, read-only data, a time limit, a strict check.

    The program must write submission.csv where the contract expects it: serengeti2019 in /inference, beside main.py;
    code_execution in /code_execution/submission; codabench in /app/output. It has Python and the packages of this
    installation (with Docker: those of the image), all cores, and all memory (with Docker: 90 %). The result lists them.

    Exit codes: 2 the output folder holds something else, 3 no such archive or data, 12 archive or submission invalid, 13 past the time limit, 14 the program failed.

    Examples:
        hakuna rehearse submission.zip --data DATA --labels labels.csv --budget 8h
        hakuna rehearse entry --contract code_execution --smoke --data DATA
    """
    from benchmark.rehearsal.entry import Entry, report_on
    from benchmark.rehearsal.rehearse import rehearse as run
    from benchmark.rehearsal.settings import load_contract_settings
    from benchmark.sandbox.supervise import catching_signals
    from models.spec.contract import load_contract

    rules = load_contract(contract)
    settings = load_contract_settings(budget=budget, image=image, runner=runner)
    with catching_signals() as signals:
        entry = Entry(archive, data, out, settings.budget or rules.time_limit, process_start(), rules, models)
        try:
            report = run(
                entry,
                labels=labels,
                runner=settings.runner,
                image=settings.image,
                scratch=settings.scratch,
                signals=signals,
                smoke=smoke,
            )
        except HakunaError as error:
            with suppress(HakunaError):  # the first error is the one to report
                show_or_write(report_on(entry, error).as_json(), json, lambda: None)
            raise
    show_or_write(report.as_json(), json, lambda: _print_report(report))
    raise typer.Exit(report.exit_code)


def entrypoint(
    root: Annotated[Path, typer.Option(help="Where data, submission and models are mounted.")] = Path("/inference"),
    contract: Annotated[
        Path | None,
        typer.Option(help="Contract of the archive, as JSON from `hakuna rehearse`; default: serengeti2019."),
    ] = None,
) -> None:
    """Command of the container: run ROOT/submission/submission.zip if it exists, else predict with ROOT/models.

    Examples:
        hakuna entrypoint --root /inference
    """
    from benchmark.sandbox.supervise import catching_signals

    with catching_signals() as signals:  # first: process 1 has no other protection
        from benchmark.rehearsal.entrypoint import run_entrypoint
        from benchmark.rehearsal.settings import load_contract_settings
        from models.spec.contract import SERENGETI_2019, read_handed_over

        settings = load_contract_settings()
        code = run_entrypoint(
            root,
            budget=settings.budget,
            started=process_start(),
            scratch=settings.scratch,
            demo_bundle=settings.demo_bundle,
            signals=signals,
            rules=read_handed_over(contract) if contract else SERENGETI_2019,
        )
    raise typer.Exit(code)


def health(
    folder: Annotated[Path, typer.Option(help="Output folder of the run.")] = Path("/inference/submission"),
) -> None:
    """Exit with 0 if the run that writes to a folder is alive or has ended well, with 1 if not.

    Examples:
        hakuna health --folder /inference/submission
    """
    from benchmark.rehearsal.health import why_unhealthy

    if complaint := why_unhealthy(folder):
        typer.echo(complaint, err=True)
        raise typer.Exit(1)


def _print_report(report: EntryReport) -> None:
    """The whole table, or with `-q` only an error, which nothing else has printed then."""
    if verbosity() is Verbosity.QUIET:
        for name, text in (("hakuna", report.message), ("hint", report.hint)) if report.exit_code else ():
            if text:
                typer.echo(f"{name}: {text}", err=True)
        return
    used = f"{report.seconds:,.2f} of {report.budget_seconds:,g} s ({report.seconds / report.budget_seconds:.1%})"
    peak = None if report.peak_memory_bytes is None else f"{report.peak_memory_bytes / 2**20:,.0f} MiB"
    lines: dict[str, object] = {
        "verdict": report.verdict.value,
        "mean log loss": None if report.log_loss is None else f"{report.log_loss:.6f}",
        "time used": used,
        "result": report.message,
        "hint": report.hint,
        "exit code": report.exit_code,
        "smoke run": report.smoke_sequences
        and f"{counted(report.smoke_sequences, 'sequence')}, {report.smoke_seconds:,.1f} s; "
        "its output is in smoke/log.txt",
        "program time": None if report.program_seconds is None else f"{report.program_seconds:,.1f} s",
        "program exit code": report.program_exit_code,
        "program peak memory": peak,
        **_surroundings(report),
        "runner": report.runner,
        "enforced": "; ".join(report.enforced),
        "not enforced": "; ".join(report.not_enforced),
    }
    rows = ((name, str(value)) for name, value in lines.items() if value not in (None, ""))
    print_table(rows, "rehearsal", "", show_header=False)


def _surroundings(report: EntryReport) -> dict[str, object]:
    """The contract and the resources of the program here, by their names in the table."""
    packages = report.packages or {}
    known = ", ".join(f"{name} {packages[name]}" for name in KNOWN_PACKAGES if name in packages)
    return {
        "contract": report.contract,
        "where the submission must be": report.submission_path,
        "Python": report.python and f"{report.python}; {len(packages)} packages, such as {known}",
        "cores": report.cores and str(report.cores),
        "memory": report.memory_bytes and f"{report.memory_bytes / 2**30:,.1f} GiB",
    }
