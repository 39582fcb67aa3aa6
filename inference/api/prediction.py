"""Photos -> submission, and an estimate of its cost."""

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from inference.api.arguments import Arguments, StrPath, optional_path
from inference.api.jobs import build_job, check_apart
from inference.core.choices import Precision
from inference.core.errors import HakunaError, UsageError
from inference.core.files import output_errors
from inference.execution.job import Job, RunOptions
from inference.process.lock import check_unlocked, locked
from inference.process.progress import Progress, RunState
from inference.process.read_timeout import ReadTimeout
from inference.settings.packages import require
from inference.settings.settings import Settings, load_settings

THIS_MACHINE, ADDRESS = ("", "local"), re.compile(r"[^\s/:]+:\d+|\[[0-9a-fA-F:]+\]:\d+")
"""Addresses of a cluster: on this machine, elsewhere."""
SETTINGS = Settings.model_fields.keys() - {"log_format"}


def predict(
    photos: StrPath,
    bundle: StrPath,
    out: StrPath,
    *,
    fail_if_degraded: bool = False,
    on_progress: Progress | None = None,
    state: RunState | None = None,
    cluster: str | None = None,
    **arguments: Unpack[Arguments],
) -> dict[str, Any]:
    """Predict every sequence of a folder of photos and write `submission.csv`, as `hakuna predict` does.

    Existing records of the same run in `out` are kept; a finished run is verified and left unchanged.

    Parameters
    ----------
    photos : folder with the photos and, unless given separately, the CSV files
    bundle : folder of the model bundle
    out : output folder, created if necessary; only one run at a time may write to it
    metadata : CSV file; default `test_metadata.csv` in `photos`
    submission_format : CSV file; default `submission_format.csv` in `photos`; "none": every sequence of the metadata
    features : also write the stackers' matrix to this .npz file
    flip_tta : average with mirror images; False for the training features of stackers
    resize : reference resize, "quarter" or "quarter+jpeg"; default: the bundle's
    restart : start over if `out` has records
    allow_mixed_hardware : continue on another kind of processor, whose networks answer differently from those at
        the start of the records; `run.json` then counts the sequences of each. Otherwise this is a CheckpointError
    workers : threads that read and decode photos, 1 to 256; default: one per core
    batch_size : sequences per network call, 1 to 1024; default 8, on a GPU 64; does not change the result
    decoder : "auto", "pillow", "fast" or "dali"
    engine : "auto", "tensorflow" or "openvino"
    device : "auto", "cpu" or "gpu", which is an UnusableGpuError where no GPU can be used
    precision : "float32", "mixed", "int8" or "auto", the fastest. Those below float32 are used only if they pass a check
        against it at the start, and audited on 1 % of the sequences at the end
    max_loss_increase : increase of the expected log loss at which a lower precision is accepted, relative to it: 0 to 1,
        or a string such as "0.1%"; default: the bundle's
    budget : time limit for the submission: seconds from now, or a string such as "8h". A run that is still busy at the
        deadline gives the best submission so far its final name and then **ends the process**
    fail_if_degraded : raise DegradedError (exit code 6) if the budget was too short for everything, or a lower precision
        costs more than its bound; by default, only if every sequence has only the priors
    max_failures : share of the photos that may fail: 0 to 1, or a string such as "5%"; default 1
    read_timeout : time limit for reading a photo: seconds, or a string such as "90s"; default 60
    shard : "I/N": only the I-th of N parts of the sequences; writes records for `merge`, no submission
    cluster : "ray": on all GPUs of this machine; "ray:HOST:PORT": on the workers of a Ray cluster. The result is the same
    on_progress : called after every batch
    state : progress of the run; setting its `stop_signal` in another thread stops the run and saves its progress

    Returns
    -------
    The content of `run.json`.

    Raises
    ------
    UsageError
        An argument is invalid.
    InputError
        Photos, metadata or submission format are missing or damaged.
    DegradedError
        No sequence could be predicted within the budget. All files are written.
    BundleError, OutputError, LockedError, CheckpointError, TooManyFailuresError, UnusableGpuError
        See `inference.core.errors`.

    Examples
    --------
    >>> report = predict("season", "bundle", "results", workers=2)
    >>> report["counts"]["sequences"]
    12
    """
    check_apart(photos, out)
    options, make_job = _options_and_job(photos, bundle, arguments, fail_if_degraded=fail_if_degraded)
    executor = {} if cluster is None else {"executor_for": _cluster(cluster, arguments)}
    state = state or RunState()
    state.stage = "checking the input"
    with locked(Path(out)) as folder:
        job = make_job()
        from inference.run import pipeline

        return pipeline.predict(job, folder, options, on_progress, state, **executor)


def plan(
    photos: StrPath, bundle: StrPath, out: StrPath, *, state: RunState | None = None, **arguments: Unpack[Arguments]
) -> tuple[dict[str, Any], HakunaError | None]:
    """Estimate problems, time and space of `predict` with the same arguments, without changing anything.

    Every file is checked, and a few batches are measured.

    Returns
    -------
    JSON-serializable figures (seconds, bytes, counts), and the error that would end the run: OutputError,
    TooManyFailuresError or DoesNotFitError; None if the run would succeed.

    Raises
    ------
    HakunaError
        The errors that `predict` raises at its start.

    Examples
    --------
    >>> figures, problem = plan("season", "bundle", "results", budget="8h", workers=2)
    >>> figures["sequences"], figures["fits"], problem
    (12, True, None)
    """
    check_apart(photos, out)
    options, make_job = _options_and_job(photos, bundle, arguments)
    if os.path.isdir(out):
        with output_errors(Path(out)):
            check_unlocked(Path(out))
    job = make_job()
    from inference.run import plan as planning

    figures = planning.plan(job, Path(out), options, state or RunState())
    return figures, planning.reason_not_to_run(figures, Path(out), options, is_shard=job.is_shard)


def _cluster(cluster: str, arguments: Arguments) -> Callable[..., Any]:
    """The function that makes the executor of a job on a cluster. Raises UsageError."""
    kind, _, address = cluster.partition(":")
    if kind != "ray":
        raise UsageError(f"--cluster: must be ray or ray:HOST:PORT, got {cluster!r}")
    if arguments.get("shard") is not None:
        raise UsageError("--shard: must not be given with --cluster, whose workers share all sequences")
    address = address or os.environ.get("RAY_ADDRESS", "")
    if address not in THIS_MACHINE and not ADDRESS.fullmatch(address):
        raise UsageError(f"--cluster ray:{address}: must be ray:HOST:PORT, the port of Ray's head node, usually 6379")
    require("ray")
    from inference.execution.cluster.tokens import use_own_token

    if address in THIS_MACHINE:
        use_own_token()
    from inference.execution.cluster.ray_pool import ray_executor

    given = load_settings(workers=arguments.get("workers"))
    n_threads = given.workers if "workers" in given.model_fields_set else None
    return partial(ray_executor, None if address in THIS_MACHINE else address, n_threads)


def _options_and_job(
    photos: StrPath, bundle: StrPath, arguments: Arguments, *, fail_if_degraded: bool = False
) -> tuple[RunOptions, Callable[[], Job]]:
    """The run options, and a function that builds the job, which takes longer."""
    given: dict[str, Any] = {**arguments}
    settings = load_settings(**{name: given.pop(name) for name in SETTINGS & given.keys()})
    options = RunOptions(
        n_workers=settings.workers,
        batch_size=settings.sequences_per_batch,
        fresh=given.pop("restart", False),
        allow_mixed_hardware=given.pop("allow_mixed_hardware", False),
        features_path=optional_path(given.pop("features", None)),
        budget=settings.budget,
        max_failures=settings.max_failures,
        read_timeout=ReadTimeout(settings.read_timeout),
        strict=fail_if_degraded,
    )
    if given.get("shard") is not None and options.features_path:
        raise UsageError(
            "--features: must not be given with --shard; give it to `hakuna merge`, which has all sequences"
        )
    if given.get("shard") is not None and settings.precision is Precision.AUTO:
        raise UsageError(
            "--precision auto: must not be given with --shard, since machines may choose differently; name the precision"
        )
    chosen = settings.model_dump(include={"decoder", "device", "engine", "precision", "max_loss_increase"})
    return options, partial(build_job, photos, bundle, **chosen, **given)
