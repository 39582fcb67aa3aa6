"""Folders of photos -> cameras."""

from __future__ import annotations

import pytest

from inference.core.sequences import Image, Sequence
from inference.dataset.camera_folders import camera_folders, cameras_of, folder_of, plain_path


@pytest.mark.parametrize(
    ("folders", "cameras"),
    [
        (["hill/DCIM/100RECNX", "hill/DCIM/101RECNX", "river/DCIM/100EK113"], ["hill", "hill", "river"]),
        (["DCIM/100RECNX", "DCIM", ""], [".", ".", "."]),
        (["hill/dcim/100recnx", "hill/DCIM"], ["hill", "hill"]),
        (["hill/100RECNX", "hill/101RECNX", "hill"], ["hill", "hill", "hill"]),
        (["hill/100RECNX/night"], ["hill/100RECNX/night"]),
        # What people called different things is never one camera.
        (["101NORTH", "102SOUTH"], ["101NORTH", "102SOUTH"]),
        (["2020/101NORTH", "2020/102SOUTH"], ["2020/101NORTH", "2020/102SOUTH"]),
        (["101North", "001_bush", "20190612"], ["101North", "001_bush", "20190612"]),
        (["a/101North", "a/001_BUSH", "a/20190612"], ["a/101North", "a/001_BUSH", "a/20190612"]),
        (["100RECNX", "101RECNX"], ["100RECNX", "101RECNX"]),
        (["S1/B04/B04_R1"], ["S1/B04/B04_R1"]),
    ],
)
def test_folders_that_cameras_make_are_not_cameras(folders: list[str], cameras: list[str]) -> None:
    assert [camera_folders(folders)[folder] for folder in folders] == cameras


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("./a//b.jpg", "a/b.jpg"),
        ("a/./b.jpg", "a/b.jpg"),
        ("/a/b.jpg", "/a/b.jpg"),
        ("../b.jpg", "../b.jpg"),
        ("b", "b"),
    ],
)
def test_parts_of_a_path_that_say_nothing_are_left_out(path: str, plain: str) -> None:
    assert plain_path(path) == plain
    assert folder_of(path) == plain.rpartition("/")[0]


def test_sequences_are_of_cameras_and_not_of_the_folders_that_they_make() -> None:
    names = ("hill/DCIM/100RECNX/1.JPG", "hill/DCIM/101RECNX/2.JPG", "river/DCIM/100RECNX/3.JPG")
    assert list(cameras_of(Sequence(name, (Image(name, ""),)) for name in names).values()) == ["hill", "hill", "river"]
