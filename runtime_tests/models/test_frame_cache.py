"""The cache of quarter frames: the pipeline's own pixels, once; kills, damage, other presets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.decode_pillow import decode
from inference.decoding import Decoder, find_decoder
from inference.domain import CheckpointError, DecoderName, FailureReason, InterruptedRunError, Preset, Sequence
from inference.metadata import METADATA_NAME, read_metadata
from models.frame_cache import INDEX_NAME, PACK_NAME, CacheKey, CacheSize, FrameCache
from runtime_tests.running import ignore_progress

KEY = CacheKey(Preset.QUARTER, "Pillow's", 3)


def never() -> None:
    """Nothing asks the run to stop."""


@pytest.fixture(scope="module")
def sequences(season: Path) -> list[Sequence]:
    return list(read_metadata(season / METADATA_NAME).sequences.values())


class CountingDecoder:
    """Pillow, and how many photos it was asked for."""

    def __init__(self) -> None:
        self.n_photos = 0
        pillow = find_decoder(DecoderName.PILLOW)

        def decode_and_count(photos: list[bytes], preset: Preset) -> list:
            self.n_photos += len(photos)
            return pillow.decode(photos, preset)

        self.decoder: Decoder = replace(pillow, decode=decode_and_count)


def prepare(cache: FrameCache, sequences: list[Sequence], season: Path) -> tuple[CacheSize, int]:
    counting = CountingDecoder()
    size = cache.prepare(sequences, season, counting.decoder, 2, ignore_progress, never)
    return size, counting.n_photos


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[FrameCache]:
    with FrameCache(tmp_path, KEY) as opened:
        yield opened


def test_frames_are_the_pixels_of_the_pipeline(cache: FrameCache, sequences: list[Sequence], season: Path) -> None:
    prepare(cache, sequences, season)
    n_compared = 0
    for sequence in sequences:
        entry = cache.entry(sequence.seq_id)
        failed = {failure.file_name for failure in entry.failures}
        whole = [image.file_name for image in sequence.images[:3] if image.file_name not in failed]
        for name, frame in zip(whole, entry.frames, strict=True):
            np.testing.assert_array_equal(cache.read(frame), decode((season / name).read_bytes(), Preset.QUARTER))
            n_compared += 1
    assert n_compared > 20
    reasons = [failure.reason for sequence in sequences for failure in cache.entry(sequence.seq_id).failures]
    assert sorted(reasons) == [FailureReason.MISSING, FailureReason.NOT_AN_IMAGE]


def test_nothing_is_decoded_twice(tmp_path: Path, sequences: list[Sequence], season: Path) -> None:
    with FrameCache(tmp_path, KEY) as cache:
        first, n_first = prepare(cache, sequences[:5], season)
    with FrameCache(tmp_path, KEY) as cache:
        again, n_again = prepare(cache, sequences[:5], season)
        assert (again, n_again) == (first, 0)
        whole, n_rest = prepare(cache, sequences, season)
    assert n_first > 0
    assert n_rest > 0
    assert whole.n_sequences == len(sequences)
    assert whole.n_bytes == (tmp_path / KEY.folder_name / PACK_NAME).stat().st_size


def test_other_photos_under_the_same_sequence_are_decoded_again(
    cache: FrameCache, sequences: list[Sequence], season: Path
) -> None:
    long = [sequence for sequence in sequences if len(sequence.images) == 3][-1]
    prepare(cache, [long], season)
    shorter = replace(long, images=long.images[:1])
    _, n_photos = prepare(cache, [shorter], season)
    assert n_photos == 1
    assert len(cache.entry(long.seq_id).frames) == 1


def test_a_torn_line_is_dropped_and_its_sequence_decoded_again(
    tmp_path: Path, sequences: list[Sequence], season: Path
) -> None:
    with FrameCache(tmp_path, KEY) as cache:
        prepare(cache, sequences[:6], season)
    index = tmp_path / KEY.folder_name / INDEX_NAME
    index.write_bytes(index.read_bytes()[:-7])
    with FrameCache(tmp_path, KEY) as cache:
        _, n_photos = prepare(cache, sequences[:6], season)
        assert 0 < n_photos <= 3
    with FrameCache(tmp_path, KEY) as cache:
        assert prepare(cache, sequences[:6], season)[1] == 0


def test_an_interrupted_preparation_keeps_what_was_done(
    tmp_path: Path, sequences: list[Sequence], season: Path
) -> None:
    calls = []

    def stop_at_the_second_part() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise InterruptedRunError("SIGTERM", 15)

    with FrameCache(tmp_path, KEY) as cache, pytest.raises(InterruptedRunError):
        cache.prepare(sequences, season, CountingDecoder().decoder, 1, ignore_progress, stop_at_the_second_part)
    with FrameCache(tmp_path, KEY) as cache:
        _, n_photos = prepare(cache, sequences[:4], season)
        assert n_photos == 0, "the first part of four sequences"


def test_a_damaged_pack_is_noticed(tmp_path: Path, sequences: list[Sequence], season: Path) -> None:
    with FrameCache(tmp_path, KEY) as cache:
        prepare(cache, sequences[:3], season)
        frame = cache.entry(sequences[0].seq_id).frames[0]
        pack = tmp_path / KEY.folder_name / PACK_NAME
        content = bytearray(pack.read_bytes())
        content[frame.offset + frame.n_bytes // 2] ^= 1
        pack.write_bytes(content)
        with pytest.raises(CheckpointError, match=f"byte {frame.offset}: must be the frame that was written there"):
            cache.read(frame)


def test_other_frames_have_another_cache(tmp_path: Path) -> None:
    keys = [KEY, replace(KEY, preset=Preset.QUARTER_JPEG), replace(KEY, n_frames=1), replace(KEY, pixels="dali")]
    assert len({key.folder_name for key in keys}) == 4
    with FrameCache(tmp_path, KEY):
        pass
    index = tmp_path / KEY.folder_name / INDEX_NAME
    index.write_bytes(index.read_bytes().replace(b"quarter", b"quartes"))
    with pytest.raises(CheckpointError, match="must be the index of"):
        FrameCache(tmp_path, KEY)
