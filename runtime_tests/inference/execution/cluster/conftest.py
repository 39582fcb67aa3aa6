"""A long season for real clusters, and its results by a local run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from inference.bundle.reader import Bundle
from inference.execution.cluster import cluster_executor, members
from runtime_tests.long_season import contents, long_tables
from runtime_tests.running import hakuna

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


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for workers all the time, and do not wait for the last one."""
    monkeypatch.setattr(members, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(members, "START_SECONDS", 60.0)
    monkeypatch.setattr(cluster_executor, "BATCHES_PER_BLOCK", 2)


@pytest.fixture(scope="session")
def long_season(season: Path, quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> LongSeason:
    """It has damaged photos, like the season that it is made of."""
    folder = tmp_path_factory.mktemp("long")
    tables = long_tables(season, N_SEQUENCES // 12, folder)
    words = ("predict", season, *tables, "--bundle", quick_bundle.folder, "--batch-size", BATCH_SIZE)
    done = hakuna(*words, "--out", folder / "out")
    assert done.returncode == 0, done.stderr
    return LongSeason(words, contents(folder / "out"))
