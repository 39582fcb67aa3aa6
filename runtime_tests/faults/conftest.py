"""The figures that the fault tests leave."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmark.machine import describe_machine, write_json

Figures = dict[str, dict[str, Any]]
"""By property: how much was tried, and what came of it."""

FIGURES = pytest.StashKey[Figures]()


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    """Where a test writes down, under the name of its property, how much it tried and what came of it."""
    return request.config.stash.setdefault(FIGURES, {})


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the figures of this session, if asked to."""
    path: Path | None = session.config.getoption("--faults-json")
    figures = session.config.stash.get(FIGURES, {})
    if path and figures:
        command = " ".join(("pytest", *session.config.invocation_params.args))
        write_json(merged(json.loads(path.read_text()) if path.exists() else {}, figures, command), path)


def merged(earlier: Figures, figures: Figures, command: str) -> Figures:
    """All figures, each with where it comes from; those of this session take the place of their earlier ones."""
    origin = {"date": datetime.now(UTC).date().isoformat(), "command": command, "machine": describe_machine()}
    return dict(sorted({**earlier, **{name: {**values, **origin} for name, values in figures.items()}}.items()))
