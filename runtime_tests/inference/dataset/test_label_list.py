"""A list of labels by photo or burst, as spreadsheets save it."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.core.errors import InputError
from inference.core.labels import LABELS
from inference.dataset.label_list import read_label_list, write_labels
from inference.dataset.label_tables import read_labels
from inference.dataset.metadata import read_metadata
from runtime_tests.running import hakuna_here

METADATA = "seq_id,datetime,file_name\na,,B01/1.JPG\na,,B01/2.JPG\nb,,B 2/ü.JPG\nc,,3.JPG\n"


def listed(folder: Path, text: str | bytes) -> dict[str, set[str]]:
    metadata, path = folder / "metadata.csv", folder / "found.csv"
    metadata.write_text(METADATA)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_label_list(path, read_metadata(metadata).sequences, metadata)


def test_a_burst_has_every_label_of_its_photos(tmp_path: Path) -> None:
    text = "label,file_name\nempty,B01/1.JPG\nZebra ,B01/2.JPG\nwildebeest,B01/1.JPG\nempty,3.JPG\nempty,3.JPG\n"
    labels = listed(tmp_path, text)
    assert labels == {"a": {"zebra", "wildebeest"}, "c": {"empty"}}
    write_labels(tmp_path / "labels.csv", labels)
    table = read_labels(tmp_path / "labels.csv")
    assert table.seq_ids == ("a", "c")
    assert [[LABELS[c] for c in row.nonzero()[0]] for row in table.values] == [["wildebeest", "zebra"], ["empty"]]


@pytest.mark.parametrize(
    "text",
    [
        "seq_id,label\nb,zebra\n",
        "file_name,label\r\nB 2/ü.JPG ,zebra\r\n\r\n",
        "\ufeffFile_Name, Label,notes\nB 2\\ü.JPG,zebra,\n",
        "seq_id,file_name,label\n,./B 2/ü.JPG,zebra\n",
        "seq_id,file_name,label\nb,B 2/ü.JPG,zebra\n",
    ],
)
def test_spellings_of_spreadsheets_are_understood(text: str, tmp_path: Path) -> None:
    assert listed(tmp_path, text) == {"b": {"zebra"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photo,label\n3.JPG,zebra\n", "row 1: must have the columns label and file_name or seq_id, got"),
        ("file_name,label\n", "must have at least one row below the header, got none"),
        ("file_name,label\n3.JPG\n", "row 2: must have 2 columns, got 1"),
        ("file_name,label\n3.JPG,zebra\n,\n", "row 3: must have a value, got only empty cells"),
        ("file_name,label\n4.JPG,zebra\n", "row 2: must be a photo or a burst of .*metadata.csv, got '4.JPG'"),
        ("file_name,label\n,zebra\n", "row 2: must be a photo or a burst of .*, got none"),
        ("file_name,seq_id,label\n3.JPG,a,zebra\n", "row 2: must be a photo and its burst, got '3.JPG', 'a'"),
        ("file_name,label\n3.JPG,unicorn\n", "row 2, column label: must be one of the 54 labels, got 'unicorn'"),
        ("file_name;label\n3.JPG;zebra\n", "must be separated by ','"),
        ("file_name,label,notes\n3.JPG,zebra,fünf\n".encode("cp1252"), "must be UTF-8, got the byte 0xfc"),
        ("file_name,label\n3.JPG,zebra\n".encode("utf-16"), "UTF-16"),
    ],
)  # fmt: skip
def test_defects_are_named(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        listed(tmp_path, text)


def test_the_command_writes_what_score_reads(tmp_path: Path) -> None:
    listed(tmp_path, "file_name,label\n3.JPG,zebra\nB01/1.JPG,empty\n")
    words = ("labels", tmp_path / "found.csv", "--metadata", tmp_path / "metadata.csv", "--out")
    done = hakuna_here(*words, tmp_path / "new" / "labels.csv")
    assert (done.returncode, done.stdout) == (
        0,
        f"2 sequences of 3 with 2 labels -> {tmp_path / 'new' / 'labels.csv'}\n",
    )
    assert read_labels(tmp_path / "new" / "labels.csv").seq_ids == ("c", "a")
    before = (tmp_path / "found.csv").read_bytes()
    done = hakuna_here(*words, tmp_path / "found.csv", "--force")
    assert (done.returncode, (tmp_path / "found.csv").read_bytes()) == (2, before)
