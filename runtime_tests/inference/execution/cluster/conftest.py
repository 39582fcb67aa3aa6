"""A long season for real clusters, and its results by a local run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from inference.bundle.reader import Bundle
from runtime_tests.running import hakuna

OUTPUTS = ("records.jsonl", "submission.csv", "failures.csv")
N_SEQUENCES = 588
"""Its last block is half a block."""
BATCH_SIZE = 3


@dataclass(frozen=True)
class LongSeason:
    """A season many times over, under other names of sequences, with some photos that cannot be used.

    Attributes
    ----------
    words : of `hakuna predict`, without `--out`
    expected : outputs of a local run
    n_sequences : of the season
    """

    words: tuple[object, ...]
    expected: dict[str, bytes]
    n_sequences: int = N_SEQUENCES


def contents(out: Path) -> dict[str, bytes]:
    """The outputs of a run that must be the same everywhere."""
    return {name: (out / name).read_bytes() for name in OUTPUTS}


def n_records(out: Path) -> int:
    """Records so far."""
    path = out / "records.jsonl"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


@pytest.fixture(scope="session")
def long_season(season: Path, quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> LongSeason:
    """It has damaged photos, like the season that it is made of."""
    folder = tmp_path_factory.mktemp("long")
    for name in ("test_metadata.csv", "submission_format.csv"):
        header, *rows = (season / name).read_text().splitlines()
        column = header.split(",").index("seq_id")
        repeated = [header]
        for number in range(N_SEQUENCES // 12):
            for row in rows:
                values = row.split(",")
                values[column] += f"x{number}"
                repeated.append(",".join(values))
        (folder / name).write_text("\n".join(repeated) + "\n")
    tables = ("--metadata", folder / "test_metadata.csv", "--format", folder / "submission_format.csv")
    words = ("predict", season, *tables, "--bundle", quick_bundle.folder, "--batch-size", BATCH_SIZE)
    done = hakuna(*words, "--out", folder / "out")
    assert done.returncode == 0, done.stderr
    return LongSeason(words, contents(folder / "out"))
