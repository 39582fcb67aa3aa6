"""The names of the competition's contract."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from benchmark.sandbox import namespaces

MAIN_NAME = "main.py"
CONTRACT_FOLDERS = frozenset({"data", "submission"})
"""What the contract itself puts beside the program; an archive must not put anything there."""
ARCHIVE_NAME = "submission.zip"
LOG_NAME = "log.txt"
DATA_NAME, SUBMISSION_FOLDER, MODELS_FOLDER = "data", "submission", "models"
CONTRACT_OUT = Path(namespaces.CONTRACT_ROOT) / SUBMISSION_FOLDER
BUDGET_VARIABLE = "HAKUNA_BUDGET"


class Runner(StrEnum):
    """What keeps the entrant's program to the rules."""

    AUTO = "auto"
    """Docker if there is an engine with the image, else a process."""
    DOCKER = "docker"
    PROCESS = "process"
