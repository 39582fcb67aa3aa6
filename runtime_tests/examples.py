"""The page of examples: its commands, what they print, and the comparison of both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGE = DOCS / "reference" / "examples.md"
BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"^```(sh|console)\n(.*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""Language, commands and output of an example."""
SAVED = re.compile(r"(?:Save this as|in a file) `([\w./]+)`[^`#]*$")
"""Above a block that is the content of a file."""
VARIABLES = {"COLUMNS": "100", "HAKUNA_LOG_FORMAT": "console", "HAKUNA_ENGINE": "openvino"}
"""Make a command print in a pipe on any machine nearly the lines that it prints on a terminal."""
MOST_ROWS, FIRST_ROWS = 24, 10
"""Longer tables are cut on the page after so many rows."""
LIBRARY_LOG = re.compile(r"WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d|[IWE]0000 00:00")
"""TensorFlow's own lines, of a process's first call alone."""
NUMBER = re.compile(r"\b[0-9a-f]{12,64}\b|[+-]?\d[\d.,]*(?:e[+-]\d+)?|█+…?")
"""Also a hash, and a bar."""
DURATION = re.compile("# h # min|# min # s|# s")
"""Whose unit depends on how fast the machine is; its numbers are replaced already."""


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, content and the text above of every block of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        (language, re.sub(f"^{indent}", "", block, flags=re.MULTILINE), text[: match.start()])
        for match in BLOCK.finditer(text)
        for indent, language, block in [match.groups()]
    ]


def save_files(page: Path, folder: Path) -> None:
    """Save the files of a page: blocks below "Save this as `NAME`" or "in a file `NAME`"."""
    for _, block, above in blocks(page):
        if named := SAVED.search(above):
            (folder / named[1]).parent.mkdir(exist_ok=True)
            (folder / named[1]).write_text(block)


def prepare(folder: Path) -> None:
    """Put into an empty folder what the first commands read."""
    (folder / "models").symlink_to(ROOT / "models")
    save_files(PAGE, folder)


def on_page(printed: str) -> str:
    """Printed lines as on the page: without blank lines, TensorFlow's log, our folder, and most rows of long tables."""
    lines = [line.rstrip() for line in printed.replace(f"{ROOT}/", "").splitlines()]
    lines = [line for line in lines if line and not LIBRARY_LOG.match(line)]
    kept: list[str] = []
    for is_row, group in groupby(lines, key=lambda line: line.startswith("│")):
        rows = list(group)
        if is_row and len(rows) > MOST_ROWS:
            rows[FIRST_ROWS:] = [f"  ({len(rows) - FIRST_ROWS} more rows)"]
        kept += rows
    return "".join(f"{line}\n" for line in kept)


def without_numbers(text: str) -> list[str]:
    """Lines that are the same on every machine: no numbers, widths or wrapped cells, no line twice in a row."""
    lines: list[list[str]] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("│")]
        if len(cells) > 1 and not cells[1] and len(lines[-1]) == len(cells):
            lines[-1] = [f"{above} {below}".strip() for above, below in zip(lines[-1], cells, strict=True)]
        else:
            lines.append(cells)
    plain = (re.sub(r"([━─ ])\1+", r"\1", "│".join(cells)) for cells in lines)
    return [line for line, _ in groupby(DURATION.sub("# s", NUMBER.sub("#", line)) for line in plain)]


def run_examples(run: Callable[[str], str], languages: tuple[str, ...]) -> Iterator[tuple[re.Match[str], str]]:
    """Examples of the page in these languages, each with the output of its commands now."""
    for example in EXAMPLE.finditer(PAGE.read_text(encoding="utf-8")):
        language, commands, _ = example.groups()
        if language in languages:
            yield example, on_page("".join(map(run, commands.splitlines())))
