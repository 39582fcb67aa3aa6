"""DALI against Pillow: pixels within a grey level, the same failures, and no photo pays for its neighbour."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from inference.core.choices import GPU_DRIVER, Preset
from inference.core.sequences import FrameFailure
from inference.images import decode_dali, decode_pillow
from inference.images.decode_dali import DaliDecoder, Placement
from inference.images.decode_pillow import DecodeError
from inference.images.reading import read_image_file
from inference.storage.local import LocalFolder

if TYPE_CHECKING:
    from inference.core.sequences import Pixels

BATCH = 6
GRAIN_ROWS = 193
"""After which a photo's grain begins anew: drawing it takes longer than decoding. No multiple of a block of 8."""
PLACEMENTS = [
    pytest.param(Placement.CPU, id="cpu"),
    pytest.param(
        Placement.MIXED,
        id="mixed",
        marks=pytest.mark.skipif(not GPU_DRIVER.exists(), reason="needs an NVIDIA GPU and its driver"),
    ),
]
SMALLEST_EQUAL = {Placement.CPU: 0.99, Placement.MIXED: 0.9}
"""Share of pixels that are Pillow's. nvJPEG's IDCT is not libjpeg's: its photos differ by a grey level before the
resize already."""


@pytest.fixture(scope="module", params=PLACEMENTS)
def dali(request: pytest.FixtureRequest) -> DaliDecoder:
    return DaliDecoder(request.param, BATCH, n_threads=2)


@pytest.fixture
def n_builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every pipeline that is built from now on."""
    builds: list[int] = []
    build = DaliDecoder._build

    def counted(decoder: DaliDecoder) -> object:
        builds.append(1)
        return build(decoder)

    monkeypatch.setattr(DaliDecoder, "_build", counted)
    return builds


@cache
def photo(width: int, height: int, seed: int = 0, **options: object) -> bytes:
    """A scene with soft and hard edges and grain."""
    random = np.random.default_rng(seed)
    soft = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((width, height))
    grain = random.normal(0, 6, (GRAIN_ROWS, width, 3)).astype(np.int16)
    pixels = np.asarray(soft).astype(np.int16) + np.resize(grain, (height, width, 3))
    pixels[height // 2 : height // 2 + 40, :: max(1, width // 9)] = 255
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def broken(data: bytes, *, at: float = 0.5) -> bytes:
    """A photo with a marker amid its scan that belongs nowhere, and the right end."""
    middle = int(len(data) * at)
    return data[:middle] + b"\xff\xc0\x00\x04" + data[middle + 4 :]


def pillow_frames(photos: list[bytes]) -> list[Pixels | DecodeError]:
    return [decode_pillow.value_or_error(decode_pillow.decode, data, Preset.QUARTER) for data in photos]


def assert_same(frame: Pixels | DecodeError, expected: Pixels | DecodeError) -> None:
    assert isinstance(frame, np.ndarray)
    assert isinstance(expected, np.ndarray)
    np.testing.assert_array_equal(frame, expected)


def share_equal(frames: list[Pixels | DecodeError], expected: list[Pixels | DecodeError]) -> float:
    """Share of equal values; no difference above one grey level, the same errors."""
    n_equal = n_all = 0
    for frame, other in zip(frames, expected, strict=True):
        if isinstance(other, DecodeError) or isinstance(frame, DecodeError):
            assert str(frame) == str(other)
            continue
        assert frame.shape == other.shape
        assert frame.dtype == np.uint8
        difference = np.abs(frame.astype(int) - other)
        assert difference.max() <= 1
        n_equal += int((difference == 0).sum())
        n_all += difference.size
    return n_equal / n_all


def test_photos_of_many_sizes_in_one_call(dali: DaliDecoder) -> None:
    sizes = np.random.default_rng(2).integers([1920, 1440], [2700, 2000], (6, 2)).tolist()
    sizes += [(2048, 1536), (1920, 1440), (1920, 1080), (1300, 1000), (300, 700), (64, 48), (1930, 9000)]
    photos = [photo(width, height, seed) for seed, (width, height) in enumerate(sizes)]
    frames = dali.decode(photos, Preset.QUARTER)
    assert share_equal(frames, pillow_frames(photos)) >= SMALLEST_EQUAL[dali.placement]


def test_reference_photos(dali: DaliDecoder, reference_case: Path) -> None:
    photos = [
        data for path in sorted((reference_case / "data").rglob("*.JPG")) if len(data := path.read_bytes()) > 1000
    ]
    assert len(photos) == 37
    frames, expected = dali.decode(photos, Preset.QUARTER), pillow_frames(photos)
    assert share_equal(frames, expected) >= SMALLEST_EQUAL[dali.placement]
    exact = [index for index, data in enumerate(photos) if ratio_is_exactly_4(data)]
    assert len(exact) == 34
    share = share_equal([frames[index] for index in exact], [expected[index] for index in exact])
    assert share >= (0.9998 if dali.placement is Placement.CPU else 0.9)


def ratio_is_exactly_4(data: bytes) -> bool:
    width, height = Image.open(io.BytesIO(data)).size
    return width % 4 == height % 4 == 0 and min(width / 480, height / 360) >= 4


def test_a_frame_does_not_depend_on_its_neighbours(dali: DaliDecoder) -> None:
    photos = [photo(2048, 1536), photo(1930, 1450, 1), photo(2560, 1920, 2)]
    together = dali.decode(photos, Preset.QUARTER)
    for data, frame in zip(photos, together, strict=True):
        assert_same(dali.decode([data], Preset.QUARTER)[0], frame)


def test_every_odd_file_has_the_outcome_of_pillow(dali: DaliDecoder, shared: Path) -> None:
    odd = shared / "odd_jpegs"
    paths = [path for path in sorted(odd.iterdir()) if path.suffix != ".tsv"]
    files = [
        data for path in paths if not isinstance(data := read_image_file(LocalFolder(odd), path.name), FrameFailure)
    ]
    assert len(files) > 70
    assert share_equal(dali.decode(files, Preset.QUARTER), pillow_frames(files)) > 0.99


def test_a_damaged_photo_changes_no_neighbour(dali: DaliDecoder) -> None:
    good = [photo(2048, 1536, seed) for seed in range(5)]
    alone = dali.decode(good, Preset.QUARTER)
    damaged = broken(good[2])
    frames = dali.decode([*good[:3], damaged, *good[3:], b"\xff\xd8 nothing"], Preset.QUARTER)
    for frame, expected in zip([*frames[:3], *frames[4:6]], alone, strict=True):
        assert_same(frame, expected)
    assert share_equal(frames[3:4], pillow_frames([damaged])) > 0.99
    assert isinstance(frames[6], DecodeError)


def test_repeated_damage_builds_no_pipeline_for_each_photo(n_builds: list[int]) -> None:
    decoder = DaliDecoder(Placement.CPU, BATCH, n_threads=2)
    files = [broken(photo(1920, 1440, seed)) for seed in range(4 * BATCH)]
    assert share_equal(decoder.decode(files, Preset.QUARTER), pillow_frames(files)) > 0.99
    assert len(n_builds) <= 2
    assert decoder.n_left == 0  # the CPU does not decode them as they are either


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), AssertionError()])
def test_what_dali_cannot_decode_though_libjpeg_can_is_found_one_by_one(
    error: Exception, monkeypatch: pytest.MonkeyPatch, n_builds: list[int]
) -> None:
    decoder = DaliDecoder(Placement.CPU, BATCH, n_threads=2)
    files = [photo(1920, 1440, seed) for seed in range(3)]
    expected = decoder.decode(files, Preset.QUARTER)
    run = decoder._run_pipeline

    def fails_on_the_second(photos: list[decode_dali.Photo]) -> list[Pixels]:
        if any(one.data == files[1] for one in photos):
            raise error
        return run(photos)

    monkeypatch.setattr(decoder, "_run_pipeline", fails_on_the_second)
    frames = decoder.decode(files, Preset.QUARTER)
    assert_same(frames[0], expected[0])
    assert_same(frames[1], pillow_frames(files)[1])
    assert_same(frames[2], expected[2])
    assert len(n_builds) == 1 + 3
    assert decoder.n_left == 1


def test_preset_with_jpeg_is_applied_after_dali() -> None:
    decoder = DaliDecoder(Placement.CPU, BATCH, n_threads=1)
    data = photo(2048, 1536)
    [frame] = decoder.decode([data], Preset.QUARTER)
    [saved] = decoder.decode([data], Preset.QUARTER_JPEG)
    assert not isinstance(frame, DecodeError)
    assert_same(saved, decode_pillow.finish(frame, Preset.QUARTER_JPEG))


def test_a_decoder_that_does_not_decode_a_known_photo_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each photo would be left to the CPU."""

    def fails(_: DaliDecoder, __: list[decode_dali.Photo]) -> list[Pixels]:
        raise RuntimeError("nvJPEG: no kernel image")

    monkeypatch.setattr(DaliDecoder, "_run_pipeline", fails)
    with pytest.raises(RuntimeError, match="no kernel image"):
        DaliDecoder(Placement.CPU, BATCH, n_threads=1)

    def black(_: DaliDecoder, photos: list[decode_dali.Photo]) -> list[Pixels]:
        return [np.zeros((*one.quarter, 3), np.uint8) for one in photos]

    monkeypatch.setattr(DaliDecoder, "_run_pipeline", black)
    with pytest.raises(RuntimeError, match="must be decoded to its grey, got another answer"):
        DaliDecoder(Placement.CPU, BATCH, n_threads=1)
