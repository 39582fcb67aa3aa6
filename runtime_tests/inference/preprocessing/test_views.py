"""Frames, their mean, what moved between them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inference.core.sequences import ImageSize, View
from inference.preprocessing.views import make_views, mean_and_background, same_size
from runtime_tests.conftest import read_only

SIZE = ImageSize(36, 48)
ALL = [(view, SIZE) for view in View]


@given(frames=hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(3), st.just(5), st.just(3))))
@settings(max_examples=50)
def test_mean_and_background_are_what_loops_make_them(frames: npt.NDArray[np.uint8]) -> None:
    mean, background = mean_and_background(read_only(frames))
    for r, c, channel in np.ndindex(3, 5, 3):
        values = [int(frame[r, c, channel]) for frame in frames]
        average = sum(values) / len(values)
        assert mean[r, c, channel] == pytest.approx(average, abs=1e-12)
        moved = min(255.0, sum(abs(value - average) for value in values))
        assert background[r, c, channel] == pytest.approx(moved, abs=1e-12)


def test_background_is_black_when_nothing_moves(random: np.random.Generator) -> None:
    frame = random.integers(0, 256, (20, 30, 3), np.uint8)
    _, background = mean_and_background(read_only(np.stack([frame, frame, frame])))
    assert background.max() < 1e-12


def test_frames_are_resized_in_uint8_and_the_others_in_float64(random: np.random.Generator) -> None:
    frames = read_only(random.integers(0, 256, (3, 384, 512, 3), np.uint8))
    views = make_views(frames, ALL)
    for k in range(3):
        np.testing.assert_array_equal(views[View.FRAME, SIZE][k], cv2.resize(frames[k], (48, 36)))
    mean = frames.astype(np.float64).mean(axis=0)
    np.testing.assert_array_equal(views[View.MEAN, SIZE], cv2.resize(mean, (48, 36)).astype(np.float32))
    moved = np.clip(np.abs(frames - mean).sum(axis=0), 0, 255)
    np.testing.assert_allclose(views[View.BACKGROUND, SIZE], cv2.resize(moved, (48, 36)), atol=2e-5)
    assert {view.dtype for view in views.values()} == {np.dtype(np.uint8), np.dtype(np.float32)}


def test_sequence_with_one_frame_has_only_frame_views(random: np.random.Generator) -> None:
    views = make_views(read_only(random.integers(0, 256, (1, 96, 128, 3), np.uint8)), ALL)
    assert list(views) == [(View.FRAME, SIZE)]


def test_views_that_no_network_needs_are_not_made(random: np.random.Generator) -> None:
    frames = read_only(random.integers(0, 256, (2, 96, 128, 3), np.uint8))
    assert list(make_views(frames, [(View.MEAN, SIZE)])) == [(View.MEAN, SIZE)]


def test_later_frames_take_the_size_of_the_first(random: np.random.Generator) -> None:
    frames = [random.integers(0, 256, (*size, 3), np.uint8) for size in ((384, 512), (480, 640), (384, 512))]
    stacked, n_resized = same_size([read_only(frame) for frame in frames])
    assert n_resized == 1
    np.testing.assert_array_equal(stacked[0], frames[0])
    np.testing.assert_array_equal(stacked[1], cv2.resize(frames[1], (512, 384), interpolation=cv2.INTER_LINEAR))
    np.testing.assert_array_equal(stacked[2], frames[2])
