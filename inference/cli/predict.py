"""`hakuna predict`, `plan`, `restack` and `merge`."""

from pathlib import Path
from typing import Annotated

import typer

from inference.cli import options
from inference.cli.printing import end_run, ending_in_time, plan_rows, print_table, say, show_or_write
from inference.cli.session import session

FailIfDegraded = Annotated[
    bool,
    typer.Option(
        "--fail-if-degraded",
        help="Exit with 6 if a budget degraded any sequence, not only if all have only the priors.",
    ),
]


def predict(
    photos: options.Data,
    bundle: options.Bundle,
    out: options.Out,
    metadata: options.Metadata = None,
    submission_format: options.SubmissionFormat = None,
    features: options.Features = None,
    flip_tta: options.FlipTta = True,
    resize: options.Resize = None,
    restart: options.Restart = False,
    allow_mixed_hardware: options.AllowMixedHardware = False,
    workers: options.Workers = None,
    batch_size: options.BatchSize = None,
    decoder: options.Decoder = None,
    engine: options.Engine = None,
    device: options.DeviceOption = None,
    precision: options.NetworkPrecision = None,
    max_loss_increase: options.MaxLossIncrease = None,
    budget: options.Budget = None,
    fail_if_degraded: FailIfDegraded = False,
    max_failures: options.MaxFailures = None,
    read_timeout: options.ReadTimeout = None,
    shard: options.ShardOption = None,
    cluster: options.Cluster = None,
    log_format: options.Log = None,
) -> None:
    """Predict every sequence of a folder of camera-trap photos and write submission.csv.

    The last lines count sequences by their most probable label. Sequences need a check if their best probability is
    below 0.5, or if no network processed them. In a pipe the log is JSON lines. The last event is `complete` or
    `failed`.

    Examples:
        hakuna predict /data --bundle bundles/third_place --out results
        hakuna predict /data --bundle bundles/third_place --out results --budget 8h --max-failures 5%
    """
    given = {**locals()}
    from inference import api

    following = [
        "report",
        out,
        "--data",
        photos,
        *(["--metadata", metadata] if metadata else []),
        "--out",
        "report.html",
    ]
    with session(given.pop("log_format")) as run, ending_in_time(out, run, following):
        with run.progress() as on_progress:
            report = api.predict(**given, on_progress=on_progress, state=run.state)
        if run.is_human and run.state.n_kept == run.state.n_all:
            say("all sequences were predicted before", err=True)
        end_run(report, out, run, following)


def plan(
    photos: options.Data,
    bundle: options.Bundle,
    out: options.Out,
    metadata: options.Metadata = None,
    submission_format: options.SubmissionFormat = None,
    features: options.Features = None,
    flip_tta: options.FlipTta = True,
    resize: options.Resize = None,
    restart: options.Restart = False,
    allow_mixed_hardware: options.AllowMixedHardware = False,
    workers: options.Workers = None,
    batch_size: options.BatchSize = None,
    decoder: options.Decoder = None,
    engine: options.Engine = None,
    device: options.DeviceOption = None,
    precision: options.NetworkPrecision = None,
    max_loss_increase: options.MaxLossIncrease = None,
    budget: options.Budget = None,
    max_failures: options.MaxFailures = None,
    read_timeout: options.ReadTimeout = None,
    shard: options.ShardOption = None,
    log_format: options.Log = None,
    json: options.JsonTarget = None,
) -> None:
    """Check files, disk, memory and time of a prediction, and change nothing.

    Exits as the prediction would, or with 11 if it does not fit.

    Examples:
        hakuna plan /data --bundle bundles/third_place --out results --budget 8h
    """
    given = {name: value for name, value in locals().items() if name not in ("log_format", "json")}
    from inference import api

    with session(log_format) as run, run.progress():
        run.state.stage = "checking the files, measuring a few batches"
        figures, problem = api.plan(**given, state=run.state)
    show_or_write(figures, json, lambda: print_table(plan_rows(figures), "what", "figure"))
    if problem:
        raise problem


def restack(
    run: Annotated[Path, typer.Argument(help="Folder with the records of an earlier run.")],
    bundle: options.Bundle,
    out: options.Out,
    features: options.Features = None,
    log_format: options.Log = None,
) -> None:
    """Repeat aggregation and stacking on the records of a run: seconds for another bundle's stackers and weights.

    A submission that is already in OUT is replaced.

    Examples:
        hakuna restack results --bundle bundles/new_stackers --out results2
    """
    from inference import api

    following = ["report", out, "--out", "report.html"]
    with session(log_format) as started, ending_in_time(out, started, following):
        with started.progress():
            report = api.restack(run, bundle, out, features=features, state=started.state)
        end_run(report, out, started, following)


def merge(
    shards: Annotated[list[Path], typer.Argument(help="Output folders of the shards, in any order.")],
    bundle: options.Bundle,
    out: options.Out,
    features: options.Features = None,
    allow_mixed_hardware: options.AllowMixedHardware = False,
    fail_if_degraded: FailIfDegraded = False,
    log_format: options.Log = None,
) -> None:
    """Join the records of shards and write the submission: byte-identical to an unsharded run.

    Examples:
        hakuna merge part1 part2 part3 --bundle bundles/third_place --out results
    """
    given = {name: value for name, value in locals().items() if name != "log_format"}
    from inference import api

    following = ["report", out, "--out", "report.html"]
    with session(log_format) as run, ending_in_time(out, run, following):
        with run.progress():
            report = api.merge(**given, state=run.state)
        end_run(report, out, run, following)
