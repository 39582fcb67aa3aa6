"""Seasons, and which of them are learnt."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.core.errors import InputError, UsageError
from models.data.season_labels import check_disjoint, ids_of_seasons, parse_seasons, season_of


def test_seasons_are_in_the_names_of_public_sequences() -> None:
    assert season_of("SER_S10#B04#1#1") == "S10"
    assert season_of("ABCFN") is None
    ids = ["SER_S2#A#1#2", "SER_S10#A#1#1", "SER_S1#B#1#1", "SER_S1#A#1#1", "ABCFN"]
    assert ids_of_seasons(ids, ("S1", "S2"), Path("m.csv")) == ["SER_S1#A#1#1", "SER_S1#B#1#1", "SER_S2#A#1#2"]
    with pytest.raises(
        InputError, match=r"season S3, whose seq_id begins with SER_S3#, got only \['S1', 'S10', 'S2'\]"
    ):
        ids_of_seasons(ids, ("S1", "S3"), Path("m.csv"))
    with pytest.raises(
        InputError, match="begins with SER_S1#, got only ids without a season, such as 'ABCFN'"
    ) as error:
        ids_of_seasons(ids[-1:], ("S1",), Path("m.csv"))
    assert "`hakuna metadata PHOTOS --season S1 --out FILE` makes such ids" in error.value.hint


def test_seasons_on_the_command_line() -> None:
    assert parse_seasons("--train", "S1, S2,S10") == ("S1", "S2", "S10")
    for text in ("", "S1,", "1", "B01", "season 1"):
        with pytest.raises(UsageError, match="--train: must be seasons such as S1,S2,S3, got ") as error:
            parse_seasons("--train", text)
        assert "--season S1" in error.value.hint
    with pytest.raises(UsageError, match="--train: must be different seasons, got 'S1,S1'"):
        parse_seasons("--train", "S1,S1")


def test_a_season_that_is_learnt_does_not_validate() -> None:
    check_disjoint(("S1", "S2"), ("S9",))
    with pytest.raises(UsageError, match="must have no season in common, got S10, S2 in both") as error:
        check_disjoint(("S1", "S2", "S10"), ("S10", "S9", "S2"))
    assert "--season S1 --season S2=FOLDER" in error.value.hint
