"""Hakuna Runtime: batch inference for camera-trap photos.

>>> import hakuna
>>> report = hakuna.predict("season", "bundle", "results", workers=2)
>>> score = hakuna.score("results/submission.csv", "season/test_labels.csv")
>>> score.n_sequences
12
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.scoring.files import score
    from inference.api import export, merge, open_bundle, plan, predict, read_run, restack
    from inference.core.errors import HakunaError

__all__ = ["HakunaError", "export", "merge", "open_bundle", "plan", "predict", "read_run", "restack", "score"]

ELSEWHERE = {"score": "benchmark.scoring.files", "HakunaError": "inference.core.errors"}
"""Modules of names that are not in `inference.api`."""


def __getattr__(name: str) -> Any:
    """Import a name of `__all__`, or find the version, at its first use: importing `hakuna` alone takes no time."""
    if name == "__version__":
        return import_module("importlib.metadata").version("hakuna-runtime")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if problem := _problem("inference", *(["benchmark"] if name == "score" else [])):
        raise ImportError(problem)
    return getattr(import_module(ELSEWHERE.get(name, "inference.api")), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def _problem(*packages: str) -> str | None:
    """Why the project cannot run here, if so: wrong platform, or another project's packages. Imports nothing."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        got = " ".join([sys.platform, *os.uname()[4:]]) if hasattr(os, "uname") else sys.platform
        return (
            f"must run on Linux x86-64, got {got}; use the container image (`docker run --platform linux/amd64`), "
            "on Windows also WSL2"
        )
    for package in packages:
        ours = os.path.join(os.path.dirname(os.path.realpath(__file__)), package, "__init__.py")
        spec = find_spec(package)
        found = (spec.origin or "a folder without __init__.py") if spec else "none"
        if os.path.realpath(found) != os.path.realpath(ours):
            return (
                f"Python module {package}: must be {ours}, got {found}; install into a separate environment, "
                "and keep other projects out of PYTHONPATH and of the folder where `python -m hakuna` starts"
            )
    return None


def main() -> None:
    """Run the command `hakuna`. Exits with 2 on another platform, or if other modules have its packages' names."""
    if problem := _problem("inference", "models", "benchmark"):
        sys.stderr.write(f"hakuna: {problem}\n")
        sys.exit(2)
    from inference.process.signals import exit_at_signals

    with exit_at_signals():  # before the imports that take a second
        from benchmark.cli.app import main as command

        command()


if __name__ == "__main__":
    main()
