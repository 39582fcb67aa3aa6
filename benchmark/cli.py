"""The verbs that judge: score, demo, bench, and those of the competition's contract: rehearse, entrypoint, health."""

from __future__ import annotations

import json
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inference.domain import Effort, Precision, UsageError

if TYPE_CHECKING:
    from benchmark.entry import EntryReport
    from benchmark.scoring import Score

SHOWN_DIGITS = 6


def score(
    submission: Annotated[Path, typer.Argument(help="submission.csv")],
    labels: Annotated[Path, typer.Argument(help="CSV with seq_id and 54 columns of 0 and 1.")],
    epsilon: Annotated[float, typer.Option(min=0.0, max=0.5, help="Clip probabilities to [eps, 1 - eps].")] = 1e-15,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score a submission: mean log loss, and what each class contributes to it.

    Example: hakuna score results/submission.csv labels.csv
    """
    from benchmark import scoring

    result = scoring.score(scoring.read_submission(submission), scoring.read_labels(labels), epsilon)
    if as_json:
        typer.echo(json.dumps(result.as_json(), indent=1))
    else:
        _print_score(result)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, bundle and results.")] = Path("demo"),
    sequences: Annotated[int, typer.Option(min=1, max=10_000, help="Bursts of the synthetic season.")] = 40,
    seed: Annotated[int, typer.Option(help="Another seed, another season.")] = 1,
) -> None:
    """Make a small synthetic season and an untrained bundle, predict, score. No network, under two minutes.

    Example: hakuna demo --out demo
    """
    from benchmark.demo import run_demo
    from inference.bundle import DEMO_WARNING
    from inference.logs import configure_logging, progress_for
    from inference.settings import load_settings

    settings = load_settings()
    human = configure_logging(settings.log_format)
    with progress_for(human) as on_progress:
        files = run_demo(out, n_sequences=sequences, seed=seed, n_workers=settings.workers, on_progress=on_progress)
    _print_score(files.score, most=8)
    typer.echo(f"photos and labels  {files.data}")
    typer.echo(f"model bundle       {files.bundle}")
    typer.echo(f"submission         {files.out / 'submission.csv'}")
    typer.echo(DEMO_WARNING)


class Against(StrEnum):
    """What ours is timed against."""

    PUBLISHED = "published"
    """The whole prediction against the published program's way of working."""
    PILLOW = "pillow"
    """Every decoder against Pillow, on one core."""


class EnsembleName(StrEnum):
    """Ensembles on the command line: the order in which a run short of time degrades."""

    FULL = "full"
    NO_LARGE_TTA = "no-large-tta"
    NO_TTA = "no-tta"
    ONE_SIZE = "one-size"
    FIRST_NETWORK = "first-network"


def bench(
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder with photos, test_metadata.csv and submission_format.csv; default: drawn photos."),
    ] = None,
    against: Annotated[
        Against | None, typer.Option(help="Side by side with the published program's way of working, or with Pillow.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Model bundle; default: untrained networks.")] = None,
    application: Annotated[
        str | None,
        typer.Option(
            help="Backbone of untrained networks: 'tiny' (default for timings here), or one in keras.applications "
            "(default elsewhere: InceptionResNetV2)."
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(help="Ensemble to run.")] = "third_place",
    workload: Annotated[str | None, typer.Option(help="Project this workload: season11, ... or a .toml file.")] = None,
    budget: Annotated[str | None, typer.Option(help="Exit with 11 if the workload does not fit: 8h, 90m.")] = None,
    device_profile: Annotated[
        str | None, typer.Option(help="Project on a device that is not here: v100, a100 or a .toml file.")
    ] = None,
    ensemble: Annotated[
        EnsembleName, typer.Option(help="What has to fit: everything, or what a run short of time falls back to.")
    ] = EnsembleName.FULL,
    precision: Annotated[Precision, typer.Option(help="What has to fit.")] = Precision.FLOAT32,
    short: Annotated[bool, typer.Option("--short", help="Few repeats, float32 only, one size of photos: for CI.")] = (
        False
    ),
    repeats: Annotated[int | None, typer.Option(min=1, help="Repeats of every stage; default 9, 7 with --short.")] = (
        None
    ),
    compare: Annotated[Path | None, typer.Option(help="Exit with 11 if a stage is slower than in this report.")] = None,
    max_regression: Annotated[
        float, typer.Option(min=1.0, help="How many times slower, relative to its calibration kernel.")
    ] = 1.3,
    plots: Annotated[Path | None, typer.Option(help="Write plots (SVG) into this folder; needs Matplotlib.")] = None,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Time and memory of whole runs of 100 to 10,000 synthetic sequences.")
    ] = False,
    validate: Annotated[
        int | None, typer.Option(min=10, metavar="SEQUENCES", help="Project three workloads, run them, compare.")
    ] = None,
    try_gate: Annotated[
        bool, typer.Option("--try-gate", help="Try --compare with slowed stages and on a busy machine.")
    ] = False,
    history: Annotated[
        Path | None, typer.Option(help="Draw all figures of this folder into its index.html; needs Matplotlib.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Keep the figures in this file.")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Keep networks, bundle and photos in this folder, and use them again.")
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="Images per second of training, of its input and of its steps.")
    ] = False,
) -> None:
    """Time every stage of a run; project a workload; tell what has become slower, or does not fit (exit 11).

    Examples:
        hakuna bench --bundle bundles/third_place --json bench.json --plots plots

        hakuna bench --short --compare benchmark/results/baseline.json --max-regression 1.3

        hakuna bench --workload season11 --budget 8h --device-profile v100 --precision mixed

        hakuna bench /data --against published --json benchmark/results/against_published.json

        hakuna bench --training --json benchmark/results/training.json

        hakuna bench --scaling --json benchmark/results/scaling.json --plots benchmark/results
    """
    from inference.logs import configure_logging

    configure_logging("auto")
    _only_one(
        {
            "--against": against is not None,
            "--workload": workload is not None,
            "--scaling": scaling,
            "--training": training,
            "--validate": validate is not None,
            "--try-gate": try_gate,
            "--history": history is not None,
            "--compare": compare is not None,
        }
    )
    if (budget or device_profile) and not workload:
        raise UsageError("--budget, --device-profile: must come with --workload")
    from benchmark import bench_command

    request = bench_command.BenchRequest(
        data=data,
        bundle=bundle,
        application=application,
        recipe=recipe,
        short=short,
        repeats=repeats,
        work=work,
        json_file=json_file,
        command=_command_line(),
    )
    if against is Against.PILLOW:
        bench_command.time_decoders(request)
    elif against is Against.PUBLISHED:
        bench_command.time_against_published(request)
    elif training:
        bench_command.time_training(request)
    elif scaling:
        bench_command.time_scaling(request, plots)
    elif history is not None:
        bench_command.draw_history(history)
    elif validate is not None:
        bench_command.validate_projections(request, validate)
    elif try_gate:
        bench_command.try_gate(request)
    elif workload:
        chosen, seconds = Effort[ensemble.name], _seconds(budget)
        bench_command.project_workload(request, workload, seconds, device_profile, chosen, precision)
    else:
        bench_command.time_stages(request, plots, compare, max_regression)


def _only_one(modes: dict[str, bool]) -> None:
    """Raise UsageError where two options ask for different things."""
    given = [name for name, is_given in modes.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"{', '.join(given)}: at most one of them must be given")


def _seconds(budget: str | None) -> float | None:
    """A duration of the command line in seconds. Raises UsageError."""
    from inference.settings import seconds_of

    try:
        seconds = seconds_of(budget)
    except ValueError as error:
        raise UsageError(f"--budget: {error}, got {budget!r}") from error
    return float(str(seconds)) if seconds else None


def _command_line() -> str:
    """The command as a reader can repeat it: folders of this machine are left out."""
    words = ["hakuna"]
    for word in sys.argv[1:]:
        path = Path(word)
        words.append(path.name if path.is_absolute() else word)
    return " ".join(words)


class RunnerName(StrEnum):
    """Runners on the command line."""

    AUTO = "auto"
    DOCKER = "docker"
    PROCESS = "process"


def rehearse(
    archive: Annotated[Path, typer.Argument(help="submission.zip with a main.py at its root.")],
    data: Annotated[Path, typer.Option(help="Folder with photos, test_metadata.csv and submission_format.csv.")],
    labels: Annotated[Path | None, typer.Option(help="CSV with seq_id and 54 columns of 0 and 1: score it.")] = None,
    budget: Annotated[str | None, typer.Option(help="Time limit such as 8h or 90m, unpacking included.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for submission.csv, log.txt and rehearsal.json.")] = Path(
        "rehearsal"
    ),
    json_file: Annotated[Path | None, typer.Option("--json", help="Also keep the report in this file.")] = None,
    runner: Annotated[RunnerName, typer.Option(help="auto: Docker if there is an engine with the image.")] = (
        RunnerName.AUTO
    ),
    image: Annotated[str | None, typer.Option(help="Image for Docker.")] = None,
) -> None:
    """Run an entrant's archive as the competition would: no network, read-only data, a time limit, a strict check.

    Exit codes: 12 archive or submission invalid, 13 past the time limit, 14 the program failed.

    Example: hakuna rehearse submission.zip --data DATA --labels labels.csv --budget 8h
    """
    from benchmark.contract_settings import load_contract_settings
    from benchmark.entry import Entry
    from benchmark.machine import write_json
    from benchmark.rehearsal import Runner
    from benchmark.rehearsal import rehearse as run
    from benchmark.supervision import catching_signals
    from inference.run_state import process_start

    settings = load_contract_settings(budget=budget, image=image)
    with catching_signals() as signals:
        entry = Entry(archive, data, out, settings.budget, process_start())
        report = run(
            entry,
            labels=labels,
            runner=Runner(runner.value),
            image=settings.image,
            scratch=settings.scratch,
            signals=signals,
        )
    if json_file:
        write_json(report.as_json(), json_file)
    _print_report(report)
    raise typer.Exit(report.exit_code)


def entrypoint(
    root: Annotated[Path, typer.Option(help="Where data, submission and models are mounted.")] = Path("/inference"),
) -> None:
    """What the container runs: ROOT/submission/submission.zip if it is there, else a prediction with ROOT/models.

    Example: hakuna entrypoint --root /inference
    """
    from benchmark.supervision import catching_signals

    with catching_signals() as signals:  # first of all: process 1 has no other protection
        from benchmark.contract_settings import load_contract_settings
        from benchmark.entrypoint import run_entrypoint
        from inference.run_state import process_start

        settings = load_contract_settings()
        code = run_entrypoint(
            root,
            budget=settings.budget,
            started=process_start(),
            scratch=settings.scratch,
            demo_bundle=settings.demo_bundle,
            signals=signals,
        )
    raise typer.Exit(code)


def health(
    folder: Annotated[Path, typer.Option(help="Output folder of the run.")] = Path("/inference/submission"),
) -> None:
    """Exit with 0 if the run that writes to a folder is alive or has ended well, with 1 if not.

    Example: hakuna health --folder /inference/submission
    """
    from benchmark.health import why_unhealthy

    complaint = why_unhealthy(folder)
    if complaint:
        typer.echo(complaint, err=True)
        raise typer.Exit(1)


def doctor(
    gpu: Annotated[bool, typer.Option("--gpu", help="A GPU must be usable; exit 10 if it is not.")] = False,
    out: Annotated[Path | None, typer.Option(help="Output folder that must be writable.")] = None,
    scratch: Annotated[Path | None, typer.Option(help="Scratch folder that must be writable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check this machine: versions, one convolution on every device, one prediction that is known, writable folders.

    Exit codes: 10 no usable GPU, 4 a wrong prediction, 5 a folder that is not writable, 1 anything else.

    Example: hakuna doctor --out results
    """
    from benchmark import doctor as module
    from benchmark.contract_settings import load_contract_settings
    from benchmark.workplace import CONTRACT_OUT

    used_scratch = scratch or load_contract_settings().scratch or Path(tempfile.gettempdir())
    used_out = out or (CONTRACT_OUT if CONTRACT_OUT.is_dir() else None)
    folders = {"scratch": used_scratch} | ({"output": used_out} if used_out else {})
    checks = module.examine(gpu=gpu, folders=folders)
    code = module.exit_code(checks)
    if as_json:
        typer.echo(json.dumps({"exit_code": code, "checks": [check.as_json() for check in checks]}, indent=1))
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("check", "outcome", "found")
        for check in checks:
            table.add_row(check.name, check.outcome.value, check.found)
        Console().print(table, markup=False, highlight=False)
    if code:
        failed = [check.name for check in checks if check.outcome is module.Outcome.FAILED]
        typer.echo(f"hakuna: doctor: {', '.join(failed)}", err=True)
        raise typer.Exit(code)


def _print_report(report: EntryReport) -> None:
    from rich.console import Console
    from rich.table import Table

    used = f"{report.seconds:,.1f} of {report.budget_seconds:,g} s ({report.seconds / report.budget_seconds:.1%})"
    peak = None if report.peak_memory_bytes is None else f"{report.peak_memory_bytes / 2**20:,.0f} MiB"
    lines = {
        "verdict": report.verdict.value,
        "because": report.message,
        "exit code": report.exit_code,
        "time used": used,
        "of the program alone": None if report.program_seconds is None else f"{report.program_seconds:,.1f} s",
        "its own exit code": report.program_exit_code,
        "its peak memory": peak,
        "mean log loss": None if report.log_loss is None else f"{report.log_loss:.{SHOWN_DIGITS}f}",
        "runner": report.runner,
        "enforced": "; ".join(report.enforced),
        "not enforced": "; ".join(report.not_enforced),
    }
    table = Table("rehearsal", "", show_header=False)
    for name, value in lines.items():
        if value not in (None, ""):
            table.add_row(name, str(value))
    Console().print(table, markup=False, highlight=False)


def _print_score(result: Score, most: int | None = None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("class", "log loss", "contribution", "positives", "mean prediction")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in result.classes[:most]:
        numbers = [f"{value:.{SHOWN_DIGITS}f}" for value in (one.log_loss, one.contribution)]
        table.add_row(one.label, *numbers, str(one.positives), f"{one.mean_prediction:.{SHOWN_DIGITS}f}")
    console = Console()
    console.print(table)
    if most and most < len(result.classes):
        console.print(f"... and {len(result.classes) - most} more classes")
    console.print(
        f"mean log loss {result.log_loss:.{SHOWN_DIGITS}f} over {result.n_sequences} sequences", highlight=False
    )
