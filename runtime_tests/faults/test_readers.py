"""Every reader of a file that somebody else wrote: a result or the right error, never another one, and no hang."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.bundle.manifest import MANIFEST_NAME
from inference.bundle.reader import Bundle, open_bundle
from inference.core.config_files import load_toml
from inference.core.errors import BundleError, CheckpointError, HakunaError, InputError, UsageError
from inference.core.labels import LABELS
from inference.dataset.bursts import group_bursts
from inference.dataset.label_tables import read_labels, read_submission
from inference.dataset.metadata import Plan, plan_sequences, read_metadata, read_submission_format
from inference.dataset.photo_index import read_coco, write_metadata
from inference.export.camtrap_project import Project
from inference.records.jsonl import RecordWriter, read_header, read_records
from inference.records.schema import Output, Record, RecordsHeader
from models.spec.recipe import Recipe, load_recipe
from runtime_tests.conftest import SECOND_RECIPE
from runtime_tests.exports import PROJECT
from runtime_tests.faults.conftest import Figures

EXAMPLES = 300
"""With 150 all accidents of a table may be such that it is refused: which ones there are depends on Hypothesis."""
MANY_EXAMPLES = 5_000
SECONDS_A_FILE = 5.0
"""Longer than any of these small files may take; hypothesis measures it."""

ROW = ",".join("0" * len(LABELS))
TABLE = f"seq_id,{','.join(LABELS)}\nSER_S1#A#1#1,{ROW}\nSER_S1#A#1#2,{ROW}\n".encode()
METADATA = (
    "seq_id,datetime,file_name\n"
    "SER_S1#A#1#1,2011-01-01 00:00:00,S1/A/a.JPG\n"
    'SER_S1#A#1#1,2011-01-01 00:00:01,"S1/A/b, c.JPG"\n'
    "SER_S1#A#1#2,,S1/Ä/c.JPG\n"
).encode()
COCO = b"""{"info": {}, "images": [
{"id": 1, "file_name": "a/1.jpg", "datetime": "2015-03-04 06:05:05", "location": "W", "seq_id": "s1", "frame_num": 1},
{"id": "2", "file_name": "a/2.jpg", "datetime": "2015-03-04", "location": 7, "seq_id": 12},
{"id": 3.5, "file_name": "b/\\u00e9.jpg", "datetime": null, "seq_num_frames": 1}
], "annotations": [], "categories": []}"""
TOKENS = (
    *(b"\0", b'"', b'""', b",", b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\\"),
    *(b"nan", b"-1", b"1e999", b"1_0", b"0x1", b"Infinity", b"NaN", b"null", b"{}", b"[", b"[" * 5000, b'{"a":' * 2000),
    *(b"\\u0000", b"\\ud800", b"9" * 5000, b"x" * 140_000, b"seq_id", b"zebra", b"../", b"true", b"''", b"-0.0", b" "),
)
"""What parsers stumble over."""

edits = st.lists(
    st.tuples(
        st.sampled_from(["insert", "replace", "delete", "repeat", "cut"]),
        st.floats(0, 1),
        st.one_of(st.sampled_from(TOKENS), st.binary(min_size=1, max_size=4)),
        st.integers(1, 60),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, changes: list[tuple[str, float, bytes, int]]) -> bytes:
    """The bytes of a file after some accidents."""
    for what, where, token, length in changes:
        start = int(where * len(data))
        stretch = data[start : start + length]
        if what == "cut":
            data = data[:start]
        elif what == "insert":
            data = data[:start] + token + data[start:]
        else:
            middle = {"replace": token, "delete": b"", "repeat": stretch * 3}[what]
            data = data[:start] + middle + data[start + length :]
    return data


def read_all_records(path: Path) -> None:
    """Header and records of a file."""
    header = read_header(path)
    assert sum(1 for _ in read_records(path, header)) <= 2


def read_and_write_coco(path: Path) -> None:
    """Whatever is taken of a COCO file is metadata that can be read."""
    bursts = group_bursts(read_coco(path).photos)
    write_metadata(path.with_suffix(".csv"), bursts)
    try:
        read_metadata(path.with_suffix(".csv"))
    except InputError as error:
        raise AssertionError("what `hakuna metadata` writes must be what `predict` reads") from error


def written_records(path: Path) -> bytes:
    """A file with a header and two records."""
    random = np.random.default_rng(0)
    outputs = (Output("v1", 96, 128, True, "0" * 64), Output("mean", 96, 128, False, "1" * 64))
    writer = RecordWriter(path, RecordsHeader({"bundle": "abc"}, outputs, LABELS, 2, 0, 2, {"used": "float32"}))
    for n_frames in (2, 1):
        frames = random.uniform(0, 1, (n_frames, 1, len(LABELS))).astype(np.float32)
        sequence = random.uniform(0, 1, (n_frames - 1, len(LABELS))).astype(np.float32)
        writer.append([Record(f"s{n_frames}", frames, sequence, 1, 2, ())])
    writer.close()
    return path.read_bytes()


def read_project(path: Path) -> Project:
    return load_toml("--project", path.rename(path.with_suffix(".toml")), Project)


def read_recipe(path: Path) -> Recipe:
    return load_recipe(str(path.rename(path.with_suffix(".toml"))))


READERS: dict[str, tuple[Callable[[Path], object], bytes | None, tuple[type[HakunaError], ...]]] = {
    "metadata": (read_metadata, METADATA, (InputError,)),
    "submission format": (read_submission_format, TABLE, (InputError,)),
    "submission": (read_submission, TABLE, (InputError,)),
    "labels": (read_labels, TABLE.replace(b"0\n", b"1\n"), (InputError,)),
    "records": (read_all_records, None, (CheckpointError,)),
    "COCO Camera Traps": (read_and_write_coco, COCO, (InputError,)),
    "project": (read_project, PROJECT.encode(), (UsageError,)),
    "recipe": (read_recipe, SECOND_RECIPE.read_bytes(), (UsageError, BundleError)),
}
"""By kind of file: its reader, a valid file, the error that it may raise."""


def outcome(
    read: Callable[[Path], object], path: Path, allowed: type[HakunaError] | tuple[type[HakunaError], ...]
) -> str:
    """Whether a file was read or refused; any other exception passes through."""
    try:
        read(path)
    except allowed as error:
        assert str(error)  # noqa: PT017  # it has to say something
        return "refused"
    return "read"


def survey(
    read: Callable[[Path], object],
    path: Path,
    valid: bytes,
    allowed: type[HakunaError] | tuple[type[HakunaError], ...],
    n_examples: int,
) -> dict[str, int]:
    """Read many accidents of a valid file; returns how many were read and refused."""
    counts = {"read": 0, "refused": 0}

    @settings(
        max_examples=n_examples,
        deadline=1000 * SECONDS_A_FILE,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(edits)
    def accidents(changes: list[tuple[str, float, bytes, int]]) -> None:
        path.write_bytes(edited(valid, changes))
        counts[outcome(read, path, allowed)] += 1

    path.write_bytes(valid)
    assert outcome(read, path, allowed) == "read"
    accidents()
    return counts


@pytest.mark.parametrize("n_examples", [EXAMPLES, pytest.param(MANY_EXAMPLES, marks=pytest.mark.faults)])
@pytest.mark.parametrize("kind", READERS)
def test_accidents_of_a_file_are_read_or_refused(kind: str, n_examples: int, tmp_path: Path, figures: Figures) -> None:
    read, valid, allowed = READERS[kind]
    path = tmp_path / "file"
    counts = survey(read, path, valid or written_records(path), allowed, n_examples)
    figures[f"readers: {kind}"] = {**counts, "other_exceptions": 0}
    assert min(counts.values()) > 0


@pytest.mark.parametrize("n_examples", [EXAMPLES, pytest.param(MANY_EXAMPLES, marks=pytest.mark.faults)])
def test_accidents_of_a_manifest_are_read_or_refused(
    n_examples: int, tiny_bundle: Bundle, tmp_path: Path, figures: Figures
) -> None:
    folder = Path(shutil.copytree(tiny_bundle.folder, tmp_path / "bundle"))
    valid = (folder / MANIFEST_NAME).read_bytes()
    counts = survey(lambda path: open_bundle(path.parent), folder / MANIFEST_NAME, valid, BundleError, n_examples)
    figures["readers: manifest"] = {**counts, "other_exceptions": 0}
    assert counts["refused"] > 0


def test_another_exception_or_a_hang_would_be_seen(tmp_path: Path) -> None:
    def stumbles(path: Path) -> None:
        if path.read_bytes().count(b"\n") < METADATA.count(b"\n"):
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        survey(stumbles, tmp_path / "file", METADATA, InputError, 500)


@pytest.mark.parametrize("read", [read_submission, read_labels, read_submission_format])
def test_a_column_that_comes_twice_is_refused(read: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"seq_id,{','.join(LABELS)},zebra\na,{ROW},1\n")
    with pytest.raises(InputError, match=r"row 1: .*\['zebra'\]"):
        read(path)


def test_a_path_with_a_nul_in_the_manifest_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle.folder, tmp_path / "bundle"))
    text = (folder / MANIFEST_NAME).read_text()
    entry = json.dumps({"a\0b": {"sha256": "0" * 64, "n_bytes": 1}})
    (folder / MANIFEST_NAME).write_text(text.replace('"files": {', f'"files": {entry.removesuffix("}")},'))
    with pytest.raises(BundleError, match="files"):
        open_bundle(folder)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_in_the_manifest_must_be_finite(number: str, tiny_bundle: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle.folder, tmp_path / "bundle"))
    text = (folder / MANIFEST_NAME).read_text()
    assert '"missing_frame": -0.01' in text
    (folder / MANIFEST_NAME).write_text(text.replace('"missing_frame": -0.01', f'"missing_frame": {number}'))
    with pytest.raises(BundleError, match="missing_frame"):
        open_bundle(folder)


# Row order with duplicates: test_metadata.py. Batch sizes and workers: golden/test_reference_case.py.


def table_text(rows: list[tuple[str, ...]], dialect: dict[str, Any], bom: str = "") -> bytes:
    """A CSV file as some program writes it."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, **dialect).writerows(rows)
    return (bom + buffer.getvalue()).encode()


dialects = st.fixed_dictionaries(
    {
        "lineterminator": st.sampled_from(["\n", "\r\n", "\n\n"]),
        "quoting": st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    }
)
metadata_rows = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["2011-01-01 05:00:00", "t", ""]), st.sampled_from("xyzü")),
    min_size=1,
    max_size=20,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@given(
    rows=metadata_rows,
    columns=st.permutations([0, 1, 2]),
    dialect=dialects,
    bom=st.sampled_from(["", "\ufeff"]),
    n_times=st.integers(1, 3),
    data=st.data(),
)
@settings(max_examples=100, derandomize=True, database=None, deadline=None)
def test_the_plan_depends_on_what_the_tables_say_and_not_on_how(
    rows: list[tuple[str, ...]],
    columns: list[int],
    dialect: dict[str, Any],
    bom: str,
    n_times: int,
    data: st.DataObject,
    scratch: Path,
) -> None:
    zeros = ("0",) * len(LABELS)
    seq_ids = data.draw(st.permutations([*{row[0] for row in rows}, "unknown"]))
    table: list[tuple[str, ...]] = [("seq_id", *LABELS), *((seq_id, *zeros) for seq_id in seq_ids)]

    def plan(some: list[tuple[str, ...]], dialect: dict[str, Any], bom: str) -> Plan:
        (scratch / "metadata.csv").write_bytes(table_text(some, dialect, bom))
        (scratch / "format.csv").write_bytes(table_text(table, dialect, bom))
        return plan_sequences(read_metadata(scratch / "metadata.csv"), read_submission_format(scratch / "format.csv"))

    header = ("seq_id", "datetime", "file_name")
    expected = plan([header, *rows], {}, "")
    mixed = data.draw(st.permutations(rows * n_times))
    got = plan([tuple(row[k] for k in columns) for row in [header, *mixed]], dialect, bom)
    assert got.sequences == expected.sequences
    assert (
        (got.n_without_metadata, got.n_not_in_format)
        == (expected.n_without_metadata, expected.n_not_in_format)
        == (1, 0)
    )
    assert [sequence.seq_id for sequence in got.sequences] == seq_ids
    assert got.n_duplicate_rows == expected.n_duplicate_rows + (n_times - 1) * len(rows)
    # One name more is another plan.
    other = plan([header, *rows, (rows[0][0], "t", "another")], {}, "")
    assert other.sequences != expected.sequences
