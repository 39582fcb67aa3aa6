"""Settings of a Ray cluster on this machine alone. Ray reads some of them when it is imported."""

import os
import secrets
import shutil
import sys
import tempfile
from typing import Any

from inference.core.errors import UsageError

MODE, TOKEN = "RAY_AUTH_MODE", "token"
"""Variable and value with which the members of a cluster ask for a token."""
STORE_BYTES, STORE = 80_000_000, "/dev/shm"  # noqa: S108  # it is shared memory
"""Shared memory for answers, which leave it at once: a bit more than Ray's minimum. Where it is."""


def use_own_token() -> None:
    """Let this process, and the cluster that it starts, ask for a token that nobody else has, unless there is one.

    The cluster listens on all addresses of this machine. Raises UsageError if Ray was imported without a token.
    """
    if os.environ.get(MODE) == TOKEN:
        return
    if "ray" in sys.modules:
        raise UsageError(f"--cluster ray: Ray must be imported with {MODE}={TOKEN}, because it admits everyone without")
    _own.append(token := secrets.token_hex(32))
    os.environ[MODE], os.environ["RAY_AUTH_TOKEN"] = TOKEN, token


def has_token() -> bool:
    """Whether this process has the token of a cluster on other machines."""
    return os.environ.get(MODE) == TOKEN and os.environ.get("RAY_AUTH_TOKEN") not in _own


_own: list[str] = []


def options() -> dict[str, Any]:
    """Arguments of `ray.init`.

    Containers have little shared memory: the temporary folder takes its place. Workers compete with other processes as
    equals, as a run without Ray does: by default Ray gives them a niceness of 15.
    """
    temporary = tempfile.gettempdir()
    has_room = shutil.disk_usage(STORE).free > STORE_BYTES
    return {
        "object_store_memory": STORE_BYTES,
        "_plasma_directory": STORE if has_room else temporary,
        "_temp_dir": os.path.join(temporary, "ray"),
        "_node_ip_address": "127.0.0.1",
        "_system_config": {"worker_niceness": 0},
    }
