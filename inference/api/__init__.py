"""The Python interface, offered by `import hakuna`. The command line is a layer on it.

Errors are those of `inference.core.errors`: each is a `HakunaError`, and the command exits with its `exit_code`.
Arguments that are None come from the environment (`HAKUNA_WORKERS` ...), else they have the documented default.

Many threads resize photos at once: on many cores a program is faster if it sets `OPENBLAS_NUM_THREADS=1` before it
imports NumPy, as the command does. The results are the same.

The log goes to standard error, unless the program has configured structlog.

May be imported by `cli`, `models`, `benchmark`.
"""

import sys

import structlog

from inference.api.prediction import plan, predict
from inference.api.records import merge, restack
from inference.api.results import export, open_bundle, read_run

__all__ = ["export", "merge", "open_bundle", "plan", "predict", "read_run", "restack"]

if not structlog.is_configured():
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # by default it is standard output
