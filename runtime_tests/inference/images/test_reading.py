"""Paths and headers that must not reach a decoder."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from inference.core.sequences import FailureReason, FrameFailure
from inference.images.reading import MAX_PIXELS, MAX_SEGMENTS, MAX_SIDE, is_cut_short, read_image_file, refuse_header
from inference.storage.local import LocalFolder
from runtime_tests.memory_storage import MemoryStorage


def jpeg(size: tuple[int, int] = (16, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "JPEG")
    return buffer.getvalue()


def png(size: tuple[int, int] = (16, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "PNG")
    return buffer.getvalue()


def reason(folder: Path, name: str) -> FailureReason | None:
    result = read_image_file(LocalFolder(folder), name)
    return result.reason if isinstance(result, FrameFailure) else None


def test_bytes_that_are_no_photo_are_refused_and_others_are_handed_on() -> None:
    storage = MemoryStorage({"ok.jpg": jpeg(), "text.jpg": b"this is no photo", "bad.jpg": FailureReason.UNREADABLE})
    assert read_image_file(storage, "ok.jpg") == jpeg()
    assert read_image_file(storage, "text.jpg") == FrameFailure("text.jpg", FailureReason.NOT_AN_IMAGE)
    assert read_image_file(storage, "bad.jpg") == FrameFailure("bad.jpg", FailureReason.UNREADABLE)


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


def test_a_photo_without_its_end_is_cut_short_wherever_that_happened() -> None:
    thumbnail = b"\xff\xe1" + (len(jpeg()) + 2).to_bytes(2, "big") + jpeg()
    for photo in (jpeg(), jpeg()[:2] + thumbnail + jpeg()[2:], png()):
        assert not is_cut_short(photo)
        assert not is_cut_short(photo + bytes(4096)), "cameras pad files"
        start = 8 if photo.startswith(b"\x89PNG") else 2
        for n_bytes in range(start, len(photo) - 4):
            assert is_cut_short(photo[:n_bytes]), n_bytes


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


def test_the_last_header_of_a_png_counts() -> None:
    bomb, header = bytearray(png()[8:33]), png()[8:33]
    bomb[8:16] = (10_000).to_bytes(4, "big") * 2
    assert refuse_header(png()[:8] + header + bomb + png()[33:]) is FailureReason.TOO_MANY_PIXELS
    assert refuse_header(png()[:8] + bomb + header + png()[33:]) is None


def test_the_limit_of_the_pixels_itself_is_allowed() -> None:
    flat = bytearray(png())
    for height, refused in ((10_000, None), (10_001, FailureReason.TOO_MANY_PIXELS)):
        flat[16:24] = (MAX_PIXELS // 10_000).to_bytes(4, "big") + height.to_bytes(4, "big")
        assert refuse_header(bytes(flat)) is refused


@pytest.mark.parametrize("place", [16, 20])
def test_the_limit_of_a_side_itself_is_allowed(place: int) -> None:
    flat = bytearray(png())
    for side, refused in ((MAX_SIDE, None), (MAX_SIDE + 1, FailureReason.TOO_LONG)):
        flat[place : place + 4] = side.to_bytes(4, "big")
        assert refuse_header(bytes(flat)) is refused


def test_large_photos_may_have_fewer_scans() -> None:
    large = bytearray(jpeg())
    start = large.index(b"\xff\xc0")
    large[start + 5 : start + 9] = (5_000).to_bytes(2, "big") + (10_000).to_bytes(
        2, "big"
    )  # 20 scans of 50 MP are 1 GP
    for n_more, refused in ((19, None), (20, FailureReason.TOO_MANY_SCANS)):
        assert refuse_header(bytes(large[:-2]) + b"\xff\xda\x00\x02" * n_more + b"\xff\xd9") is refused


def test_the_number_of_segments_and_chunks_is_limited() -> None:
    comment, text = b"\xff\xfe\x00\x02", b"\x00\x00\x00\x00tEXt" + bytes(4)
    for n, refused in ((MAX_SEGMENTS - 20, None), (MAX_SEGMENTS, FailureReason.TOO_MANY_SEGMENTS)):
        assert refuse_header(jpeg()[:2] + comment * n + jpeg()[2:]) is refused
        assert refuse_header(png()[:33] + text * n + png()[33:]) is refused
        assert refuse_header(png()[:-12] + text * n + png()[-12:]) is refused  # Pillow reads them behind the pixels
    assert refuse_header(png() + text * MAX_SEGMENTS) is None  # and nothing behind the end
