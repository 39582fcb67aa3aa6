"""What other programs may call; `import hakuna` offers it. The command line is a layer on it.

Errors are those of `inference.core.errors`: each is a `HakunaError` whose `exit_code` the command ends with. Arguments
that are None come from the environment (`HAKUNA_WORKERS` ...), else they have the default that is named.

Photos are resized by many threads at once: a program that sets `OPENBLAS_NUM_THREADS=1` before it imports NumPy, as the
command does, is faster on many cores. The results are the same.

May be imported by `cli`, `models`, `benchmark`.
"""

from inference.api.prediction import plan, predict
from inference.api.records import merge, restack
from inference.api.results import export, open_bundle, read_run

__all__ = ["export", "merge", "open_bundle", "plan", "predict", "read_run", "restack"]
