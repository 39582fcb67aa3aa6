"""The camera's clock, against Pillow's reading of the same bytes."""

from __future__ import annotations

import io
import struct
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from inference.images.exif import HEAD_BYTES, moment_taken

EXIF_IFD, ORIGINAL, DIGITIZED, CHANGED = 0x8769, 36867, 36868, 306


def photo(order: str = "<", **moments: str) -> bytes:
    """A JPEG with some of `original`, `digitized`, `changed`, as Pillow writes them."""
    exif = Image.Exif()
    exif.endian = order
    if "changed" in moments:
        exif[CHANGED] = moments["changed"]
    inner = exif.get_ifd(EXIF_IFD)
    for name, tag in (("original", ORIGINAL), ("digitized", DIGITIZED)):
        if name in moments:
            inner[tag] = moments[name]
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


EARLY, LATE, LATER = "2010:08:19 18:24:57", "2012:01:02 03:04:05", "2020:12:31 23:59:59"


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_time_it_was_taken_comes_before_the_times_that_it_was_digitised_and_changed(order: str) -> None:
    assert moment_taken(photo(order, original=EARLY, digitized=LATE, changed=LATER)) == datetime(
        2010, 8, 19, 18, 24, 57
    )
    assert moment_taken(photo(order, digitized=LATE, changed=LATER)) == datetime(2012, 1, 2, 3, 4, 5)
    assert moment_taken(photo(order, changed=LATER)) == datetime(2020, 12, 31, 23, 59, 59)


@pytest.mark.parametrize("nonsense", ["0000:00:00 00:00:00", "2010:13:01 00:00:00", "yesterday", "    :  :     :  :  "])
def test_a_clock_that_was_never_set_tells_nothing_and_the_next_one_is_asked(nonsense: str) -> None:
    assert moment_taken(photo(original=nonsense)) is None
    assert moment_taken(photo(original=nonsense, changed=LATE)) == datetime(2012, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"this is no photo", photo()])
def test_what_has_no_exif_has_no_time(data: bytes) -> None:
    assert moment_taken(data) is None


def test_a_second_exif_block_is_asked_where_the_first_is_none() -> None:
    data = photo(original=EARLY)
    broken = b"\xff\xe1" + struct.pack(">H", 2 + 10) + b"Exif\0\0XXXX"
    assert moment_taken(data[:2] + broken + data[2:]) == datetime(2010, 8, 19, 18, 24, 57)


@given(st.data())
def test_damaged_exif_never_raises(data: st.DataObject) -> None:
    whole = bytearray(photo(original=EARLY, changed=LATE))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(2, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    moment = moment_taken(bytes(whole[:cut]))
    assert moment is None or isinstance(moment, datetime)


def test_real_photos_have_the_time_that_pillow_reads(reference_case: Path) -> None:
    n_dated = 0
    for path in sorted((reference_case / "data").rglob("*.JPG")):
        try:
            with Image.open(path) as image:
                exif = image.getexif()
                text = exif.get_ifd(EXIF_IFD).get(ORIGINAL) or exif.get(CHANGED)
        except OSError:
            text = None  # the two files that are no images
        expected = datetime.strptime(text, "%Y:%m:%d %H:%M:%S") if text else None
        assert moment_taken(path.read_bytes()[:HEAD_BYTES]) == expected, path.name
        n_dated += expected is not None
    assert n_dated == 34


def with_entries(*entries: tuple[int, bytes]) -> bytes:
    """A JPEG whose first directory has tags `CHANGED` of these types and texts, in this order."""
    texts = [text + b"\0" for _, text in entries]
    first = 8 + 2 + 12 * len(entries) + 4
    places = [first + sum(map(len, texts[:n])) for n in range(len(entries))]
    directory = b"".join(
        struct.pack("<HHII", CHANGED, kind, len(text), place)
        for (kind, _), text, place in zip(entries, texts, places, strict=True)
    )
    tiff = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4) + b"".join(texts)
    block = b"Exif\0\0" + tiff
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", 2 + len(block)) + block + photo()[2:]


def test_only_a_text_is_a_time_and_the_first_of_two_entries_counts() -> None:
    text, undefined = 2, 7
    assert moment_taken(with_entries((text, EARLY.encode()))) == datetime(2010, 8, 19, 18, 24, 57)
    assert moment_taken(with_entries((undefined, EARLY.encode()))) is None
    assert moment_taken(with_entries((text, EARLY.encode()), (text, LATE.encode()))) == datetime(
        2010, 8, 19, 18, 24, 57
    )
