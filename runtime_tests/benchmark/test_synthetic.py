"""Synthetic seasons and the demo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.scoring import read_labels
from benchmark.synthetic import SEEN_ONCE, SPECIES, plan_bursts, write_season
from inference.domain import EMPTY, LABELS, ImageSize
from inference.files import sha256_of_file
from inference.info_strip import find_strip
from inference.metadata import plan_sequences, read_metadata, read_submission_format

SIZE = ImageSize(240, 320)


def hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_season(tmp_path / name, n_sequences=6, n_cameras=2, size=SIZE, seed=seed)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert hashes(tmp_path / "a") != hashes(tmp_path / "c")


def test_a_season_is_in_the_competitions_format(tmp_path: Path) -> None:
    write_season(tmp_path, n_sequences=30, n_cameras=4, size=SIZE, seed=1)
    plan = plan_sequences(
        read_metadata(tmp_path / "test_metadata.csv"), read_submission_format(tmp_path / "submission_format.csv")
    )
    labels = read_labels(tmp_path / "test_labels.csv")
    assert labels.seq_ids == tuple(sequence.seq_id for sequence in plan.sequences)
    assert (labels.values.sum(axis=1) == 1).all()
    assert (plan.n_without_metadata, plan.n_not_in_format, plan.n_duplicate_rows) == (0, 0, 0)
    for sequence in plan.sequences:
        for image in sequence.images:
            with Image.open(tmp_path / image.file_name) as photo:
                assert photo.size == (320, 240)


def test_shares_are_those_of_the_real_seasons() -> None:
    bursts = plan_bursts(5000, 10, seed=3)
    assert abs(np.mean([burst.species is None for burst in bursts]) - 0.76) < 0.02
    assert abs(np.mean([burst.n_frames for burst in bursts]) - 2.65) < 0.03
    assert {burst.species.label for burst in bursts if burst.species} == {species.label for species in SPECIES}


def test_empty_bursts_hardly_move_and_animals_do(season: Path) -> None:
    labels = read_labels(season / "test_labels.csv")
    sequences = read_metadata(season / "test_metadata.csv").sequences
    moved: dict[bool, list[float]] = {True: [], False: []}
    for seq_id, values in zip(labels.seq_ids, labels.values, strict=True):
        images = [season / image.file_name for image in sequences[seq_id].images]
        photos = [np.asarray(Image.open(path)).astype(float)[:440] for path in images if intact(path)]
        if len(photos) > 1 and LABELS[int(values.argmax())] not in SEEN_ONCE:
            moved[bool(values[EMPTY])].append(float(np.percentile(np.abs(photos[0] - photos[1]), 99.5)))
    assert moved[True]
    assert moved[False]
    assert max(moved[True]) < min(moved[False])


def intact(path: Path) -> bool:
    try:
        with Image.open(path) as photo:
            photo.load()
    except OSError:
        return False
    return path.stat().st_size > 9000


def test_the_info_strip_is_one_that_real_cameras_burn_in(season: Path) -> None:
    path = next(path for path in sorted(season.glob("S1/*/*.JPG")) if intact(path))
    frame = np.asarray(Image.open(path).resize((512, 384)))
    assert find_strip(frame) == [(slice(355, None), slice(None, None))]
