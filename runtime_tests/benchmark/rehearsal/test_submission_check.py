"""Which submissions are accepted: every rule with its message, and what an entrant could put in the file's place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.rehearsal.submission_check import accept_submission
from inference.core.errors import InvalidEntryError
from inference.core.labels import LABELS
from inference.dataset.label_tables import read_submission
from inference.dataset.metadata import SubmissionFormat

SEQ_IDS = ("b", "a", "c d,e")
FORMAT = SubmissionFormat(SEQ_IDS, LABELS)
Rows = list[list[str]]


def rows() -> Rows:
    return [["seq_id", *LABELS], *[[one, *["0.25"] * 54] for one in SEQ_IDS]]


def text(table: Rows) -> str:
    return "".join(",".join(f'"{cell}"' if "," in cell else cell for cell in row) + "\n" for row in table)


def with_cell(row: int, column: int, value: str) -> Rows:
    table = rows()
    table[row][column] = value
    return table


def without_column(table: Rows) -> Rows:
    return [row[:-1] for row in table]


def with_index(table: Rows) -> Rows:
    return [[str(k) if k else "", *row] for k, row in enumerate(table)]


@pytest.mark.parametrize(
    "content",
    [
        text(rows()),
        text(rows()).rstrip("\n"),
        text(rows()).replace("\n", "\r\n"),
        text(rows()) + "\n\n",
        text(with_cell(1, 1, "1")),
        text(with_cell(1, 1, "1e-300")),
        text(with_cell(1, 1, "-0.0")),
        "\ufeff" + text(rows()),  # as `score` reads it
    ],
)
def test_a_submission_in_order_is_copied_as_it_is(content: str, tmp_path: Path) -> None:
    (tmp_path / "submission.csv").write_text(content, newline="")
    accept_submission(tmp_path, "submission.csv", tmp_path / "accepted.csv", FORMAT)
    assert (tmp_path / "accepted.csv").read_bytes() == content.encode()
    assert len(read_submission(tmp_path / "accepted.csv").seq_ids) == len(SEQ_IDS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: must have the columns of the submission format, 55 of them, got 0"),
        (text(rows()[:-1]), "must have 3 rows below the header, got 2; c d,e is the first missing"),
        (text([*rows(), ["x", *["0"] * 54]]), "line 5: must have 3 rows below the header, got more"),
        (text([rows()[0], rows()[2], rows()[1], rows()[3]]), "line 2, column seq_id: must be 'b' .* got 'a'"),
        (text([*rows()[:2], rows()[1], rows()[3]]), "line 3, column seq_id: must be 'a' .* got 'b'"),
        (text(without_column(rows())), "55 of them, got 54"),
        (text(with_index(rows())), "55 of them, got 56"),
        (text(with_cell(0, 1, "zorilla")), "'aardvark' at position 2, got 'zorilla'"),
        (text(with_cell(0, 0, "id")), "'seq_id' at position 1, got 'id'"),
        (text([*rows()[:2], rows()[2][:-1], rows()[3]]), "line 3: must have 55 columns, got 54"),
        (text(with_cell(2, 3, "nan")), r"line 3, column baboon: must be a number in \[0, 1\], got 'nan'"),
        (text(with_cell(2, 3, "inf")), "column baboon: .* got 'inf'"),
        (text(with_cell(2, 3, "")), "column baboon: .* got ''"),
        (text(with_cell(2, 3, "1.0000001")), "column baboon: .* got '1.0000001'"),
        (text(with_cell(2, 3, "-1e-9")), "column baboon: .* got '-1e-9'"),
        (text(with_cell(2, 3, "half")), "column baboon: .* got 'half'"),
        (text(with_cell(2, 3, "0_1")), "column baboon: .* got '0_1'"),
        (text(with_cell(2, 3, "\u0660")), "column baboon: .* got '\u0660'"),
        ('"' + text(rows()), "must be CSV in UTF-8"),
        (text(rows()).replace(",", ";"), "line 1: must be separated by ',', got a table separated by ';'; save it"),
    ],
)
def test_anything_else_is_refused_with_its_place_and_an_older_one_stays(
    content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "submission.csv").write_text(content, newline="")
    (tmp_path / "accepted.csv").write_text("older")
    with pytest.raises(InvalidEntryError, match=message) as error:
        accept_submission(tmp_path, "submission.csv", tmp_path / "accepted.csv", FORMAT)
    assert error.value.exit_code == 12
    assert (tmp_path / "accepted.csv").read_text() == "older"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["accepted.csv", "submission.csv"]


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "submission.csv").write_bytes(text(rows()).encode().replace(b"b,", b"\xff,", 1))
    with pytest.raises(InvalidEntryError, match="must be CSV in UTF-8"):
        accept_submission(tmp_path, "submission.csv", tmp_path / "accepted.csv", FORMAT)


def link_to_a_good_one(path: Path) -> None:
    (path.parent / "elsewhere.csv").write_text(text(rows()))
    path.symlink_to(path.parent / "elsewhere.csv")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: takes no disk


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "submission.csv: the program must write it, got: No such file"),
        (Path.mkdir, "must be a regular file"),
        (os.mkfifo, "must be a regular file"),
        (link_to_a_good_one, "the program must write it, got: a symbolic link"),
        (huge, "must have at most 14,0.. bytes, got 1,099,511,627,776"),
    ],
)
def test_what_is_no_file_of_that_size_is_not_read(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    make(tmp_path / "submission.csv")
    with pytest.raises(InvalidEntryError, match=message):
        accept_submission(tmp_path, "submission.csv", tmp_path / "accepted.csv", FORMAT)
    assert not (tmp_path / "accepted.csv").exists()


def test_a_folder_that_the_program_replaced_by_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "submission.csv").write_text(text(rows()))
    work = tmp_path / "work"
    work.mkdir()
    (work / "submission").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        InvalidEntryError, match="submission/submission.csv: must be in a folder of the contract, got a symbolic link"
    ):
        accept_submission(work, "submission/submission.csv", tmp_path / "accepted.csv", FORMAT)
    assert not (tmp_path / "accepted.csv").exists()
