"""Labels and seasons: joined by name, refused with file, row and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference.core.errors import InputError, UsageError
from inference.core.labels import LABELS
from models.data.season_labels import check_disjoint, ids_of_seasons, parse_seasons, read_labels, season_of


def write_labels(path: Path, rows: list[tuple[str, dict[str, str]]], columns: tuple[str, ...] = LABELS) -> Path:
    lines = [",".join(["seq_id", *columns])]
    lines += [",".join([seq_id, *[seen.get(label, "0") for label in columns]]) for seq_id, seen in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_labels_are_joined_by_name_whatever_the_order(tmp_path: Path) -> None:
    rows = [("c", {"zebra": "1", "wildebeest": "1.0"}), ("a", {"empty": "1"}), ("other", {"zebra": "7"}), ("b", {})]
    path = write_labels(tmp_path / "labels.csv", rows, columns=tuple(reversed(LABELS)))
    targets = read_labels(path, ["a", "b", "c"])
    assert targets.dtype == np.uint8
    seen = [[label for label, value in zip(LABELS, row, strict=True) if value] for row in targets]
    assert seen == [["empty"], [], ["wildebeest", "zebra"]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", {"zebra": "2"})], "row 2, column zebra: must be 0 or 1, got '2'"),
        ([("a", {"zebra": ""})], "row 2, column zebra: must be 0 or 1, got ''"),
        ([("a", {}), ("a", {})], "row 3, column seq_id: must be unique, got 'a' again"),
        ([("b", {})], "must have every sequence, got 1 missing: ['a']"),
    ],
)
def test_labels_that_make_no_sense_are_refused(
    rows: list[tuple[str, dict[str, str]]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        read_labels(write_labels(tmp_path / "labels.csv", rows), ["a"])
    assert message in str(caught.value)


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("sequence,zebra\n")
    with pytest.raises(InputError, match="column 1: must be seq_id, got 'sequence'"):
        read_labels(path, ["a"])


def test_seasons_are_in_the_names_of_public_sequences() -> None:
    assert season_of("SER_S10#B04#1#1") == "S10"
    assert season_of("ABCFN") is None
    ids = ["SER_S2#A#1#2", "SER_S10#A#1#1", "SER_S1#B#1#1", "SER_S1#A#1#1", "ABCFN"]
    assert ids_of_seasons(ids, ("S1", "S2"), Path("m.csv")) == ["SER_S1#A#1#1", "SER_S1#B#1#1", "SER_S2#A#1#2"]
    with pytest.raises(InputError, match=r"must have sequences of season S3 .* got only \['S1', 'S10', 'S2'\]"):
        ids_of_seasons(ids, ("S1", "S3"), Path("m.csv"))


def test_seasons_on_the_command_line() -> None:
    assert parse_seasons("--train", "S1, S2,S10") == ("S1", "S2", "S10")
    for text in ("", "S1,", "1", "S1,S1", "season 1"):
        with pytest.raises(UsageError, match="--train: must be different seasons such as S1,S2,S3"):
            parse_seasons("--train", text)


def test_a_season_that_is_learnt_does_not_validate() -> None:
    check_disjoint(("S1", "S2"), ("S9",))
    with pytest.raises(UsageError, match="must have no season in common, got S10, S2 in both"):
        check_disjoint(("S1", "S2", "S10"), ("S10", "S9", "S2"))
