"""An untrained bundle for runs without models, made when a container image is built."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmark.demo import untrained_bundle

SEED = 1


def main(folder: Path) -> None:
    """Make the bundle in a new folder."""
    with tempfile.TemporaryDirectory(prefix="hakuna-demo-") as assets:
        untrained_bundle(folder, Path(assets) / "assets", SEED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
