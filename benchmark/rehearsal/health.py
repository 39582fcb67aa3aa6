"""Whether a run is alive: its heartbeat is young and it has not failed."""

import time
from pathlib import Path

from inference.core.files import read_json
from inference.process.progress import COMPLETE, FAILED, HEARTBEAT_SECONDS, INTERRUPTED, OUT_OF_TIME, STATUS_NAME

MAX_AGE_SECONDS = 6 * HEARTBEAT_SECONDS
ENDED_BADLY = {FAILED: "has failed", INTERRUPTED: "was interrupted"}
ENDED_WELL = (COMPLETE, OUT_OF_TIME)


def _stage_of(status: dict[str, object]) -> str:
    stage = status["stage"]
    if not isinstance(stage, str):
        raise TypeError(f"stage {stage!r}, which is no text")
    return stage


def why_unhealthy(folder: Path, now: float | None = None) -> str | None:
    """None if the run that writes to this folder is well, or has ended well."""
    path = folder / STATUS_NAME
    try:
        stage = _stage_of(read_json(path))
        age = (time.time() if now is None else now) - path.stat().st_mtime  # noqa: TID251  # files have the same clock
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{path}: must be a readable heartbeat, got: {error}"
    if stage in ENDED_BADLY:
        return f"{path}: the run {ENDED_BADLY[stage]}"
    if (
        stage not in ENDED_WELL and abs(age) > MAX_AGE_SECONDS
    ):  # < 0: the clock was set back; the next beat has its time
        return f"{path}: must be at most {MAX_AGE_SECONDS:g} s old, got {age:.0f} s in stage {stage!r}"
    return None
