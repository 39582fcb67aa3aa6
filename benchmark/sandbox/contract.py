"""Names of our container, and rules that a rehearsal may enforce; competitions differ by `models.spec.contract`."""

from enum import StrEnum
from pathlib import Path

CONTRACT_ROOT, CONTRACT_ID = "/inference", 1000
"""Folder of the mounts, and user and group, in our container: those of the competition of 2019."""
ARCHIVE_NAME = "submission.zip"
LOG_NAME = "log.txt"
DATA_NAME, SUBMISSION_FOLDER, MODELS_FOLDER = "data", "submission", "models"
CONTRACT_OUT = Path(CONTRACT_ROOT) / SUBMISSION_FOLDER
KILLED = 137
"""Exit code after a SIGKILL that nobody here sent: on Linux nearly always a lack of memory."""

SEGMENTATION_FAULT = 139
"""After SIGSEGV: a library of the program read or wrote where it must not."""


class Rule(StrEnum):
    """Requirements of the contract on the place where a program runs."""

    TIME = "time limit"
    PROCESS_END = "everything it starts ends with it"
    PACKAGES = "no access to our packages"
    NETWORK = "no network"
    SOCKETS = "no sockets or pipes of this machine"
    FILES = "files outside the program's folders and /tmp are read-only"
    DATA = "data is read-only"
    PROCESSES = "sees its own processes only"
    PRIVILEGES = "no privileges"
    LABELS = "labels are hidden"
    MEMORY = "memory limit"


class Runner(StrEnum):
    """Isolation of the participant's program."""

    AUTO = "auto"
    """Docker if there is an engine with the image, else bubblewrap."""
    DOCKER = "docker"
    BUBBLEWRAP = "bubblewrap"
    PROCESS = "process"
    """A plain process: few rules are enforced."""
