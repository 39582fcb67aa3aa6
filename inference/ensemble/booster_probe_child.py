"""The child process of `booster_probe`: names each booster of a bundle, loads it and calls it once.

It may die at any moment: that is what it is for.
"""

import json
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from inference.bundle.booster_check import check_booster_text
from inference.bundle.manifest import booster_paths
from inference.bundle.reader import Bundle, read_manifest
from inference.core.errors import BundleError
from inference.ensemble.stackers import load_booster, read_booster


def main() -> None:
    """Load the boosters of the bundle in the first argument, whose identity is the second."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core dump
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    lines = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # LightGBM prints where it likes
    try:
        predict_with_every_booster(Path(sys.argv[1]), sys.argv[2], lines)
    except BundleError as error:
        _send(lines, error=str(error))
    else:
        _send(lines, error=None)


def predict_with_every_booster(folder: Path, bundle_id: str, lines: int) -> None:
    """Check, load and call every booster. Raises BundleError for the first that is not what it must be."""
    manifest, identity = read_manifest(folder)
    if identity != bundle_id:
        raise BundleError(f"{folder}: must be bundle {bundle_id}, got {identity}")
    bundle = Bundle(folder, manifest, identity)
    n_features = len(manifest.feature_names)
    rows = np.array([np.zeros(n_features), np.full(n_features, np.nan)])
    for relative in booster_paths(manifest):
        path = str(bundle.path(relative))
        _send(lines, booster=path)
        data = read_booster(bundle, relative)
        check_booster_text(path, data)
        predicted = np.asarray(load_booster(bundle, relative, data).predict(rows))
        if not np.all((predicted >= 0) & (predicted <= 1)):
            raise BundleError(f"{path}: must give probabilities, got {predicted}")


def _end_with_parent() -> None:
    """Standard input ends when the parent process does."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _send(lines: int, **message: Any) -> None:
    os.write(lines, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
