"""What some tests ask beside the project: `make test-tools` installs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "build" / "test-tools"


def require(missing: list[str]) -> None:
    """Skip where something is missing, or fail with HAKUNA_REQUIRE_TOOLS=1."""
    if not missing:
        return
    message = f"needs {' and '.join(missing)}: make test-tools"
    if os.environ.get("HAKUNA_REQUIRE_TOOLS"):
        pytest.fail(message)
    pytest.skip(message)
