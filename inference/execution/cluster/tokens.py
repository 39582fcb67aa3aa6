"""Token authentication of Ray clusters. Ray reads the variables when it is imported."""

import os
import secrets
import subprocess
import sys

from inference.core.errors import UsageError
from inference.process.children import launched

MODE, TOKEN = "RAY_AUTH_MODE", "token"
"""Variable and value with which the members of a cluster ask for a token."""
REFUSED = 3
"""The code with which `STRANGER` ends if it gets no answer without a token."""
STRANGER = f"""
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1]).internal_kv_get(b"session_name", b"session", timeout=float(sys.argv[2]))
except AuthenticationError:
    sys.exit({REFUSED})
"""


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


def admits_everyone(address: str, seconds: float) -> bool:
    """Whether a cluster answers a process without a token. Such a cluster also admits one with any token.

    Raises RuntimeError if the cluster gives another answer, and subprocess.TimeoutExpired if it gives none.
    """
    done = subprocess.run(  # noqa: S603  # our own program
        launched([sys.executable, "-P", "-c", STRANGER, address, str(seconds)]),
        env=os.environ | {MODE: "disabled"},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    if done.returncode not in (0, REFUSED):
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    return done.returncode == 0
