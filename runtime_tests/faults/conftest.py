"""The figures that the fault tests leave."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.provenance import origin
from inference.bundle.reader import Bundle
from inference.core.files import write_json
from runtime_tests.faults.commands import Season, predict, results

Figures = dict[str, dict[str, Any]]
"""By property: how much was tried, and what came of it."""

FIGURES = pytest.StashKey[Figures]()


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    """Where a test writes down, under the name of its property, how much it tried and what came of it."""
    return request.config.stash.setdefault(FIGURES, {})


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the figures of this session, if asked to. Tests that run side by side hand them to the first process."""
    path: Path | None = session.config.getoption("--faults-json")
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = json.dumps(session.config.stash.get(FIGURES, {}))
        return
    figures = session.config.stash.get(FIGURES, {})
    if path and figures:
        command = " ".join(("pytest", *session.config.invocation_params.args))
        write_json(merged(json.loads(path.read_text()) if path.exists() else {}, figures, command), path)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the figures of one of the processes that pytest-xdist started."""
    told = json.loads(getattr(node, "workeroutput", {}).get("figures", "{}"))
    node.config.stash.setdefault(FIGURES, {}).update(told)


def merged(earlier: Figures, figures: Figures, command: str) -> Figures:
    """All figures, each with where it comes from; those of this session take the place of their earlier ones."""
    came_from = origin(command)
    return dict(sorted({**earlier, **{name: {**values, **came_from} for name, values in figures.items()}}.items()))


@pytest.fixture(scope="session")
def quick(season: Path, quick_bundle: Bundle) -> Season:
    """Twelve sequences, three photos of which are damaged, and a bundle that needs next to no time for them."""
    return Season(season, quick_bundle.folder)


@pytest.fixture(scope="session")
def undisturbed_run(quick: Season, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """The files of a run to which nothing happened, and its seconds."""
    out = tmp_path_factory.mktemp("undisturbed")
    start = time.monotonic()
    code, said = predict(quick, out)
    assert code == 0, said
    return results(out), time.monotonic() - start


@pytest.fixture(scope="session")
def undisturbed(undisturbed_run: tuple[dict[str, bytes], float]) -> dict[str, bytes]:
    """What every run has to end in."""
    return undisturbed_run[0]


@pytest.fixture(scope="session")
def quick_seconds(undisturbed_run: tuple[dict[str, bytes], float]) -> float:
    """How long a run takes that nothing happens to."""
    return undisturbed_run[1]
