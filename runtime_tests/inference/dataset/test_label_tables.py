"""Submissions and labels: joined by name, the same numbers however they are written, refused with their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from inference.core.errors import InputError
from inference.core.labels import LABELS
from inference.dataset import label_tables
from inference.dataset.label_tables import read_labels, read_submission, read_targets


def write(path: Path, rows: list[str], header: str = "seq_id," + ",".join(LABELS)) -> Path:
    path.write_text("\n".join([header, *rows, ""]), newline="")
    return path


def row(seq_id: str, first: str = "0") -> str:
    return ",".join([seq_id, first, *["0"] * 53])


def test_columns_may_come_in_any_order(tmp_path: Path) -> None:
    header = "seq_id," + ",".join(reversed(LABELS))
    table = read_labels(write(tmp_path / "l.csv", [row("a", "1")], header))
    assert table.values[0].tolist() == [0.0] * 53 + [1.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a", "x")], "row 2, column aardvark: must be a number, got 'x'"),
        ([row("a", "")], "row 2, column aardvark: must be a number, got ''"),
        ([row("a", "nan")], r"sequence a, column aardvark: must be in \[0, 1\], got nan"),
        ([row("a", "-0.001")], r"sequence a, column aardvark: must be in \[0, 1\], got -0.001"),
        ([row("a", "1.0000001")], r"must be in \[0, 1\], got 1.0000001 \(1 such value\)"),
        ([row("a"), row("b", "1.5")], r"sequence b, column aardvark: must be in \[0, 1\], got 1.5"),
        ([row("a"), row("a")], "column seq_id: must be unique, got 'a' again"),
        (["a,0"], "row 2: must have 55 columns, got 2"),
        ([], "at least one row"),
    ],
)
def test_a_submission_that_is_none_is_refused_with_its_place(rows: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_submission(write(tmp_path / "s.csv", rows))
    assert "s.csv" in str(error.value)


def test_labels_must_be_zero_or_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sequence a, column aardvark: must be 0 or 1, got 0.5"):
        read_labels(write(tmp_path / "l.csv", [row("a", "0.5")]))


def test_a_carriage_return_in_an_id_is_read_where_it_is_quoted_and_refused_where_not(tmp_path: Path) -> None:
    assert read_submission(write(tmp_path / "s.csv", [row('"a\rb"')])).seq_ids == ("a\rb",)
    with pytest.raises(InputError, match="row 2: must have 55 columns"):
        read_submission(write(tmp_path / "s.csv", [row("a\rb")]))


def test_labels_that_are_all_0_are_refused_and_sequences_without_labels_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", [row("a"), row("b")])
    with pytest.raises(InputError, match="must have a 1 in at least one of 2 sequences, got only 0"):
        read_labels(path)
    write(path, [row("a"), row("b"), row("c", "1")])
    with pytest.raises(InputError, match="must have a 1 in at least one of 2 sequences, got only 0"):
        read_targets(path, ["a", "b"])
    with capture_logs() as logs:
        assert read_targets(path, ["c"]).sum() == 1
        read_targets(path, ["c", "a", "b"])
    assert [entry["count"] for entry in logs] == [2]
    with pytest.raises(InputError, match="must have every sequence, got 1 missing") as error:
        read_targets(path, ["c", "d"])
    assert error.value.hint.startswith("label them, or delete their rows from the metadata;")
    assert read_targets(path, []).shape == (0, 54)


@pytest.mark.parametrize("header", ["", "id,zebra", "seq_id,zebra,unicorn"])
def test_other_columns_are_refused(header: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 1"):
        read_submission(write(tmp_path / "s.csv", [], header))


def spellings(n: int, random: np.random.Generator) -> list[list[str]]:
    """Numbers as programs and people write them: all of them a float for Python."""
    values = random.random((n, 54)) ** 30
    return [[random.choice([f"{v:.9g}", f"{v:.17g}", f"{v:e}", "0", "1", "1.0", "0.0"]) for v in row] for row in values]


@pytest.mark.parametrize("extra", [[], ["0.5", ".5"], ["0.5", "+.5e0"], ["0", " 1"], ["1", "0_1"]])
def test_numbers_are_read_as_python_reads_them(extra: list[str], tmp_path: Path, random: np.random.Generator) -> None:
    """Ordinary files take a short cut, others (the last spelling of `extra`) do not: both end in the same numbers."""
    rows = spellings(30, random)
    rows[7][: len(extra)] = extra
    path = write(tmp_path / "s.csv", [",".join([f"s{n}", *row]) for n, row in enumerate(rows)])
    np.testing.assert_array_equal(read_submission(path).values, [[float(text) for text in row] for row in rows])


def test_quoted_and_bare_ids_are_the_same_and_so_is_a_byte_order_mark(tmp_path: Path) -> None:
    bare = read_labels(write(tmp_path / "a.csv", [row("a", "1"), row("b")]))
    quoted = read_labels(write(tmp_path / "b.csv", [row('"a"', "1"), row("b")]))
    marked = tmp_path / "c.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.csv").read_bytes().replace(b"\n", b"\r\n"))
    for other in (quoted, read_labels(marked)):
        assert other.seq_ids == bare.seq_ids == ("a", "b")
        np.testing.assert_array_equal(other.values, bare.values)


@pytest.mark.parametrize("value", ["null", "true", "[0]", '""', "NaN", "1e400", "9" * 400])
def test_what_only_json_would_read_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column aardvark"):
        read_submission(write(tmp_path / "s.csv", [row("a"), row("b", value)]))


def test_ids_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", [row("a")])
    path.write_bytes(path.read_bytes().replace(b"\na,", b"\n\xff,"))
    with pytest.raises(InputError, match="must be UTF-8"):
        read_submission(path)


def write_labels(path: Path, rows: list[tuple[str, dict[str, str]]], columns: tuple[str, ...] = LABELS) -> Path:
    lines = [",".join(["seq_id", *columns])]
    lines += [",".join([seq_id, *[seen.get(label, "0") for label in columns]]) for seq_id, seen in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_labels_are_joined_by_name_whatever_the_order(tmp_path: Path) -> None:
    rows = [("c", {"zebra": "1", "wildebeest": "1.0"}), ("a", {"empty": "1"}), ("other", {"zebra": "7"}), ("b", {})]
    path = write_labels(tmp_path / "labels.csv", rows, columns=tuple(reversed(LABELS)))
    targets = read_targets(path, ["a", "b", "c"])
    assert targets.dtype == np.uint8
    seen = [[label for label, value in zip(LABELS, row, strict=True) if value] for row in targets]
    assert seen == [["empty"], [], ["wildebeest", "zebra"]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", {"zebra": "2"})], "sequence a, column zebra: must be 0 or 1, got 2"),
        ([("a", {"zebra": ""})], "row 2, column zebra: must be a number, got ''"),
        ([("a", {}), ("a", {})], "column seq_id: must be unique, got 'a' again"),
        ([("b", {})], "must have every sequence, got 1 missing: ['a']"),
    ],
)
def test_labels_that_make_no_sense_are_refused(
    rows: list[tuple[str, dict[str, str]]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        read_targets(write_labels(tmp_path / "labels.csv", rows), ["a"])
    assert message in str(caught.value)


@pytest.mark.parametrize("zero_one", [("0", "1"), ("0.0", "1.0"), ("0.00", "1.00"), ("0e0", "+1"), (".0", " 1")])
def test_a_label_is_any_number_that_is_0_or_1_for_whoever_reads_it(zero_one: tuple[str, str], tmp_path: Path) -> None:
    zero, one = zero_one
    path = write(tmp_path / "labels.csv", [",".join(["a", one, *[zero] * 53]), ",".join(["b", *[zero] * 54])])
    expected = [[1.0, *[0.0] * 53], [0.0] * 54]
    assert read_labels(path).values.tolist() == expected
    assert read_targets(path, ["b", "a"]).tolist() == expected[::-1]


@pytest.mark.parametrize("odd", ['"s7"', "s7"])
def test_rows_that_need_a_csv_reader_may_begin_anywhere(
    odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random: np.random.Generator
) -> None:
    """A small chunk, so that the odd row is in the fourth: everything before it is read without a CSV reader."""
    monkeypatch.setattr(label_tables, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(label_tables, "CHUNK_ROWS", 3)
    rows = [[f"{value:.9g}" for value in row] for row in random.random((20, 54))]
    lines = [",".join([odd if n == 7 else f"s{n}", *row]) for n, row in enumerate(rows)]
    table = read_submission(write(tmp_path / "s.csv", lines))
    assert table.seq_ids == tuple(f"s{n}" for n in range(20))
    np.testing.assert_array_equal(table.values, [[float(text) for text in row] for row in rows])
    with pytest.raises(InputError, match="must be unique, got 's3' again"):
        read_submission(write(tmp_path / "s.csv", [*lines, lines[3]]))
    with pytest.raises(InputError, match="row 22: must have 55 columns, got 2"):
        read_submission(write(tmp_path / "s.csv", [*lines, "x,1"]))
