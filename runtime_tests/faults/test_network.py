"""A run talks to nobody and leaves nothing in the home folder but the hashes of bundles that have passed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from inference.bundle.reader import Bundle
from inference.settings.cache import CACHE_VARIABLE
from runtime_tests.faults.conftest import Figures

PROBE = """
import sys

tried = []

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        tried.append(event)
        raise OSError("no network in this test")

sys.addaudithook(refuse)
try:
    {what}
finally:
    print("tried", len(tried))
"""
PREDICT = "import hakuna; hakuna.main()"
CONNECT = "import socket; socket.create_connection(('127.0.0.1', 9))"
CI_VARIABLES = frozenset({"CI", "TF_BUILD", "JENKINS_URL"})
"""Where OpenVINO's telemetry keeps quiet; it has to be quiet without them."""


def attempts_to_connect(what: str, home: Path, *arguments: object) -> int:
    """How often a program tried to reach the network; every attempt fails."""
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in {*CI_VARIABLES, CACHE_VARIABLE}}
    child = subprocess.run(
        [sys.executable, "-c", PROBE.format(what=what), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**environment, "HOME": str(home)},
    )
    assert "tried" in child.stdout, child.stderr
    return int(child.stdout.rpartition("tried")[2])


def test_a_run_opens_no_connection_and_writes_only_hashes_into_the_home_folder(
    season: Path, second_bundle: Bundle, tmp_path: Path, figures: Figures
) -> None:
    home = tmp_path / "home"
    arguments = ("predict", season, "--bundle", second_bundle.folder, "--out", tmp_path / "out")
    n_attempts = attempts_to_connect(PREDICT, home, *arguments)
    assert (tmp_path / "out" / "submission.csv").exists()
    written = {path for path in home.rglob("*") if not path.is_dir()}
    passed = {path for path in (home / ".cache" / "hakuna" / "passed").iterdir() if path.read_text() == "{}\n"}
    figures["network: attempts to connect"] = {
        "attempts": n_attempts,
        "files_in_the_home_folder": len(written - passed),
    }
    assert (n_attempts, written) == (0, passed)
    assert all(re.fullmatch("[0-9a-f]{64}", path.name) for path in passed)
    assert len(passed) == 2  # networks, boosters


def test_an_attempt_to_connect_would_be_seen(tmp_path: Path) -> None:
    assert attempts_to_connect(CONNECT, tmp_path / "home") == 1
