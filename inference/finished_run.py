"""What a finished run left in its folder, for those who make something of it: exports and reports."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inference.bundle import DEMO_WARNING
from inference.domain import InputError
from inference.label_tables import read_submission
from inference.run_report import RUN_REPORT_NAME
from inference.submission import FAILURES_COLUMNS, FAILURES_NAME, SUBMISSION_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from inference.label_tables import Table


@dataclass(frozen=True)
class FinishedRun:
    """The files of an output folder.

    Attributes
    ----------
    predictions : the submission
    failures : why a photo could not be used, by its name
    run : content of `run.json`
    """

    folder: Path
    predictions: Table
    failures: dict[str, str]
    run: dict[str, Any]

    @property
    def warning(self) -> str | None:
        """What everything that is made of the run has to say."""
        return DEMO_WARNING if self.run["bundle"]["demo"] else None

    @property
    def model(self) -> str:
        """Name of the bundle, with the warning if there is one."""
        name = f"hakuna {self.run['bundle']['name']}"
        return f"{name} ({self.warning})" if self.warning else name


def read_finished_run(folder: Path) -> FinishedRun:
    """Read `submission.csv`, `failures.csv` and `run.json`. Raises InputError where one is missing or damaged."""
    run_path = folder / RUN_REPORT_NAME
    try:
        run = json.loads(run_path.read_text(encoding="utf-8"))
        bundle = {"name": str(run["bundle"]["name"]), "demo": bool(run["bundle"]["demo"])}
    except OSError as error:
        raise InputError(f"{run_path}: must be there, as `hakuna predict` leaves it, got: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{run_path}: must be as `hakuna predict` leaves it, got: {error!r}") from error
    run["bundle"] |= bundle
    return FinishedRun(folder, read_submission(folder / SUBMISSION_NAME), _read_failures(folder / FAILURES_NAME), run)


def _read_failures(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if header != list(FAILURES_COLUMNS):
                raise InputError(f"{path}, row 1: must be {', '.join(FAILURES_COLUMNS)}, got {', '.join(header)}")
            return {file_name: reason for _, file_name, reason in reader}
    except OSError as error:
        raise InputError(f"{path}: must be a readable CSV file, got: {error.strerror or error}") from error
    except (csv.Error, ValueError) as error:
        raise InputError(f"{path}: must be as `hakuna predict` leaves it, got: {error}") from error
