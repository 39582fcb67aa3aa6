"""Settings of a Ray cluster on this machine alone."""

import os
import shutil
import tempfile
from typing import Any

from inference.core.errors import UsageError

STORE_BYTES, STORE = 80_000_000, "/dev/shm"  # noqa: S108  # it is shared memory
"""Shared memory for answers, which leave it at once: a bit more than Ray's minimum. Where it is."""
LONGEST_FOLDER = 27
"""Bytes of TMPDIR. The paths of sockets have 107 at most: ours adds 13, Ray up to 64, with 7 digits of a process."""
SHORT_FOLDER = "/tmp"  # noqa: S108  # for a folder of a random name
SYSTEM = {"worker_niceness": 0, "memory_monitor_refresh_ms": 0}
"""Workers compete with other processes as equals, as a run without Ray does. By default, Ray gives them a niceness of 15,
and kills them when nearly all of the machine's memory is in use, by any program."""


def private_folder() -> str:
    """A new folder for a cluster, for this user only: Ray lets everyone write to those that it makes in it.

    Raises UsageError without a place for one.
    """
    try:
        parent = tempfile.gettempdir()
        return tempfile.mkdtemp(prefix="hr", dir=parent if len(os.fsencode(parent)) <= LONGEST_FOLDER else SHORT_FOLDER)
    except OSError as error:
        raise UsageError(
            f"--cluster ray: TMPDIR must be a folder that can be written, with a path of {LONGEST_FOLDER} bytes at most, "
            f"got: {error}"
        ) from error


def options(folder: str) -> dict[str, Any]:
    """Arguments of `ray.init` for a cluster in a folder.

    Containers have little shared memory: the folder takes its place.
    """
    has_room = shutil.disk_usage(STORE).free > STORE_BYTES
    return {
        "num_cpus": len(os.sched_getaffinity(0)),
        "object_store_memory": STORE_BYTES,
        "_plasma_directory": STORE if has_room else folder,
        "_temp_dir": os.path.join(folder, "r"),
        "_node_ip_address": "127.0.0.1",
        "_system_config": SYSTEM,
    }
