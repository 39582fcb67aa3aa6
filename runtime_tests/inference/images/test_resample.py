"""The fast resize and decoder against Pillow itself: not one pixel differs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inference.core.choices import Preset
from inference.core.sequences import FrameFailure, ImageSize
from inference.images import decode_pillow, decode_turbo
from inference.images.decode_pillow import DecodeError
from inference.images.reading import read_image_file
from inference.images.resample import PRECISION_BITS, axis_kernel, resize_lanczos, vertical_first
from inference.storage.local import LocalFolder
from runtime_tests.conftest import read_only


def pillow(photo: np.ndarray, size: ImageSize) -> np.ndarray:
    return np.asarray(Image.fromarray(photo).resize((size.width, size.height), Image.Resampling.LANCZOS))


def textured(height: int, width: int, seed: int) -> np.ndarray:
    """Noise, flat areas and hard edges: all that rounding could go wrong on."""
    random = np.random.default_rng(seed)
    photo = random.integers(0, 256, (height, width, 3), np.uint8)
    photo[: height // 3] = random.integers(0, 256, 3)
    photo[:, : width // 4] = random.choice([0, 255])
    return photo


@given(height=st.integers(1, 900), width=st.integers(1, 900), seed=st.integers(0, 99), ratio=st.sampled_from([1, 3, 4]))
@settings(max_examples=200, deadline=None)
def test_every_pixel_is_pillows_at_any_size(height: int, width: int, seed: int, ratio: int) -> None:
    photo = read_only(textured(height, width, seed))
    size = ImageSize(max(1, height // ratio), max(1, width // ratio)) if seed % 2 else ImageSize(97, 131)
    np.testing.assert_array_equal(resize_lanczos(photo, size), pillow(photo, size))


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_order_of_the_passes_changes_where_pillows_does(beyond: int) -> None:
    photo = read_only(textured(150, 120, seed=3))
    size = ImageSize(150 - 2 * (120 - 90) - beyond, 90)
    assert vertical_first(ImageSize(150, 120), size) is (beyond > 0)
    np.testing.assert_array_equal(resize_lanczos(photo, size), pillow(photo, size))


@pytest.mark.parametrize(("height", "width"), [(1536, 2048), (1920, 2560), (2448, 3264), (1537, 2051), (480, 640)])
def test_every_pixel_is_pillows_at_the_sizes_of_cameras(height: int, width: int) -> None:
    photo = read_only(textured(height, width, seed=3))
    size = decode_pillow.quarter_size(ImageSize(height, width))
    np.testing.assert_array_equal(resize_lanczos(photo, size), pillow(photo, size))


@pytest.mark.parametrize(
    ("full", "size"),
    [((3000, 1), (7, 1)), ((1, 3000), (1, 7)), ((5, 3000), (97, 2)), ((2000, 3), (1, 97)), ((1, 1), (5, 700))],
)
def test_every_pixel_is_pillows_at_the_oddest_shapes(full: tuple[int, int], size: tuple[int, int]) -> None:
    photo = read_only(textured(*full, seed=3))
    np.testing.assert_array_equal(resize_lanczos(photo, ImageSize(*size)), pillow(photo, ImageSize(*size)))


@pytest.mark.parametrize(("n_in", "n_out"), [(2048, 512), (1494, 373), (1280, 512), (97, 131), (900, 1)])
def test_float32_is_within_the_tolerance_of_exact_sums(n_in: int, n_out: int, random: np.random.Generator) -> None:
    kernel = axis_kernel(n_in, n_out)
    pixels = random.choice([0, 1, 127, 254, 255], (n_in, 400)).astype(np.int64)
    for first, coefficients in zip(kernel.firsts, kernel.coefficients, strict=True):
        own = pixels[first : first + len(coefficients)]
        exact = (coefficients @ own) / 2**PRECISION_BITS  # below 2^53: no rounding in float64
        weights = (coefficients / 2**PRECISION_BITS).astype(np.float32)
        assert np.abs(weights @ own.astype(np.float32) - exact).max() < kernel.tolerance


def test_an_axis_that_float32_cannot_decide_is_refused() -> None:
    with pytest.raises(ValueError, match="must be below half a grey level, got 1 for 65535 taps"):
        axis_kernel(65_535, 1)


@pytest.mark.parametrize("preset", Preset)
def test_every_reference_photo_decodes_to_the_same_frame(preset: Preset, reference_case: Path) -> None:
    photos = sorted((reference_case / "data").rglob("*.JPG"))
    n_decoded = 0
    for path in photos:
        data = path.read_bytes()
        if len(data) > 1000:
            np.testing.assert_array_equal(decode_turbo.decode(data, preset), decode_pillow.decode(data, preset))
            n_decoded += 1
    assert n_decoded == 37


def outcome(decode: object, data: bytes) -> object:
    try:
        return decode(data, Preset.QUARTER).tobytes()  # type: ignore[operator]
    except DecodeError as error:
        return str(error)


def test_every_odd_file_has_the_same_outcome(shared: Path) -> None:
    odd = shared / "odd_jpegs"
    n_compared = 0
    for path in sorted(odd.iterdir()):
        data = read_image_file(LocalFolder(odd), path.name)
        if path.suffix == ".tsv" or isinstance(data, FrameFailure):
            continue
        expected = outcome(decode_pillow.decode, data)
        assert outcome(decode_turbo.decode, data) == expected, path.name
        assert isinstance(expected, bytes) or " at 0x" not in str(expected), "must be the same text in every run"
        n_compared += 1
    assert n_compared > 70


@given(cut=st.floats(0.02, 1), edits=st.lists(st.tuples(st.floats(0.3, 0.99), st.integers(0, 255)), max_size=4))
@settings(max_examples=100, deadline=None)
def test_damaged_photos_have_the_same_outcome(cut: float, edits: list[tuple[float, int]]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(textured(120, 160, seed=1)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    for where, value in edits:
        data[int(where * len(data))] = value
    damaged = bytes(data[: int(cut * len(data))])
    assert outcome(decode_turbo.decode, damaged) == outcome(decode_pillow.decode, damaged)
