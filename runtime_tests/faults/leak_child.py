"""Run a season and count, while it runs, what a process can leak: `python -m runtime_tests.faults.leak_child`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from inference.bundle.reader import open_bundle
from inference.core.labels import LABELS
from inference.dataset.metadata import FORMAT_NAME, METADATA_COLUMNS, METADATA_NAME
from runtime_tests.faults.damage import photos
from runtime_tests.running import run

ROOT = Path(__file__).parents[2]
BATCH = 8
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """What the process holds after some sequences."""

    n_done: int
    resident_bytes: int
    descriptors: int
    threads: int
    """Python's and all others."""


def write_small_season(folder: Path, n_sequences: int) -> None:
    """Two photos a sequence, the same tiny ones in all."""
    folder.mkdir()
    (folder / "a.jpg").write_bytes(photos()["plain"])
    (folder / "b.jpg").write_bytes(photos()["progressive"])
    seq_ids = [f"s{number}" for number in range(n_sequences)]
    rows = [f"{seq_id},2011-01-01 00:00:00,{name}.jpg" for seq_id in seq_ids for name in "ab"]
    (folder / METADATA_NAME).write_text("\n".join([",".join(METADATA_COLUMNS), *rows, ""]))
    zeros = ",0" * len(LABELS)
    rows = [seq_id + zeros for seq_id in seq_ids]
    (folder / FORMAT_NAME).write_text("\n".join([",".join(("seq_id", *LABELS)), *rows, ""]))


def samples_of_a_run(data: Path, bundle: Path, out: Path, leaked_bytes: int = 0) -> list[Sample]:
    """Run in a child process; `leaked_bytes` makes it lose so much a sequence, and a file and a thread a batch."""
    child = subprocess.run(
        [sys.executable, "-m", __name__, data, bundle, out, str(leaked_bytes)],
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
        cwd=ROOT,
    )
    assert child.returncode == 0, child.stderr
    return [Sample(**json.loads(line)) for line in child.stdout.splitlines() if line.startswith("{")]


def sample(n_done: int) -> Sample:
    """Count now."""
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    n_threads = len(os.listdir("/proc/self/task"))
    return Sample(n_done, resident_pages * PAGE_BYTES, len(os.listdir("/proc/self/fd")), n_threads)


def _main(data: str, bundle: str, out: str, leaked_bytes: str) -> None:
    lost: list[bytes] = []
    files: list[IO[bytes]] = []
    end = threading.Event()
    samples: list[Sample] = []

    def watch(n_done: int, n_all: int) -> None:  # noqa: ARG001
        samples.append(sample(n_done))
        if leaked := int(leaked_bytes):
            lost.append(os.urandom(leaked * BATCH))
            files.append(Path(os.devnull).open("rb"))  # noqa: SIM115  # it is to leak
            threading.Thread(target=end.wait, daemon=True).start()

    run(Path(data), open_bundle(Path(bundle)), Path(out), batch_size=BATCH, on_progress=watch)
    end.set()
    for file in files:
        file.close()
    sys.stdout.write("".join(json.dumps(asdict(one)) + "\n" for one in samples))


if __name__ == "__main__":
    _main(*sys.argv[1:])
