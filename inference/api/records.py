"""Records of an earlier run, or of shards -> submission."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inference.api.arguments import StrPath, optional_path
from inference.api.results import open_bundle
from inference.core.errors import CheckpointError, UsageError
from inference.core.files import check_folder
from inference.process.lock import locked
from inference.process.progress import RunState

WITH_RECORDS = "a folder with the records of a run"


def restack(
    run: StrPath, bundle: StrPath, out: StrPath, *, features: StrPath | None = None, state: RunState | None = None
) -> dict[str, Any]:
    """Repeat aggregation and stacking on the records of an earlier run, without photos and networks.

    Parameters
    ----------
    run : folder with the records
    bundle : folder of the model bundle; its networks must be those of the records
    out : output folder of the new submission; may be `run`
    features, state : as in `predict`

    Returns
    -------
    The content of `run.json`.

    Raises
    ------
    CheckpointError
        The records are missing, incomplete, in a wrong order, or from other networks.
    DegradedError, BundleError, OutputError, LockedError
        See `inference.core.errors`.

    Examples
    --------
    >>> report = predict("season", "bundle", "results", workers=2)
    >>> restack("results", "bundle", "again")["files"] == report["files"]
    True
    """
    check_folder(Path(run), CheckpointError, WITH_RECORDS)
    with locked(Path(out)):
        return _second_phase(run, bundle, out, features, state or RunState())


def merge(
    shards: Iterable[StrPath],
    bundle: StrPath,
    out: StrPath,
    *,
    features: StrPath | None = None,
    allow_mixed_hardware: bool = False,
    fail_if_degraded: bool = False,
    state: RunState | None = None,
) -> dict[str, Any]:
    """Join the records of shards and write the submission: byte-identical to an unsharded run.

    Parameters
    ----------
    shards : output folders of `predict(..., shard="I/N")`, in any order; duplicates are allowed
    bundle : folder of the model bundle that made them
    out : output folder of the whole run
    allow_mixed_hardware : join shards of different kinds of processor too, as in `predict`
    fail_if_degraded, features, state : as in `predict`

    Returns
    -------
    The content of `run.json`.

    Raises
    ------
    CheckpointError
        The shards belong to different runs, come from different kinds of processor, lack sequences, or have records in
        a wrong order.
    DegradedError, BundleError, OutputError, LockedError
        See `inference.core.errors`.

    Examples
    --------
    >>> for number in (1, 2):
    ...     part = predict("season", "bundle", f"part{number}", shard=f"{number}/2", workers=2)
    >>> merge(["part2", "part1"], "bundle", "whole")["counts"]["sequences"]
    12
    """
    if isinstance(shards, str | os.PathLike):
        raise UsageError(f"shards: must be a list of folders, got {os.fspath(shards)!r} alone")
    state, folders = state or RunState(), [Path(one) for one in shards]
    for folder in folders:
        check_folder(folder, CheckpointError, WITH_RECORDS)
    from inference.process.heartbeat import heartbeat
    from inference.records.jsonl import read_header
    from inference.records.schema import RECORDS_NAME
    from inference.run.merge import merge_records

    with locked(Path(out)) as folder:
        state.stage = "joining the records"
        merge_records(folders, folder, state.check, allow_mixed_hardware=allow_mixed_hardware)
        state.n_done = state.n_all = read_header(folder / RECORDS_NAME).n_all
        with heartbeat(state, folder):
            return _second_phase(out, bundle, out, features, state, strict=fail_if_degraded)


def _second_phase(
    records: StrPath, bundle: StrPath, out: StrPath, features: StrPath | None, state: RunState, *, strict: bool = False
) -> dict[str, Any]:
    opened = open_bundle(bundle)
    from inference.ensemble.estimator import Estimator
    from inference.outputs.run_report import RunMetadata, check_degraded
    from inference.run.records_to_submission import records_to_submission

    state.stage = "records to submission"
    estimator, features_path = Estimator(opened), optional_path(features)
    report = records_to_submission(Path(records), estimator, Path(out), features_path, RunMetadata(state=state))
    counts = report["counts"]
    state.n_failures, state.n_degraded = (
        sum(counts[name].values()) for name in ("failed_photos", "sequences_by_effort")
    )
    return check_degraded(report, Path(out), strict=strict)
