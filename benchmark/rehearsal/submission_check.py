"""Check of a submission: the rows and columns of the format, in its order, every number finite and in [0, 1]."""

import csv
import os
import stat
from pathlib import Path
from typing import IO

from inference.core.errors import InvalidEntryError
from inference.core.files import HASH_BLOCK_BYTES, atomic_binary_writer
from inference.dataset.metadata import MUST_HAVE_COMMAS, SubmissionFormat, other_separator

BYTES_A_NUMBER = 64
"""More than any number needs; a larger file is not a submission."""


def accept_submission(folder: Path, name: str, target: Path, submission_format: SubmissionFormat) -> None:
    """Copy a participant's submission out under its final name, if it is valid; else nothing new is left there.

    The copy is checked: the participant's file could be a link, a pipe, or change.

    Raises InvalidEntryError, naming row and column, if it is missing, not a regular file, or not in the format;
    OutputError if it cannot be written.
    """
    source = folder / name
    if source.parent.resolve() != folder.resolve() / Path(name).parent:  # the program may have put a link there
        raise InvalidEntryError(f"{name}: must be in a folder of the contract, got a symbolic link on its path")
    with _opened(source, submission_format) as file, atomic_binary_writer(target) as copy:
        while block := file.read(HASH_BLOCK_BYTES):
            copy.write(block)
        copy.seek(0)
        check_submission(source, copy, submission_format)


def _opened(path: Path, submission_format: SubmissionFormat) -> IO[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        got = "a symbolic link" if path.is_symlink() else f"{error.strerror or error}"
        raise InvalidEntryError(f"{path.name}: the program must write it, got: {got}") from error
    status = os.fstat(descriptor)
    n_lines = len(submission_format.seq_ids) + 1
    most = n_lines * (len(submission_format.labels) + 1) * BYTES_A_NUMBER
    most += sum(len(seq_id.encode()) for seq_id in submission_format.seq_ids)
    if stat.S_ISREG(status.st_mode) and status.st_size <= most:
        return open(descriptor, "rb")
    os.close(descriptor)
    size = f"have at most {most:,} bytes, got {status.st_size:,}"
    raise InvalidEntryError(f"{path.name}: must {size if stat.S_ISREG(status.st_mode) else 'be a regular file'}")


def check_submission(path: Path, file: IO[bytes], submission_format: SubmissionFormat) -> None:
    """Raise InvalidEntryError for the first fault."""
    name, seq_ids = path.name, submission_format.seq_ids
    expected = ["seq_id", *submission_format.labels]
    lines = (line.decode("utf-8-sig" if k == 0 else "utf-8") for k, line in enumerate(file))
    rows = csv.reader(lines, strict=True)
    try:
        header = next(rows, [])
        if len(header) == 1 and (separator := other_separator(header[0])):
            raise InvalidEntryError(f"{name}, line 1: {MUST_HAVE_COMMAS.format(separator)}")
        if header != expected:
            difference = _difference(header, expected)
            raise InvalidEntryError(f"{name}, line 1: must have the columns of the submission format, {difference}")
        n_rows = 0
        for row in rows:
            if not row:
                continue  # a blank line, often the last one
            n_rows += 1
            if n_rows > len(seq_ids):
                raise InvalidEntryError(
                    f"{name}, line {rows.line_num}: must have {len(seq_ids)} rows below the header, got more"
                )
            _check_row(f"{name}, line {rows.line_num}", row, seq_ids[n_rows - 1], expected)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidEntryError(f"{name}, line {rows.line_num + 1}: must be CSV in UTF-8, got: {error}") from error
    if n_rows < len(seq_ids):
        raise InvalidEntryError(
            f"{name}: must have {len(seq_ids)} rows below the header, got {n_rows}; {seq_ids[n_rows]} is the first missing"
        )


def _difference(header: list[str], expected: list[str]) -> str:
    if len(header) != len(expected):
        return f"{len(expected)} of them, got {len(header)}: {header[:3]} ..."
    at = next(k for k, (got, must) in enumerate(zip(header, expected, strict=True)) if got != must)
    return f"{expected[at]!r} at position {at + 1}, got {header[at]!r}"


def _check_row(where: str, row: list[str], seq_id: str, columns: list[str]) -> None:
    if len(row) != len(columns):
        raise InvalidEntryError(f"{where}: must have {len(columns)} columns, got {len(row)}")
    if row[0] != seq_id:
        raise InvalidEntryError(
            f"{where}, column seq_id: must be {seq_id!r} as in the submission format, got {row[0]!r}"
        )
    for label, text in zip(columns[1:], row[1:], strict=True):
        if not _is_probability(text):
            raise InvalidEntryError(f"{where}, column {label}: must be a number in [0, 1], got {text!r}")


def _is_probability(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1 and text.isascii() and "_" not in text  # NaN is not in between
    except ValueError:
        return False
