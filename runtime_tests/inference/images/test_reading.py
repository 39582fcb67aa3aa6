"""Paths and headers that must not reach a decoder."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from inference.core.sequences import FailureReason, FrameFailure
from inference.images import reading
from inference.images.reading import read_image_file, refuse_header
from inference.storage import local


def jpeg(size: tuple[int, int] = (16, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "JPEG")
    return buffer.getvalue()


def png(size: tuple[int, int] = (16, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "PNG")
    return buffer.getvalue()


def reason(data_folder: Path, name: str) -> FailureReason | None:
    result = read_image_file(data_folder, name)
    return result.reason if isinstance(result, FrameFailure) else None


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "ok.jpg").write_bytes(jpeg())
    (tmp_path / "secret.jpg").write_bytes(jpeg())
    (tmp_path / "data-too").mkdir()
    (tmp_path / "data-too" / "secret.jpg").write_bytes(jpeg())
    return folder


def test_photos_below_the_folder_are_read_whole(data: Path) -> None:
    assert read_image_file(data, "sub/ok.jpg") == (data / "sub" / "ok.jpg").read_bytes()


def test_links_inside_the_folder_are_followed(data: Path) -> None:
    (data / "link.jpg").symlink_to("sub/ok.jpg")
    assert reason(data, "link.jpg") is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../secret.jpg",
        "sub/../../secret.jpg",
        "sub/../sub/ok.jpg",
        "a\0b.jpg",
        "sub\\ok.jpg",
        "/etc/passwd",
        "\ud800",
    ],
)
def test_paths_that_leave_the_folder_are_not_opened(name: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "read_regular_file", lambda path: pytest.fail(f"opened {path}"))
    assert reason(data, name) is FailureReason.UNSAFE_PATH


@pytest.mark.parametrize("target", ["../secret.jpg", "../data-too/secret.jpg", "/etc/passwd"])
def test_links_that_leave_the_folder_are_not_opened(target: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "link.jpg").symlink_to(target)
    monkeypatch.setattr(reading, "read_regular_file", lambda path: pytest.fail(f"opened {path}"))
    assert reason(data, "link.jpg") is FailureReason.UNSAFE_PATH


@pytest.mark.parametrize("target", ["loop/../way_out.jpg", "nowhere/../loop/../way_out.jpg"])
def test_a_loop_of_links_hides_no_way_out(target: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "loop").symlink_to("loop")
    (data / "way_out.jpg").symlink_to("../secret.jpg")
    (data / "link.jpg").symlink_to(target)
    monkeypatch.setattr(reading, "read_regular_file", lambda path: pytest.fail(f"opened {path}"))
    assert reason(data, "link.jpg") is FailureReason.UNSAFE_PATH


def test_a_data_folder_that_is_a_link_itself_is_fine(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mounted").symlink_to(data)
    assert reason(tmp_path / "mounted", "sub/ok.jpg") is None


def test_what_is_no_readable_file_is_told_apart(data: Path) -> None:
    os.mkfifo(data / "pipe.jpg")
    (data / "empty.jpg").touch()
    (data / "text.jpg").write_text("this is no photo")
    (data / "loop.jpg").symlink_to("loop.jpg")
    assert reason(data, "nowhere.jpg") is FailureReason.MISSING
    assert reason(data, "sub") is FailureReason.NOT_A_FILE
    assert reason(data, "pipe.jpg") is FailureReason.NOT_A_FILE
    assert reason(data, "empty.jpg") is FailureReason.EMPTY_FILE
    assert reason(data, "text.jpg") is FailureReason.NOT_AN_IMAGE
    assert reason(data, "loop.jpg") is FailureReason.UNREADABLE
    assert reason(data, "x" * 300) is FailureReason.UNREADABLE


def test_a_file_over_the_limit_is_not_read(data: Path) -> None:
    with (data / "huge.jpg").open("wb") as file:
        file.write(jpeg())
        file.truncate(local.MAX_FILE_BYTES + 1)
    assert reason(data, "huge.jpg") is FailureReason.TOO_LARGE


def test_headers_that_announce_too_much_are_refused() -> None:
    sof = jpeg().index(b"\xff\xc0")
    bomb = bytearray(jpeg())
    bomb[sof + 5 : sof + 9] = (20_000).to_bytes(2, "big") * 2
    assert refuse_header(bytes(bomb)) is FailureReason.TOO_MANY_PIXELS
    flat = bytearray(png())
    flat[16:24] = (10_000).to_bytes(4, "big") * 2
    assert refuse_header(bytes(flat)) is FailureReason.TOO_MANY_PIXELS
    scans = b"\xff\xda\x00\x02" * 300
    assert refuse_header(jpeg()[:-2] + scans + jpeg()[-2:]) is FailureReason.TOO_MANY_SCANS


def test_what_is_no_scan_is_not_counted_as_one() -> None:
    scans = b"\xff\xda\x00\x02" * 300
    comment = b"\xff\xfe" + (len(scans) + 2).to_bytes(2, "big") + scans
    assert refuse_header(jpeg() + scans) is None  # behind the end of the photo, as in photos with a film
    assert refuse_header(jpeg()[:2] + comment + jpeg()[2:]) is None


def test_the_header_that_counts_is_the_one_that_pillow_takes() -> None:
    large = (20_000).to_bytes(2, "big") * 2
    frame = b"\xff\xc0\x00\x11\x08" + large + b"\x03" + bytes(9)
    start = jpeg().index(b"\xff\xc0")
    hidden = jpeg()[:start] + b"\xff\xf0\x00\x20" + jpeg()[start : start + 19] + frame + jpeg()[start + 19 :]
    assert refuse_header(hidden) is FailureReason.TOO_MANY_PIXELS
    assert refuse_header(jpeg()[:start] + frame + jpeg()[start:]) is None
    chunk = b"\x00\x00\x00\x08teXt" + bytes(12)
    flat = bytearray(png())
    flat[16:24] = (10_000).to_bytes(4, "big") * 2
    assert refuse_header(bytes(flat[:8] + chunk + flat[8:])) is FailureReason.TOO_MANY_PIXELS
    assert refuse_header(png()[:8] + b"\x00\x00\x00\x08teXt" + large * 3 + png()[8:]) is None


@pytest.mark.parametrize("data", [jpeg(), png(), jpeg((3264, 2448)), jpeg()[:200], b"\xff\xd8", b"\x89PNG\r\n\x1a\n"])
def test_headers_within_the_limits_go_to_the_decoder(data: bytes) -> None:
    assert refuse_header(data) is None


def test_every_odd_file_is_screened_without_an_error(shared: Path) -> None:
    odd = shared / "odd_jpegs"
    names = [path.name for path in odd.iterdir() if path.suffix != ".tsv"]
    assert len(names) == 103
    refused = {reason(odd, name) for name in names}
    assert FailureReason.TOO_MANY_PIXELS in refused
    assert FailureReason.TOO_MANY_SCANS in refused
