"""The competition's CSV files -> sequences, independent of the order of the rows."""

import csv
import re
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Self, TextIO

from inference.core.errors import InputError, counted
from inference.core.files import os_errors
from inference.core.labels import LABELS
from inference.core.sequences import Image, Sequence

METADATA_COLUMNS = ("seq_id", "datetime", "file_name")
SITE_COLUMN = "site"
"""The camera's site: a column added by `hakuna metadata`; the competition's metadata does not have it."""
METADATA_NAME = "test_metadata.csv"
FORMAT_NAME = "submission_format.csv"
"""The competition's file names, below the data folder."""
PUBLIC_SEQ_ID = re.compile(r"(?:SER_)?(?P<season>[^#]+)#(?P<site>[^#]+)#[^#]+#[^#]+")
"""season # site # roll # capture, as in the public seasons; anonymised test sets use other ids."""
EPOCH = datetime(1970, 1, 1)
FALLBACK_HOUR, FALLBACK_MONTH = 12, 7
"""Noon in the middle of the year, for a sequence without any readable datetime."""
DATE_CHARACTERS = len("YYYY-MM-DD")
OTHER_SEPARATORS = ";\t|"
"""Used between columns by programs where a comma is the decimal point, or on request."""
WORKBOOKS = (b"PK\3\4", b"\xd0\xcf\x11\xe0")
"""The first bytes of .xlsx and .ods files, and of .xls files."""
SWAPPED = "these are the columns of {}; were two files swapped?"
MUST_HAVE_COMMAS = "must be separated by ',', got a table separated by {!r}; save it with commas"


@dataclass(frozen=True)
class OddDatetimes:
    """Datetimes in another format than `YYYY-MM-DD HH:MM:SS`.

    Attributes
    ----------
    n_rows : number of rows with one
    first : the first one with its row, for messages; "" if there are none
    """

    n_rows: int = 0
    first: str = field(default="", compare=False)  # independent of the order of the rows

    def with_row(self, number: int, text: str) -> Self:
        """Count another one."""
        return type(self)(self.n_rows + 1, self.first or f"row {number}: {text!r}")


@dataclass(frozen=True)
class Metadata:
    """The metadata file: sequences by `seq_id`, each with its photos in `file_name` order."""

    sequences: dict[str, Sequence]
    n_duplicate_rows: int
    unreadable: OddDatetimes
    """For example `8/19/2010 18:24`, the result of spreadsheets: day and month are ambiguous."""
    without_time: OddDatetimes
    """Dates alone, read as midnight."""


@dataclass(frozen=True)
class SubmissionFormat:
    """Rows and columns of the submission, in the order of the output."""

    seq_ids: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The sequences of one run in the order of the submission, and counts of mismatches.

    Sequences without metadata have no images and get the priors.
    """

    sequences: tuple[Sequence, ...]
    labels: tuple[str, ...]
    n_without_metadata: int
    n_not_in_format: int
    n_duplicate_rows: int
    unreadable: OddDatetimes
    without_time: OddDatetimes


def read_metadata(path: Path) -> Metadata:
    """Read `seq_id, datetime, file_name` by name, in any order, and `site` if present; other columns are ignored.

    Duplicate rows are merged and counted. Raises InputError naming file, row and column.
    """
    datetimes: dict[str, dict[str, str]] = {}
    sites: dict[str, str] = {}
    n_rows = n_duplicates = 0
    unreadable = without_time = OddDatetimes()
    with csv_rows(path) as (header, rows):
        columns = _columns(path, header, METADATA_COLUMNS)
        site_column = header.index(SITE_COLUMN) if SITE_COLUMN in header else None
        for row_number, row in rows:
            seq_id, datetime_text, file_name = (row[column] for column in columns)
            _check_seq_id(path, row_number, seq_id)
            if site_column is not None and sites.setdefault(seq_id, sys.intern(row[site_column])) != row[site_column]:
                raise InputError(
                    f"{path}, row {row_number}, column {SITE_COLUMN}: must be the same in all rows of a sequence, "
                    f"got {row[site_column]!r} after {sites[seq_id]!r}"
                )
            n_rows += 1
            if datetime_text and _parsed(datetime_text) is None:
                unreadable = unreadable.with_row(row_number, datetime_text)
            elif is_date_alone(datetime_text):
                without_time = without_time.with_row(row_number, datetime_text)
            files = datetimes.setdefault(seq_id, {})
            if file_name in files:
                n_duplicates += 1
                # The earliest valid time, so that the result does not depend on the order of the rows.
                files[file_name] = min(files[file_name], datetime_text, key=lambda text: (_parsed(text) is None, text))
            else:
                files[file_name] = sys.intern(datetime_text)
    if not n_rows:
        raise InputError(f"{path}: must have at least one row below the header, got none")
    sequences = {
        seq_id: Sequence(seq_id, tuple(Image(name, files[name]) for name in sorted(files)), sites.get(seq_id, ""))
        for seq_id, files in datetimes.items()
    }
    return Metadata(sequences, n_duplicates, unreadable, without_time)


def read_sites(path: Path) -> dict[str, str]:
    """The site of every sequence from a file with `seq_id, site`; {} without a site column. Raises InputError."""
    with csv_rows(path) as (header, rows):
        if SITE_COLUMN not in header:
            return {}
        seq_id, site = _columns(path, header, ("seq_id", SITE_COLUMN))
        sites: dict[str, str] = {}
        for row_number, row in rows:
            name = row[site].strip()
            if sites.setdefault(row[seq_id], name) != name:
                raise InputError(
                    f"{path}, row {row_number}, column {SITE_COLUMN}: must be the same in all rows of a sequence, "
                    f"got {name!r} after {sites[row[seq_id]]!r}"
                )
        return sites


def read_submission_format(path: Path) -> SubmissionFormat:
    """Read the `seq_id` of every row and the order of the labels; the values are ignored."""
    seq_ids: dict[str, int] = {}
    with csv_rows(path) as (header, rows):
        labels = check_header(path, header)
        for row_number, row in rows:
            seq_id = row[0]
            _check_seq_id(path, row_number, seq_id)
            if seq_ids.setdefault(seq_id, row_number) != row_number:
                raise InputError(
                    f"{path}, row {row_number}, column seq_id: must be unique, got {seq_id!r} as in row {seq_ids[seq_id]}"
                )
    if not seq_ids:
        raise InputError(f"{path}: must have at least one row below the header, got none")
    return SubmissionFormat(tuple(seq_ids), labels)


def _check_seq_id(path: Path, row_number: int, seq_id: str) -> None:
    if not seq_id or "\0" in seq_id:
        raise InputError(f"{path}, row {row_number}, column seq_id: must not be empty or hold NUL, got {seq_id!r}")


def check_header(path: Path, header: list[str]) -> tuple[str, ...]:
    """The labels of a header, in its order. Raises InputError unless it is `seq_id` and each of the 54 labels once."""
    hint = SWAPPED.format("metadata") if set(METADATA_COLUMNS) <= set(header) else ""
    if header[:1] != ["seq_id"]:
        raise InputError(f"{path}, row 1, column 1: must be seq_id, got {header[0] if header else ''!r}", hint=hint)
    labels = header[1:]
    missing = sorted(set(LABELS) - set(labels))
    unknown = sorted(set(labels) - set(LABELS))
    if missing or unknown:
        raise InputError(
            f"{path}, row 1: must have the {len(LABELS)} labels, "
            f"got {len(missing)} missing {missing[:5]} and {len(unknown)} unknown {unknown[:5]}",
            hint=hint,
        )
    return tuple(labels)


def plan_sequences(metadata: Metadata, submission_format: SubmissionFormat | None) -> Plan:
    """Join metadata and submission format by `seq_id`. Without a format: every sequence, sorted by `seq_id`."""
    known = metadata.sequences
    rows = submission_format or SubmissionFormat(tuple(sorted(known)), LABELS)
    ordered = tuple(known.get(seq_id) or Sequence(seq_id, ()) for seq_id in rows.seq_ids)
    n_without = sum(not sequence.images for sequence in ordered)
    return Plan(
        sequences=ordered,
        labels=rows.labels,
        n_without_metadata=n_without,
        n_not_in_format=len(known) - (len(ordered) - n_without),
        n_duplicate_rows=metadata.n_duplicate_rows,
        unreadable=metadata.unreadable,
        without_time=metadata.without_time,
    )


def moment_of(sequence: Sequence, *, with_time: bool = False) -> datetime | None:
    """The datetime of the first photo that has a readable one; None if none has.

    `with_time` skips dates without a time, which otherwise count as midnight.
    """
    texts = (image.datetime for image in sequence.images if not (with_time and is_date_alone(image.datetime)))
    return next((moment for text in texts if (moment := _parsed(text))), None)


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def is_date_alone(text: str) -> bool:
    """Whether a readable datetime has no time, which makes it midnight."""
    if len(text) > DATE_CHARACTERS:
        return False
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def hour_and_month(sequence: Sequence) -> tuple[int, int]:
    """Hour (0-23) and month (1-12) of the first photo, whether or not the photo is readable.

    If its datetime cannot be parsed, the next photo's is used; without any, noon in July.
    """
    moment = moment_of(sequence)
    return (moment.hour, moment.month) if moment else (FALLBACK_HOUR, FALLBACK_MONTH)


def site_and_seconds(sequence: Sequence) -> tuple[str, int | None]:
    """Its camera ("" if neither a column nor the `seq_id` has it), and its time in seconds since 1970 by its clock."""
    match = PUBLIC_SEQ_ID.fullmatch(sequence.seq_id)
    site = sequence.site or (match["site"] if match else "")
    moment = moment_of(sequence)
    return site, int((moment.replace(tzinfo=None) - EPOCH).total_seconds()) if moment else None


@contextmanager
def csv_rows(path: Path) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """Header and numbered rows of a CSV file; every defect is an InputError that names the row."""
    with (
        os_errors(InputError, f"{path}: must be a readable CSV file"),
        path.open("rb") as raw,
        TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file,
    ):
        if raw.peek(4).startswith(WORKBOOKS):
            raise InputError(f"{path}: must be a CSV file, got an Excel file", hint="save it as CSV in the spreadsheet")
        reader = csv.reader(chain(_checked_first_line(path, file), file), strict=True)
        try:
            header = next(reader, [])
            _check_column_names(path, header)
            yield header, _checked_rows(path, header, reader)
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: must be valid CSV, got: {error}") from error
        except UnicodeDecodeError as error:
            is_utf16 = error.object.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
            got = "UTF-16" if is_utf16 else f"the byte {error.object[error.start]:#04x}, as in Latin-1 or Windows-1252"
            raise InputError(
                f"{path}, line {reader.line_num + 1} or below: must be UTF-8, got {got}; save as UTF-8"
            ) from error


def _checked_first_line(path: Path, file: TextIO) -> Iterator[str]:
    """Yield the header line. Raises InputError if it belongs to another kind of table."""
    line = file.readline()
    if "\0" in line:
        raise InputError(f"{path}, row 1: must be UTF-8, got NUL, as in UTF-16; save as UTF-8")
    if separator := other_separator(line):
        raise InputError(f"{path}, row 1: {MUST_HAVE_COMMAS.format(separator)}")
    yield line


def _check_column_names(path: Path, header: list[str]) -> None:
    """Every name once; one column without a name is accepted, as R writes it before the others."""
    unnamed = [number for number, name in enumerate(header, start=1) if not name]
    if len(unnamed) > 1:
        raise InputError(
            f"{path}, row 1: every column must have a name, got none in {counted(len(unnamed), 'column')}: {unnamed[:5]}",
            hint="delete the empty columns in the spreadsheet, and save again",
        )
    if duplicated := sorted(name for name, count in Counter(header).items() if count > 1):
        raise InputError(f"{path}, row 1: column names must be unique, got {duplicated[:5]} twice")


def other_separator(header: str) -> str | None:
    """The character between the columns of a header, if that is no comma."""
    return next((one for one in OTHER_SEPARATORS if one in header and "," not in header), None)


def _checked_rows(path: Path, header: list[str], reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    for row_number, row in enumerate(reader, start=2):
        if not row:
            continue  # a blank line, often the last one
        if len(row) != len(header):
            raise InputError(f"{path}, row {row_number}: must have {counted(len(header), 'column')}, got {len(row)}")
        if not any(row):
            raise InputError(
                f"{path}, row {row_number}: must have a value, got only empty cells",
                hint="delete the empty rows in the spreadsheet, and save again",
            )
        yield row_number, row


def _columns(path: Path, header: list[str], names: tuple[str, ...]) -> tuple[int, ...]:
    missing = [name for name in names if name not in header]
    if missing:
        raise InputError(
            f"{path}, row 1: must have the columns {', '.join(names)}, got no {', '.join(missing)} among {header[:8]}",
            hint=SWAPPED.format("a submission format or of labels") if set(LABELS) <= set(header) else "",
        )
    return tuple(header.index(name) for name in names)
