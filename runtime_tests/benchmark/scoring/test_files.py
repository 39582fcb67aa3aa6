"""Scores of whole files: arguments, and sequences that one file lacks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmark.scoring.files import score
from inference.core.errors import InputError, UsageError


@pytest.mark.parametrize("given", [{"epsilon": 0.5}, {"epsilon": 0}, {"epsilon": float("nan")}, {"resamples": 99}])
def test_arguments_out_of_range_are_refused(given: dict[str, Any], season: Path) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(given))}: must be from"):
        score(season / "test_labels.csv", season / "test_labels.csv", **given)


def test_sequences_that_only_one_file_has_are_counted(season: Path, tmp_path: Path) -> None:
    header, *rows = (season / "test_labels.csv").read_text().splitlines()
    (tmp_path / "labels.csv").write_text("\n".join([header, *rows[:8], rows[0].replace("SER_S1#", "SER_S9#")]))
    (tmp_path / "submission.csv").write_text("\n".join([header, *rows[4:]]))
    metadata = (season / "test_metadata.csv").read_text().splitlines()
    lost = rows[4].partition(",")[0]
    (tmp_path / "metadata.csv").write_text("\n".join(row for row in metadata if not row.startswith(f"{lost},")))
    found = score(
        tmp_path / "submission.csv", tmp_path / "labels.csv", metadata=tmp_path / "metadata.csv", labelled_only=True
    )
    assert (found.n_sequences, found.n_without_labels, found.n_without_prediction, found.n_without_metadata) == (
        4,
        4,
        5,
        1,
    )
    (tmp_path / "labels.csv").write_text("\n".join([header, *rows[:4]]))
    with pytest.raises(InputError, match="must have a sequence in common, got none"):
        score(tmp_path / "submission.csv", tmp_path / "labels.csv", labelled_only=True)


def test_a_sequence_has_one_site(season: Path, tmp_path: Path) -> None:
    _, *rows = (season / "test_labels.csv").read_text().splitlines()
    ids = [row.partition(",")[0] for row in rows]
    (tmp_path / "sites.csv").write_text("\n".join(["seq_id,site", *(f"{one},A" for one in ids), f"{ids[0]},B"]))
    with pytest.raises(
        InputError, match="row 14, column site: must be the same in all rows of a sequence, got 'B' after"
    ):
        score(season / "test_labels.csv", season / "test_labels.csv", sites=tmp_path / "sites.csv")


def test_metadata_of_another_card_are_refused_beside_a_run(
    season: Path, quick_prediction: Path, tmp_path: Path
) -> None:
    labels, own = season / "test_labels.csv", season / "test_metadata.csv"
    assert score(quick_prediction / "submission.csv", labels, metadata=own).n_without_metadata == 0
    (tmp_path / "other.csv").write_text(own.read_text().replace(" 1", " 0"))
    with pytest.raises(InputError, match="other.csv: must have the photos and times that the run .* was made from"):
        score(quick_prediction / "submission.csv", labels, metadata=tmp_path / "other.csv")
    shutil.copy(quick_prediction / "submission.csv", tmp_path)  # without its run nothing is known
    score(tmp_path / "submission.csv", labels, metadata=tmp_path / "other.csv")


def test_blanks_around_a_site_make_no_other_site(season: Path, tmp_path: Path) -> None:
    ids = [row.partition(",")[0] for row in (season / "test_labels.csv").read_text().splitlines()[1:]]
    rows = [f"{one},{' A' if number % 2 else 'A '}" for number, one in enumerate(ids)]
    (tmp_path / "sites.csv").write_text("\n".join(["seq_id,site", *rows]))
    found = score(season / "test_labels.csv", season / "test_labels.csv", sites=tmp_path / "sites.csv")
    assert [one.name for one in found.breakdowns["site"]] == ["A"]
