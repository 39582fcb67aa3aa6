"""A bad photo changes its own sequence and nothing else, and is listed."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from benchmark.synthetic.season import write_season
from inference.bundle.reader import Bundle
from inference.core.sequences import FailureReason, ImageSize
from inference.dataset.metadata import METADATA_NAME
from inference.outputs.submission import FAILURES_NAME, SUBMISSION_NAME
from inference.records.jsonl import read_header, read_records
from inference.records.schema import RECORDS_NAME, Record
from runtime_tests.faults.conftest import Figures
from runtime_tests.faults.damage import photos, with_scans
from runtime_tests.running import run
from runtime_tests.tables import rows_of

SEED = 5
SHARES = (0.01, 0.1, 0.5, 1.0)
HEADER_BYTES = 300
"""Less than the header of a photo."""


@dataclass(frozen=True)
class Damage:
    """What happens to a photo, and what must be said about it; None where only its pixels suffer."""

    harm: Callable[[Path, np.random.Generator], None]
    reason: FailureReason | None


def _rewrite(change: Callable[[bytes, np.random.Generator], bytes]) -> Callable[[Path, np.random.Generator], None]:
    def harm(path: Path, random: np.random.Generator) -> None:
        path.write_bytes(change(path.read_bytes(), random))

    return harm


def _replaced(make: Callable[[Path], None]) -> Callable[[Path, np.random.Generator], None]:
    def harm(path: Path, random: np.random.Generator) -> None:  # noqa: ARG001
        path.unlink()
        make(path)

    return harm


def _noise_in_the_scan(data: bytes, random: np.random.Generator) -> bytes:
    start = int(random.integers(2000, len(data) - 500))
    return data[:start] + random.bytes(200) + data[start + 200 :]


def _too_large(data: bytes, random: np.random.Generator) -> bytes:  # noqa: ARG001
    start = data.index(b"\xff\xc0")
    return data[: start + 5] + (20_000).to_bytes(2, "big") * 2 + data[start + 9 :]


def _nothing(path: Path) -> None:
    assert not path.exists()


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(65 << 20)


DAMAGES = {
    "missing": Damage(_replaced(_nothing), FailureReason.MISSING),
    "empty": Damage(_replaced(Path.touch), FailureReason.EMPTY_FILE),
    "a folder": Damage(_replaced(Path.mkdir), FailureReason.NOT_A_FILE),
    "a pipe": Damage(_replaced(os.mkfifo), FailureReason.NOT_A_FILE),
    "a link that leaves": Damage(_replaced(lambda path: path.symlink_to("/etc/hostname")), FailureReason.UNSAFE_PATH),
    "a link to itself": Damage(_replaced(lambda path: path.symlink_to(path.name)), FailureReason.UNREADABLE),
    "text": Damage(_rewrite(lambda data, random: b"no photo"), FailureReason.NOT_AN_IMAGE),  # noqa: ARG005
    "a sparse giant": Damage(_replaced(_sparse), FailureReason.TOO_LARGE),
    "too many pixels": Damage(_rewrite(_too_large), FailureReason.TOO_MANY_PIXELS),
    "too many scans": Damage(
        _rewrite(lambda data, random: with_scans(photos()["progressive"], 300)),  # noqa: ARG005
        FailureReason.TOO_MANY_SCANS,
    ),
    "no pixels": Damage(_rewrite(lambda data, random: data[:HEADER_BYTES]), FailureReason.CANNOT_DECODE),  # noqa: ARG005
    "cut": Damage(_rewrite(lambda data, random: data[: int(random.integers(2000, len(data)))]), None),
    "noise": Damage(_rewrite(_noise_in_the_scan), None),
    "damaged profile": Damage(
        _rewrite(lambda data, random: data[:2] + b"\xff\xe2\x00\x0eICC_PROFILE\0" + data[2:]),  # noqa: ARG005
        None,
    ),
}


@dataclass(frozen=True)
class Season:
    """A season, what a run makes of it, and whose photos are whose."""

    folder: Path
    out: Path
    owner: dict[str, str]
    """`seq_id` by `file_name`."""


def predicted(folder: Path, bundle: Bundle, out: Path) -> Season:
    """Run a season."""
    run(folder, bundle, out, batch_size=4)
    owner = {row["file_name"]: row["seq_id"] for row in rows_of(folder / METADATA_NAME)}
    return Season(folder, out, owner)


def lines_by_sequence(season: Season) -> dict[str, str]:
    """The lines of the submission."""
    lines = (season.out / SUBMISSION_NAME).read_text().splitlines()
    return {line.split(",")[0]: line for line in lines[1:]}


def records_by_sequence(season: Season) -> dict[str, tuple[object, ...]]:
    """Everything that the records say, floats to the last bit."""
    header = read_header(season.out / RECORDS_NAME)

    def everything(record: Record) -> tuple[object, ...]:
        facts = (record.seq_id, record.hour, record.month, record.failures, record.n_resized, record.has_metadata)
        return (*facts, record.frame_outputs.tobytes(), record.sequence_outputs.tobytes())

    return {record.seq_id: everything(record) for record in read_records(season.out / RECORDS_NAME, header)}


def changed_sequences(before: Season, after: Season) -> set[str]:
    """Sequences whose line or record differs in a byte."""
    lines, records = lines_by_sequence(before), records_by_sequence(before)
    new_lines, new_records = lines_by_sequence(after), records_by_sequence(after)
    assert list(lines) == list(new_lines) == list(records) == list(new_records)
    return {name for name in lines if lines[name] != new_lines[name] or records[name] != new_records[name]}


def listed_failures(season: Season) -> dict[str, tuple[str, str]]:
    """Sequence and reason by photo."""
    rows = rows_of(season.out / FAILURES_NAME)
    return {row["file_name"]: (row["seq_id"], row["reason"].split(":")[0]) for row in rows}


def damaged_copy(season: Path, folder: Path, share: float, seed: int) -> dict[str, Damage]:
    """Copy a season and damage a share of its photos, at least one; returns the damage by photo."""
    shutil.copytree(season, folder)
    random = np.random.default_rng((seed, int(100 * share)))
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.JPG"))
    chosen = random.choice(names, max(1, round(share * len(names))), replace=False).tolist()
    kinds = list(DAMAGES.values())
    first = int(random.integers(len(kinds)))
    damages = {name: kinds[(first + number) % len(kinds)] for number, name in enumerate(chosen)}
    for name, damage in damages.items():
        damage.harm(folder / name, random)
    return damages


@pytest.fixture(scope="module")
def whole(quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Season]:
    """Undisturbed runs of seasons of a length, each made once."""
    made: dict[int, Season] = {}

    def season(n_sequences: int) -> Season:
        if n_sequences not in made:
            folder = tmp_path_factory.mktemp("whole")
            write_season(folder / "data", n_sequences=n_sequences, n_cameras=5, size=ImageSize(240, 320), seed=SEED)
            made[n_sequences] = predicted(folder / "data", quick_bundle, folder / "out")
        return made[n_sequences]

    return season


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("n_sequences", [24, pytest.param(400, marks=pytest.mark.faults)])
def test_bad_photos_change_their_own_sequences_and_are_listed(
    n_sequences: int,
    share: float,
    whole: Callable[[int], Season],
    quick_bundle: Bundle,
    tmp_path: Path,
    figures: Figures,
) -> None:
    before = whole(n_sequences)
    damages = damaged_copy(before.folder, tmp_path / "data", share, SEED)
    after = predicted(tmp_path / "data", quick_bundle, tmp_path / "out")
    touched = {before.owner[name] for name in damages}
    changed = changed_sequences(before, after)
    expected = {
        name: (before.owner[name], damage.reason.value) for name, damage in damages.items() if damage.reason is not None
    }
    figures[f"bad-image isolation: {share:.0%} of the photos"] = {
        "sequences": n_sequences,
        "photos": len(before.owner),
        "damaged_photos": len(damages),
        "unusable_photos": len(expected),
        "untouched_sequences": n_sequences - len(touched),
        "untouched_sequences_that_changed": len(changed - touched),
        "wrongly_listed_or_not_listed": len(set(expected.items()) ^ set(listed_failures(after).items())),
    }
    assert changed - touched == set()
    assert listed_failures(after) == expected
    # The comparison can see a difference: a sequence that lost a photo has another record.
    assert {seq_id for seq_id, _ in expected.values()} <= changed


def test_damage_that_leaves_pixels_is_none_to_plain_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_season(tmp_path, n_sequences=1, n_cameras=1, size=ImageSize(240, 320), seed=SEED)
    original = next(tmp_path.rglob("*.JPG")).read_bytes()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for name, damage in DAMAGES.items():
        if damage.reason is None and name != "damaged profile":  # Pillow alone refuses that one
            (tmp_path / "photo.jpg").write_bytes(original)
            damage.harm(tmp_path / "photo.jpg", np.random.default_rng(SEED))
            assert (tmp_path / "photo.jpg").read_bytes() != original
            assert Image.open(io.BytesIO((tmp_path / "photo.jpg").read_bytes())).convert("RGB").size == (320, 240)
