"""The burnt-in line, against the rules of the published program written out line by line in `naive.black_out`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.preprocessing.info_strip import black_out_strip
from runtime_tests import naive
from runtime_tests.conftest import read_only

GREYS = st.sampled_from([0, 120, 200, 201, 210, 220, 221, 249, 250, 251, 255])
HEIGHTS = st.sampled_from([96, 355, 361, 366, 384, 450, 451, 459, 463, 480, 612])


@st.composite
def striped_frames(draw: st.DrawFn) -> npt.NDArray[np.uint8]:
    """Frames whose bottom is painted in patches of the greys that the rules ask for."""
    n_frames, height, width = draw(st.integers(1, 3)), draw(HEIGHTS), draw(st.sampled_from([50, 115, 480, 512, 816]))
    frames = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 256, (n_frames, height, width, 3), np.uint8)
    for _ in range(draw(st.integers(0, 4))):
        top = draw(st.sampled_from([340, 355, 358, 362, 364, 457, 461]))
        left, right = sorted((draw(st.sampled_from([0, 60, 100, 130])), draw(st.sampled_from([60, 100, 330, 900]))))
        frames[:, top:, left:right] = draw(GREYS)
    return read_only(frames)


@given(frames=striped_frames())
@settings(max_examples=300, deadline=None)
def test_strip_is_blackened_as_the_rules_say(frames: npt.NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(black_out_strip(frames), np.stack(naive.black_out(list(frames))))


def grey_frame(height: int, top: int, grey: int, right: int = 512) -> npt.NDArray[np.uint8]:
    frames = np.full((2, height, 512, 3), 90, np.uint8)
    frames[:, top:, :right] = grey
    return read_only(frames)


@pytest.mark.parametrize(
    ("height", "top", "grey", "black_rows_from", "black_columns"),
    [
        (384, 355, 255, 355, slice(None)),
        (480, 455, 255, 458, slice(None)),
        (384, 360, 210, 363, slice(None, 110)),
        (384, 360, 210, 363, slice(330, None)),
        (480, 455, 210, 458, slice(None, 120)),
        (480, 455, 210, 458, slice(460, None)),
    ],
)
def test_each_kind_of_strip_is_found(
    height: int, top: int, grey: int, black_rows_from: int, black_columns: slice
) -> None:
    masked = black_out_strip(grey_frame(height, top, grey))
    assert (masked[:, black_rows_from:, black_columns] == 0).all()
    assert (masked[:, : min(black_rows_from, 355)] == 90).all()


def test_narrow_grey_strip_keeps_more_columns() -> None:
    masked = black_out_strip(grey_frame(384, 360, 210, right=45))
    assert (masked[:, 363:, :70] == 0).all()
    assert (masked[:, 363:, 70:330] == 90).all()


def test_a_photo_without_strip_comes_back_as_it_is(random: np.random.Generator) -> None:
    frames = read_only(random.integers(0, 199, (3, 480, 640, 3), np.uint8))
    assert black_out_strip(frames) is frames
