"""The reference decoder."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from inference.core.choices import Preset
from inference.core.sequences import FrameFailure, ImageSize, Pixels
from inference.images import decode_pillow, decode_turbo
from inference.images.decode_pillow import DecodeError, decode, quarter_size
from inference.images.reading import read_image_file
from inference.storage.local import LocalFolder

LITTLE_MEMORY = """
import resource, sys
from inference.core.choices import DecoderName, Preset
from inference.images.decoder import find_decoder

decoder, data = find_decoder(DecoderName(sys.argv[1])), sys.stdin.buffer.read()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (20 << 20),) * 2)  # a photo of 4000x4000 takes 48 MB
print(decoder.decode([data], Preset.QUARTER))
"""


def photo(random: np.random.Generator, width: int, height: int, mode: str = "RGB") -> Image.Image:
    small = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, file_format: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("full", "expected"),
    [
        (ImageSize(1536, 2048), ImageSize(384, 512)),
        (ImageSize(1920, 2560), ImageSize(480, 640)),
        (ImageSize(2448, 3264), ImageSize(612, 816)),
        (ImageSize(1440, 1920), ImageSize(360, 480)),
        (ImageSize(1439, 1920), ImageSize(384, 512)),  # 359 rows
        (ImageSize(1440, 1919), ImageSize(384, 512)),  # 479 columns
        (ImageSize(1443, 1923), ImageSize(360, 480)),  # rounded down
        (ImageSize(1, 1), ImageSize(384, 512)),
    ],
)
def test_quarter_size_falls_back_to_384x512(full: ImageSize, expected: ImageSize) -> None:
    assert quarter_size(full) == expected


def test_frame_is_what_pillow_makes_of_the_photo(random: np.random.Generator) -> None:
    data = encoded(photo(random, 2048, 1536))
    expected = Image.open(io.BytesIO(data)).convert("RGB").resize((512, 384), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(decode(data, Preset.QUARTER), np.asarray(expected))


def test_jpeg_preset_saves_and_loads_the_quarter_frame(random: np.random.Generator) -> None:
    data = encoded(photo(random, 2048, 1536))
    quarter = Image.fromarray(decode(data, Preset.QUARTER))
    expected = Image.open(io.BytesIO(encoded(quarter, quality=75, subsampling="4:2:0")))
    np.testing.assert_array_equal(decode(data, Preset.QUARTER_JPEG), np.asarray(expected))


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_other_colour_spaces_become_rgb(mode: str, random: np.random.Generator) -> None:
    image = photo(random, 640, 480, mode)
    frame = decode(encoded(image), Preset.QUARTER)
    assert frame.shape == (384, 512, 3)
    assert frame.dtype == np.uint8


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "1", "I;16"])
def test_png_of_any_mode_becomes_rgb(mode: str, random: np.random.Generator) -> None:
    image = (
        Image.fromarray(random.integers(0, 65535, (48, 64), dtype=np.uint16))
        if mode == "I;16"
        else photo(random, 64, 48, mode)
    )
    assert decode(encoded(image, "PNG"), Preset.QUARTER).shape == (384, 512, 3)


def test_exif_orientation_is_ignored(random: np.random.Generator) -> None:
    image = photo(random, 2048, 1536)
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(
        decode(encoded(image, exif=exif), Preset.QUARTER), decode(encoded(image), Preset.QUARTER)
    )


def test_truncated_photo_is_completed_as_the_reference_did(random: np.random.Generator) -> None:
    image = photo(random, 2048, 1536)
    data = encoded(image)
    frame = decode(data[: len(data) // 2], Preset.QUARTER)
    whole = decode(data, Preset.QUARTER)
    np.testing.assert_array_equal(frame[:100], whole[:100])
    assert (frame[-50:] == 128).all()


@given(edits=st.dictionaries(st.integers(0, 250), st.integers(0, 255), max_size=8))
@settings(max_examples=150, deadline=None)
def test_damaged_exif_does_not_lose_the_photo(edits: dict[int, int]) -> None:
    image = photo(np.random.default_rng(1), 64, 48)
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x011A] = "camera", 6, 72.0
    data = encoded(image, exif=exif)
    start = data.index(b"Exif")
    length = int.from_bytes(data[start - 2 : start], "big") - 2
    damaged = bytearray(data)
    for position, value in edits.items():
        damaged[start + position % length] = value
    np.testing.assert_array_equal(decode(bytes(damaged), Preset.QUARTER), decode(encoded(image), Preset.QUARTER))


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe1\x00", b"\x89PNG\r\n\x1a\n", b"GIF89a" + b"\0" * 50]
)
def test_what_is_no_photo_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data, Preset.QUARTER)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("name", ["pillow", "fast"])
def test_too_little_memory_is_no_failure_of_a_photo(name: str, kind: str) -> None:
    data = encoded(Image.new("RGB", (4000, 4000)), kind)
    command = [sys.executable, "-c", LITTLE_MEMORY, name]
    result = subprocess.run(command, input=data, capture_output=True, check=False, timeout=60)
    assert (result.returncode, result.stdout) == (1, b"")
    assert b"MemoryError" in result.stderr.splitlines()[-1]


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def header(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    return chunk(b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bits, colour, 0, 0, 0]))


PIXELS = chunk(b"IDAT", zlib.compress(bytes(1000)))
PARTS = (
    header(500, 400),
    header(500, 400, bits=3),  # unknown: Pillow keeps the size, but no mode
    header(8000, 8000),
    header(100_000, 2),
    PIXELS,
    chunk(b"fdAT", bytes(3)),
    chunk(b"fdAT", bytes(4) + zlib.compress(bytes(1000))),
    chunk(b"tEXt", b"a\0b"),
    chunk(b"IEND", b""),
)
"""Of a PNG, in orders that no standard allows."""


@pytest.mark.parametrize("decoder", [decode, decode_turbo.decode])
def test_whatever_the_order_of_its_headers_a_file_over_the_limits_is_not_decoded(
    decoder: Callable[[bytes, Preset], Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[int, int]] = []

    def convert(image: Image.Image, mode: str) -> Image.Image:
        opened.append(image.size)
        return Image.new(mode, (500, 400))

    monkeypatch.setattr(PngImageFile, "convert", convert)
    rng, n_refused = Random(5), 0  # noqa: S311  # a fixed seed
    for _ in range(400):
        data = b"\x89PNG\r\n\x1a\n" + b"".join(rng.choices(PARTS, k=6)) + PIXELS
        try:
            decoder(data, Preset.QUARTER)
        except DecodeError as error:
            n_refused += "too many pixels: 8000 x 8000" in str(error) or "a side is too long: 100000 x 2" in str(error)
    assert n_refused > 20
    assert set(opened) == {(500, 400)}


def test_a_file_that_takes_too_long_is_a_decode_error(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = b"profile\0\0" + zlib.compress(bytes(1 << 20))
    part = len(profile).to_bytes(4, "big") + b"iCCP" + profile + zlib.crc32(b"iCCP" + profile).to_bytes(4, "big")
    plain = encoded(Image.new("RGB", (64, 48)), "PNG")
    monkeypatch.setattr(decode_pillow, "MAX_CPU_SECONDS", 0.2)
    assert decode(plain[:33] + part + plain[33:], Preset.QUARTER).shape == (384, 512, 3)
    with pytest.raises(DecodeError, match=r"must be decoded within 0.2 s of computing time"):
        decode(plain[:33] + part * 20_000 + plain[33:], Preset.QUARTER)


def test_odd_files_decode_where_pillow_decodes_them_and_never_raise_anything_else(shared: Path) -> None:
    """INDEX.tsv says what Pillow made of each file when its EXIF was read as well, which no frame needs."""
    odd = shared / "odd_jpegs"
    lines = [line.split("\t") for line in (odd / "INDEX.tsv").read_text().splitlines()]
    column = lines[0].index("pillow_load_truncated")
    different = []
    for line in lines[1:]:
        data = read_image_file(LocalFolder(odd), line[0])
        decoded = False
        if not isinstance(data, FrameFailure):
            try:
                decoded = decode(data, Preset.QUARTER).ndim == 3
            except DecodeError:
                decoded = False
        if decoded != line[column].startswith("ok"):
            different.append((line[0], decoded, line[column]))
    assert len(different) == 3
    for name, decoded, outcome in different:
        assert decoded, name
        assert outcome.startswith(("SyntaxError: not a TIFF file", "error: unpack requires")), (name, outcome)
