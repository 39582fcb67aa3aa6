"""CSV files -> sequences."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.core.errors import InputError
from inference.core.labels import LABELS
from inference.core.sequences import Image, Sequence
from inference.dataset.metadata import (
    OddDatetimes,
    hour_and_month,
    plan_sequences,
    read_metadata,
    read_submission_format,
)

HEADER = "seq_id,datetime,file_name\n"
ZEROS = ",".join("0" * len(LABELS))


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_sequences_hold_their_photos_in_name_order(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", HEADER + "a,t2,x2.jpg\nb,t3,y.jpg\na,t1,x10.jpg\n")
    sequences = read_metadata(path).sequences
    # Plain string order: x10 comes before x2.
    assert sequences["a"].images == (Image("x10.jpg", "t1"), Image("x2.jpg", "t2"))


def test_columns_are_found_by_name_and_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", b"\xef\xbb\xbffile_name,extra,seq_id,datetime\nx.jpg,1,a,t\n")
    assert read_metadata(path).sequences == {"a": Sequence("a", (Image("x.jpg", "t"),))}


def test_duplicate_rows_are_merged_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", HEADER + "a,t2,x.jpg\na,t1,x.jpg\na,t2,x.jpg\n")
    metadata = read_metadata(path)
    assert metadata.n_duplicate_rows == 2
    assert metadata.sequences["a"].images == (Image("x.jpg", "t1"),)


rows = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["t1", "t2", ""]), st.sampled_from(["x", "y", 'z,"q'])),
    min_size=1,
    max_size=12,
)


@given(rows=rows, data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_of_the_rows_does_not_matter(
    rows: list[tuple[str, str, str]], data: st.DataObject, tmp_path: Path
) -> None:
    import csv

    def read(some: list[tuple[str, str, str]]) -> object:
        with (tmp_path / "m.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("seq_id", "datetime", "file_name"), *some])
        metadata = read_metadata(tmp_path / "m.csv")
        return plan_sequences(metadata, None)

    assert read(rows) == read(data.draw(st.permutations(rows)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: must have the columns seq_id, datetime, file_name, got no seq_id, datetime, file_name"),
        ("seq_id,file_name\na,b\n", "row 1: must have the columns .* got no datetime"),
        (
            "seq_id;datetime;file_name\na;b;c\n",
            "row 1: must be separated by ',', got a table separated by ';'; save it",
        ),
        ('"seq_id"\t"datetime"\t"file_name"\n', r"row 1: must be separated by ',', got a table separated by '\\t'"),
        (HEADER.encode("utf-16"), "must be UTF-8, got UTF-16; save as UTF-8"),
        (HEADER.encode("utf-16-le"), "row 1: must be UTF-8, got NUL, as in UTF-16; save as UTF-8"),
        (
            (HEADER + "a,t,é.jpg\n").encode("latin-1"),
            "must be UTF-8, got the byte 0xe9, as in Latin-1 .* save as UTF-8",
        ),
        (HEADER + "a\0b,t,x.jpg\n", "row 2, column seq_id: must not be empty or hold NUL"),
        ("seq_id,datetime,file_name,seq_id\n", r"row 1: column names must be unique, got \['seq_id'\] twice"),
        (HEADER, "must have at least one row below the header, got none"),
        (HEADER + "a,t\n", "row 2: must have 3 columns, got 2"),
        (HEADER + "a,t,x.jpg\n,,\n", "row 3: must have a value, got only empty cells"),
        ("seq_id,datetime,file_name,,\n", r"row 1: every column must have a name, got none in 2 columns: \[4, 5\]"),
        (b"PK\3\4\x14\0\6\0\xa1", "must be a CSV file, got an Excel file"),
        (b"\xd0\xcf\x11\xe0", "must be a CSV file, got an Excel file"),
        (HEADER + "a,t,x.jpg\n,t,y.jpg\n", "row 3, column seq_id: must not be empty"),
        (HEADER + 'a,t,"x.jpg" y\n', "line 2: must be valid CSV"),
        (HEADER.encode() + b"a,t,\xff.jpg\n", "must be UTF-8"),
        (HEADER + f"a,t,{'x' * 200_000}\n", "line 2: must be valid CSV, got: field larger than field limit"),
    ],
)
def test_bad_metadata_is_refused_with_its_place(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_metadata(write(tmp_path / "m.csv", text))
    assert "m.csv" in str(error.value)
    assert error.value.exit_code == 3


def test_a_column_without_a_name_is_accepted_as_r_writes_it(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", ",seq_id,datetime,file_name\n1,a,,x.jpg\n")
    assert list(read_metadata(path).sequences) == ["a"]


def test_swapped_tables_are_named_as_such(tmp_path: Path) -> None:
    metadata = write(tmp_path / "m.csv", HEADER + "a,,x.jpg\n")
    wanted = write(tmp_path / "f.csv", f"seq_id,{','.join(LABELS)}\na,{ZEROS}\n")
    for read, path in ((read_submission_format, metadata), (read_metadata, wanted)):
        with pytest.raises(InputError) as error:
            read(path)
        assert "were two files swapped?" in error.value.hint
    with pytest.raises(InputError) as error:
        read_metadata(write(tmp_path / "m.csv", "seq_id,file_name\n"))
    assert error.value.hint == ""


def test_a_header_of_many_columns_takes_no_time(tmp_path: Path) -> None:
    names = [f"column {number}" for number in range(20_000)]
    path = write(tmp_path / "m.csv", ",".join(["seq_id", "datetime", "file_name", *names, names[-1]]) + "\n")
    start = time.process_time()
    with pytest.raises(InputError, match=r"must be unique, got \['column 19999'\] twice"):
        read_metadata(path)
    assert time.process_time() - start < 1.5


def test_missing_metadata_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_metadata(tmp_path / "nowhere.csv")


def test_format_keeps_its_rows_and_columns_in_order(tmp_path: Path) -> None:
    labels = tuple(reversed(LABELS))
    path = write(tmp_path / "f.csv", f"seq_id,{','.join(labels)}\nz,{ZEROS}\na,{ZEROS}\n")
    submission_format = read_submission_format(path)
    assert submission_format.seq_ids == ("z", "a")
    assert submission_format.labels == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1, column 1: must be seq_id"),
        ("id,zebra\n", "row 1, column 1: must be seq_id, got 'id'"),
        ("seq_id,zebra,unicorn\n", r"row 1: must have the 54 labels, got 53 missing .* 1 unknown \['unicorn'\]"),
        (f"seq_id,{','.join(LABELS)}\n", "must have at least one row"),
        (
            f"seq_id,{','.join(LABELS)}\na,{ZEROS}\nb,{ZEROS}\na,{ZEROS}\n",
            "row 4, .* must be unique, got 'a' as in row 2",
        ),
        (f"seq_id,{','.join(LABELS)}\n,{ZEROS}\n", "row 2, column seq_id: must not be empty"),
    ],
)
def test_bad_format_is_refused_with_its_place(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_submission_format(write(tmp_path / "f.csv", text))


def test_plan_joins_by_seq_id_and_counts_what_does_not_match(tmp_path: Path) -> None:
    metadata = read_metadata(write(tmp_path / "m.csv", HEADER + "a,t,x.jpg\nb,t,y.jpg\nc,t,z.jpg\n"))
    text = f"seq_id,{','.join(LABELS)}\nb,{ZEROS}\nnew,{ZEROS}\na,{ZEROS}\n"
    plan = plan_sequences(metadata, read_submission_format(write(tmp_path / "f.csv", text)))
    assert [sequence.seq_id for sequence in plan.sequences] == ["b", "new", "a"]
    assert plan.sequences[1].images == ()
    assert (plan.n_without_metadata, plan.n_not_in_format) == (1, 1)


@pytest.mark.parametrize(
    ("datetimes", "expected"),
    [
        (["2010-08-19 18:24:57", "2011-01-01 00:00:00"], (18, 8)),
        (["", "2011-03-04 05:06:07"], (5, 3)),
        (["not a date"], (12, 7)),
        ([], (12, 7)),
    ],
)
def test_hour_and_month_are_the_first_photos(datetimes: list[str], expected: tuple[int, int]) -> None:
    images = tuple(Image(f"{k}.jpg", text) for k, text in enumerate(datetimes))
    assert hour_and_month(Sequence("a", images)) == expected


def test_datetimes_that_are_none_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    rows = "a,2010-08-19 18:24:00,x.jpg\na,,y.jpg\nb,8/19/2010 18:24,z.jpg\nb,8/19/2010 18:25,w.jpg\n"
    plan = plan_sequences(read_metadata(write(tmp_path / "m.csv", HEADER + rows)), None)
    assert plan.unreadable == OddDatetimes(2)
    assert plan.without_time == OddDatetimes(0)
    assert plan.unreadable.first == "row 4: '8/19/2010 18:24'"
    assert [hour_and_month(sequence) for sequence in plan.sequences] == [(18, 8), (12, 7)]


@pytest.mark.parametrize("text", ["2010-08-19", "20100819", "2010-W33-4"])
def test_dates_without_a_time_are_midnight_and_counted(text: str, tmp_path: Path) -> None:
    rows = f"a,2010-08-19 00:00:00,x.jpg\nb,{text},y.jpg\nb,20100819T18,z.jpg\nc,{text},w.jpg\n"
    plan = plan_sequences(read_metadata(write(tmp_path / "m.csv", HEADER + rows)), None)
    assert (plan.unreadable.n_rows, plan.without_time.n_rows) == (0, 2)
    assert plan.without_time.first == f"row 3: {text!r}"
    assert hour_and_month(plan.sequences[2]) == (0, 8)


@pytest.mark.parametrize("first", ["", "8/19/2010 18:24", "2019-01-05 04:00:00"])
def test_of_duplicate_rows_the_earliest_readable_datetime_counts(first: str, tmp_path: Path) -> None:
    for rows in (f"a,{first},x.jpg\na,2019-01-05 03:00:00,x.jpg\n", f"a,2019-01-05 03:00:00,x.jpg\na,{first},x.jpg\n"):
        sequences = read_metadata(write(tmp_path / "m.csv", HEADER + rows)).sequences
        assert sequences["a"].images == (Image("x.jpg", "2019-01-05 03:00:00"),)


def test_a_sequence_is_of_one_site(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text("seq_id,datetime,file_name,site\na,,1.jpg,hill\nb,,2.jpg,lake\na,,3.jpg,lake\n")
    with pytest.raises(InputError, match="row 4, column site: must be the same in all rows .* got 'lake' after 'hill'"):
        read_metadata(path)
