"""`hakuna predict` in a process of its own, with or without a fault, and an eye on what it leaves."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD = b"an older submission\n"
RESULTS = ("records.jsonl", "submission.csv", "failures.csv")
"""What must be the same bytes after every fault."""
POLL_SECONDS = 0.002


class Season(NamedTuple):
    """A folder of photos and the bundle to predict it with."""

    data: Path
    bundle: Path


def leave_older_submission(out: Path) -> None:
    """As an earlier run leaves one, whose records are gone."""
    (out / "submission.csv").write_bytes(OLD)
    (out / "status.json").touch()


def start(season: Season, out: Path, *options: object, fault: str = "none") -> subprocess.Popen[str]:
    """Start `hakuna predict` with a fault; see `faulty`."""
    command = [sys.executable, "-m", "runtime_tests.faults.faulty", fault, "predict", season.data]
    command += ["--bundle", season.bundle, "--out", out, "--batch-size", 2, *options]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def predict(season: Season, out: Path, *options: object, fault: str = "none") -> tuple[int, str]:
    """Run it to its end; exit code (negative: the signal that killed it) and what it said."""
    process = start(season, out, *options, fault=fault)
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def results(out: Path) -> dict[str, bytes]:
    """The files that faults must not change."""
    return {name: (out / name).read_bytes() for name in RESULTS}


class Watcher:
    """Everything that was ever seen under the name of the submission, by hash; None: nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stopped = threading.Event()
        self.seen: set[str | None] = set()
        self.n_looks = 0

    def look(self) -> None:
        """Look once."""
        try:
            self.seen.add(sha256(self._path.read_bytes()))
        except FileNotFoundError:
            self.seen.add(None)
        self.n_looks += 1

    def run(self) -> None:
        """Look until stopped."""
        while not self._stopped.wait(POLL_SECONDS):
            self.look()
        self.look()

    def stop(self) -> None:
        """Look no longer."""
        self._stopped.set()


@contextmanager
def watched(path: Path) -> Iterator[Watcher]:
    """Keep an eye on a file."""
    watcher = Watcher(path)
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        yield watcher
    finally:
        watcher.stop()
        thread.join()


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def children_of(pid: int) -> list[int]:
    """Processes whose parent is `pid`."""
    children = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # gone since
        if parent == pid:
            children.append(int(name))
    return children
