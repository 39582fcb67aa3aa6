"""The names of the competition's contract."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from benchmark.sandbox import namespaces

CONTRACT_FOLDERS = frozenset({"data", "submission"})
"""What the contract itself puts beside the program; an archive must not put anything there."""
ARCHIVE_NAME = "submission.zip"
LOG_NAME = "log.txt"
DATA_NAME, SUBMISSION_FOLDER, MODELS_FOLDER = "data", "submission", "models"
CONTRACT_OUT = Path(namespaces.CONTRACT_ROOT) / SUBMISSION_FOLDER
TIME_LIMIT_HOURS = 8
"""The competition's, of a whole submission: starting the container, unpacking, predicting."""
KILLED = 137
"""Exit code after SIGKILL. Where none of ours was sent, nearly always the lack of memory on Linux."""


class Runner(StrEnum):
    """What keeps the entrant's program to the rules."""

    AUTO = "auto"
    """Docker if there is an engine with the image, else a process."""
    DOCKER = "docker"
    PROCESS = "process"
