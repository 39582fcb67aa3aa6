"""Archives of entrants, good and bad, and a data folder for them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from inference.core.labels import LABELS
from inference.dataset.metadata import FORMAT_NAME

HAKUNA = Path(__file__).resolve().parents[1] / "hakuna.py"
SEQ_IDS = ("SER_S1#A01#1#2", "SER_S1#A01#1#1", "SER_S1#B04#1#7")
"""Not in alphabetical order: that of the format counts."""

WRITE_SUBMISSION = """
import csv
def write_submission(value="0.5", path="submission.csv"):
    with open("data/submission_format.csv", newline="") as file:
        header, *rows = csv.reader(file)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *[[row[0]] + [value] * 54 for row in rows]])
"""
"""What every plain entrant begins with; nothing but the standard library."""
GOOD = WRITE_SUBMISSION + "write_submission()\nprint('done')\n"


def write_data(folder: Path) -> Path:
    """A data folder without photos: format, labels, and a file of its own."""
    folder.mkdir(parents=True)
    for name, value in ((FORMAT_NAME, "0"), ("labels.csv", "1")):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["seq_id", *LABELS], *[[one] + [value] * len(LABELS) for one in SEQ_IDS]])
    (folder / "x.csv").write_text("hello from x\n", encoding="utf-8")
    return folder


def write_archive(path: Path, main: str = GOOD, **files: str) -> Path:
    """An archive with this `main.py` and other files, as `zip` would make it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("main.py", main)
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def environment(**variables: str) -> dict[str, str]:
    """Of this process, with further variables and with our packages from this checkout."""
    search_path = os.pathsep.join(filter(None, [str(HAKUNA.parent), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": search_path, **variables}


def start(*arguments: object, **variables: str) -> subprocess.Popen[str]:
    """Start the command `hakuna`."""
    return subprocess.Popen(
        [sys.executable, str(HAKUNA), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**variables),
    )


def hakuna(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command `hakuna`."""
    process = start(*arguments, **variables)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def report(out: Path) -> dict[str, Any]:
    """The content of `rehearsal.json`."""
    content: dict[str, Any] = json.loads((out / "rehearsal.json").read_text(encoding="utf-8"))
    return content
