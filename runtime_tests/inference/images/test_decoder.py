"""Sequences decoded ahead, in order."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import pytest

from inference.core.choices import DecoderName, Preset
from inference.core.iteration import prefetch
from inference.core.sequences import FailureReason, Image, Sequence
from inference.images.decoder import decode_sequences, find_decoder
from inference.storage.local import LocalFolder


@pytest.mark.parametrize("n_workers", [1, 2, 4])
@pytest.mark.parametrize("prefetch_depth", [1, 3, 100])
def test_results_come_in_order_however_long_each_takes(n_workers: int, prefetch_depth: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(prefetch(work, range(25), n_workers, prefetch_depth)) == [item * item for item in range(25)]


def test_no_more_than_asked_for_wait() -> None:
    prefetch_depth = 4
    taken = itertools.count()
    started: list[int] = []

    results = prefetch(started.append, taken, 2, prefetch_depth)
    for n_read in range(1, 6):
        next(results)
        assert next(taken) <= prefetch_depth + 2 * n_read
    results.close()  # type: ignore[attr-defined]


def test_an_error_in_the_work_reaches_the_reader_and_threads_end() -> None:
    def work(item: int) -> int:
        return 1 // (item - 3)

    results = prefetch(work, range(10), 2, 4)
    with pytest.raises(ZeroDivisionError):
        list(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize("name", [DecoderName.PILLOW, DecoderName.FAST, DecoderName.DALI])
def test_every_decoder_names_the_photos_that_were_cut_short(name: DecoderName, season: Path, tmp_path: Path) -> None:
    whole = next(path.read_bytes() for path in sorted(season.rglob("*.JPG")) if path.stat().st_size > 9000)
    files = {"whole.jpg": whole, "cut.jpg": whole[:5000], "lost.jpg": whole[:300]}
    for file_name, data in files.items():
        (tmp_path / file_name).write_bytes(data)
    sequence = Sequence("a", tuple(Image(file_name, "") for file_name in files))
    [decoded] = decode_sequences([sequence], LocalFolder(tmp_path), Preset.QUARTER, 3, find_decoder(name))
    assert decoded.cut_short == ("cut.jpg",)
    assert [failure.file_name for failure in decoded.failures] == ["lost.jpg"]


def test_next_photos_move_up_but_a_fourth_never_moves_in(season: Path) -> None:
    photos = sorted(path.relative_to(season).as_posix() for path in season.glob("S1/*/*/*.JPG"))
    whole = [name for name in photos if (season / name).stat().st_size > 9000][:3]
    images = tuple(Image(name, "") for name in ("nowhere.jpg", whole[0], whole[1], whole[2]))
    fast = find_decoder(DecoderName.FAST)
    [decoded] = decode_sequences([Sequence("a", images)], LocalFolder(season), Preset.QUARTER, 3, fast)
    assert len(decoded.frames) == 2
    assert [failure.reason for failure in decoded.failures] == [FailureReason.MISSING]
    [alone] = decode_sequences([Sequence("a", (images[1],))], LocalFolder(season), Preset.QUARTER, 3, fast)
    assert (decoded.frames[0] == alone.frames[0]).all()


def test_a_photo_that_cannot_be_decoded_is_a_failure_with_its_detail(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    sequence = Sequence("a", (Image("a.jpg", ""),))
    [decoded] = decode_sequences([sequence], LocalFolder(tmp_path), Preset.QUARTER, 3, find_decoder(DecoderName.FAST))
    assert decoded.frames == []
    assert decoded.failures[0].reason is FailureReason.CANNOT_DECODE
    assert decoded.failures[0].detail
