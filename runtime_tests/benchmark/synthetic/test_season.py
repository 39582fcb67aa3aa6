"""Synthetic seasons and the demo."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.synthetic.info_strips import Strip, burn_in
from benchmark.synthetic.plan import DrawnBurst, plan_rolls
from benchmark.synthetic.season import SeasonOptions, draw_burst, encode, write_season, write_seasons
from benchmark.synthetic.species import SEEN_ONCE, SPECIES
from inference.core.errors import InputError, UsageError
from inference.core.files import sha256_of_file
from inference.core.labels import CLASS_PRIORS, EMPTY, LABELS
from inference.core.sequences import ImageSize
from inference.dataset.label_tables import read_labels
from inference.dataset.metadata import plan_sequences, read_metadata, read_submission_format
from inference.dataset.photo_index import find_photos
from inference.preprocessing.info_strip import find_strip
from runtime_tests.tables import rows_of

HERE = Path(__file__).parent
SIZE = ImageSize(240, 320)
UNREADABLE = (200, 60, 60)
_HEADER = b"IHDR" + struct.pack(">IIBBBBB", 15_597_571, 3, 8, 2, 0, 0, 0)
PNG_OF_15_MILLION_COLUMNS = (
    b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + _HEADER + struct.pack(">I", zlib.crc32(_HEADER))
)


def plan_bursts(n_sequences: int, n_cameras: int, seed: int) -> list[DrawnBurst]:
    return [burst for roll in plan_rolls(n_sequences, n_cameras, seed) for burst in roll]


def hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.timing
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_nothing_goes_on_drawing_when_it_was_stopped(number: signal.Signals, code: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hakuna", "synth", "season", "--sequences", "5000", "--workers", "2"]
    # Where the tests themselves run in the background of a shell, SIGINT is ignored, and children inherit that.
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    program = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, earlier)
    with program:
        try:
            wait_until(lambda: any(tmp_path.rglob("*.JPG")))
            workers = [int(pid) for pid in Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()]
            assert len(workers) >= 2
            program.send_signal(number)
            errors = program.communicate(timeout=20)[1]
            assert program.returncode == code
            assert "Traceback" not in errors
            wait_until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_season(tmp_path / name, n_sequences=6, n_cameras=2, size=SIZE, seed=seed)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert hashes(tmp_path / "a") != hashes(tmp_path / "c")


def test_a_season_is_in_the_competitions_format(tmp_path: Path) -> None:
    write_season(tmp_path, n_sequences=30, n_cameras=4, size=SIZE, seed=1)
    plan = plan_sequences(
        read_metadata(tmp_path / "test_metadata.csv"), read_submission_format(tmp_path / "submission_format.csv")
    )
    labels = read_labels(tmp_path / "test_labels.csv")
    assert labels.seq_ids == tuple(sequence.seq_id for sequence in plan.sequences)
    assert (labels.values.sum(axis=1) >= 1).all()
    assert (labels.values.sum(axis=1)[labels.values[:, EMPTY] == 1] == 1).all()
    assert (plan.n_without_metadata, plan.n_not_in_format, plan.n_duplicate_rows) == (0, 0, 0)
    for sequence in plan.sequences:
        for image in sequence.images:
            with Image.open(tmp_path / image.file_name) as photo:
                assert photo.size == (320, 240)


def test_shares_are_those_of_the_real_seasons() -> None:
    """docs/explanation/published.md#priors, within four standard deviations of what comes in visits of several bursts."""
    bursts = plan_bursts(60_000, 40, seed=3)
    assert len(bursts) == 60_000
    assert abs(np.mean([burst.n_frames for burst in bursts]) - 2.65) < 0.02
    assert abs(np.mean([not burst.labels for burst in bursts]) - CLASS_PRIORS["empty"]) < 4 * 0.43 / 60_000**0.5
    for label in ("wildebeest", "zebra", "gazellethomsons", "buffalo", "elephant", "giraffe"):
        share = np.mean([label in burst.labels for burst in bursts])
        # Where there is an animal the priors of all classes add up to more than one: sequences show several.
        expected = (
            CLASS_PRIORS[label] * (1 - CLASS_PRIORS["empty"]) / (sum(CLASS_PRIORS.values()) - CLASS_PRIORS["empty"])
        )
        assert share == pytest.approx(expected, rel=0.2), label
    assert {label for burst in bursts for label in burst.labels} <= set(SPECIES)
    assert set(SPECIES) == set(LABELS) - {"empty"}


def test_a_species_is_often_next_door_within_minutes() -> None:
    bursts = [burst for burst in plan_bursts(4000, 12, seed=4) if burst.labels]
    by_time = sorted(bursts, key=lambda burst: burst.moment)
    following = [
        (one, other)
        for one, other in pairwise(by_time)
        if one.camera != other.camera and (other.moment - one.moment).total_seconds() <= 300
    ]
    assert len(following) > 0.15 * len(bursts)
    assert np.mean([bool({*one.labels} & {*other.labels}) for one, other in following]) > 0.9
    assert np.mean([(one.camera - other.camera) % 12 in (1, 11) for one, other in following]) > 0.9


def test_seasons_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    options = SeasonOptions(14, 3, SIZE, seed=9, damaged_share=0.2)
    threads = set(threading.enumerate())
    for n_workers in (1, 2):
        write_seasons(tmp_path / str(n_workers), (2, 11), options, n_workers)
    assert set(threading.enumerate()) <= threads  # a thread of the pool would race with the end of the program
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")
    assert {name.split("/")[0] for name in hashes(tmp_path / "1")} >= {"S2", "S11", "damaged.csv"}


def test_an_interrupted_season_has_no_tables(tmp_path: Path) -> None:
    def stop(_n_sequences: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_seasons(tmp_path, (1,), SeasonOptions(14, 3, SIZE, seed=9, damaged_share=0.2), on_progress=stop)
    assert list(tmp_path.rglob("*.JPG"))
    assert not list(tmp_path.glob("*.csv*"))


def test_damage_is_listed_and_hits_only_the_files_that_are(tmp_path: Path) -> None:
    for name, share in (("whole", 0.0), ("damaged", 0.3)):
        write_seasons(tmp_path / name, (1,), SeasonOptions(20, 2, SIZE, seed=2, damaged_share=share))
    whole, damaged = hashes(tmp_path / "whole"), hashes(tmp_path / "damaged")
    assert whole.pop("synth.json") != damaged["synth.json"]
    listed = {row["file_name"]: row["damage"] for row in rows_of(tmp_path / "damaged" / "damaged.csv")}
    assert set(listed.values()) == {"truncated", "not a photo", "empty", "missing"}
    assert {name for name in whole if damaged.get(name) != whole[name]} == set(listed)
    for name, damage in listed.items():
        assert (name not in damaged) == (damage == "missing")


def test_birds_fly_by_in_a_single_frame() -> None:
    """Empty frames of a burst differ by wind and noise alone; the bird stands out in one of three."""
    assert {"otherbird", "bat"} <= SEEN_ONCE
    size = ImageSize(240, 320)
    burst = next(one for one in plan_bursts(100, 1, seed=1) if one.n_frames == 3 and not one.labels)
    options = SeasonOptions(100, 1, size, seed=1)
    empty = [photo.astype(int) for photo in draw_burst(burst, options)]
    moved = [photo.astype(int) for photo in draw_burst(replace(burst, labels=("insectspider",)), options)]
    assert len(empty) == len(moved) == 3
    spread = [np.percentile(np.abs(photo - np.median(moved, axis=0)), 99) for photo in moved]
    assert sum(value > 2 * sorted(spread)[1] for value in spread) == 1


def test_nights_are_grey() -> None:
    options = SeasonOptions(60, 1, SIZE, seed=1)
    for night in (True, False):
        burst = next(one for one in plan_bursts(60, 1, seed=1) if one.is_night == night)
        photo = draw_burst(burst, options)[0].astype(int)[:200]
        assert (np.ptp(photo, axis=2).max() == 0) == night


@pytest.mark.parametrize(("height", "width"), [(1536, 2048), (1920, 2560)])
def test_full_size_photos_are_as_large_as_real_ones(height: int, width: int) -> None:
    """The issue asks for 400 to 1,000 kB at 2048x1536; a tenth of the pixels more or less makes no difference of kind."""
    options = SeasonOptions(40, 4, ImageSize(height, width), seed=3)
    bursts = [burst for burst in plan_bursts(40, 4, seed=3) if burst.camera < 2][::4]
    sizes = [len(encode(draw_burst(replace(burst, n_frames=1), options)[0])) for burst in bursts]
    share = height * width / (1536 * 2048)
    assert 400_000 * share <= min(sizes)
    assert max(sizes) <= 1_000_000 * share


@pytest.mark.parametrize("strip", list(Strip))
@pytest.mark.parametrize(("height", "width"), [(1536, 2048), (1920, 2560), (480, 640)])
def test_strips_are_found_where_the_published_program_looks(strip: Strip, height: int, width: int) -> None:
    """docs/explanation/published.md#views, on the quarter frames: white and grey strips are masked, dark ones stay."""
    photo = np.full((height, width, 3), 90, np.uint8)
    burn_in(photo, strip, datetime(2010, 8, 19, 18, 24, 57), 24)
    small = (640, 480) if height == 1920 else (512, 384)
    frame = np.asarray(Image.fromarray(photo).resize(small, Image.Resampling.LANCZOS))
    found = find_strip(frame)
    assert bool(found) == (strip in (Strip.WHITE, Strip.GREY))
    if strip is Strip.WHITE:
        assert found[-1] == ((slice(458 if height == 1920 else 355, None), slice(None, None)))


def test_the_command_makes_a_season_and_a_page(tmp_path: Path) -> None:
    out, sheet, real = tmp_path / "out", tmp_path / "sheet.png", tmp_path / "real"
    real.mkdir()
    for number in range(2):
        Image.new("RGB", (64, 48)).save(real / f"{number}.jpg")
    (real / "3.png").write_bytes(PNG_OF_15_MILLION_COLUMNS)
    words = ["synth", str(out), "--seasons", "1-2,11", "--sequences", "8", "--cameras", "2", "--size", "120x160"]
    done = CliRunner().invoke(
        app, [*words, "--role", "train", "--workers", "1", "--contact-sheet", str(sheet), "--compare-with", str(real)]
    )
    assert done.exit_code == 0, done.output
    labels = read_labels(out / "train_labels.csv")
    assert [seq_id.split("#")[0] for seq_id in labels.seq_ids] == ["SER_S1"] * 8 + ["SER_S2"] * 8 + ["SER_S11"] * 8
    with Image.open(sheet) as page:
        assert page.width == 6 * 320
        top = [page.getpixel((320 * column + 160, 120)) for column in range(3)]
    assert top == [(0, 0, 0), (0, 0, 0), UNREADABLE], "sorted by name: two black photos, one that must not be decoded"
    again = CliRunner().invoke(app, words)
    assert isinstance(again.exception, UsageError)


@pytest.mark.parametrize("n_cameras", [1, 3])
def test_a_card_has_the_folders_and_clocks_of_cameras_and_nothing_else(n_cameras: int, tmp_path: Path) -> None:
    words = ["synth", str(tmp_path / "card"), "--card", "--sequences", "9", "--size", "96x128", "--seed", "4"]
    done = CliRunner().invoke(app, [*words, "--cameras", str(n_cameras), "--workers", "1"])
    assert done.exit_code == 0, done.output
    drawn, old = next((tmp_path / "card").rglob("*.JPG")), tmp_path / "card" / "old.JPG"
    old.write_bytes(b"\xff\xd8 of a real camera")
    refused = CliRunner().invoke(app, [*words, "--cameras", str(n_cameras), "--workers", "1", "--force"])
    assert f"must hold drawn photos only, got {old}" in str(refused.exception)
    old.write_bytes(drawn.read_bytes())
    again = CliRunner().invoke(app, [*words, "--cameras", str(n_cameras), "--workers", "1", "--force"])
    old.unlink()
    assert again.output.startswith(done.output.partition(" photos of ")[0] + " photos of "), "counts its own"
    files = [path.relative_to(tmp_path / "card") for path in (tmp_path / "card").rglob("*") if path.is_file()]
    top = r"B\d\d/" if n_cameras > 1 else ""
    assert files
    assert all(re.fullmatch(rf"{top}DCIM/100MEDIA/IMG_\d{{4}}\.JPG", path.as_posix()) for path in files)
    moments = {}
    for burst in plan_bursts(9, n_cameras, seed=4):
        for frame in range(burst.n_frames):
            name = f"DCIM/100MEDIA/IMG_{3 * (burst.capture - 1) + frame + 1:04d}.JPG"
            moments[f"{burst.site}/{name}" if n_cameras > 1 else name] = burst.moment + timedelta(seconds=frame)
    for path in files:
        with Image.open(tmp_path / "card" / path) as photo:
            assert photo.size == (128, 96)
            text = photo.getexif().get_ifd(0x8769)[36867]
        assert datetime.strptime(text, "%Y:%m:%d %H:%M:%S") == moments.pop(path.as_posix())
    assert moments == {}
    found = find_photos(tmp_path / "card")
    assert found.left_out == {}
    assert all(photo.moment for photo in found.photos)
    assert len({photo.site for photo in found.photos}) == n_cameras


def test_a_second_folder_begins_after_999_photos() -> None:
    burst = replace(plan_bursts(1, 1, seed=1)[0], capture=333)
    assert [burst.card_name(frame) for frame in range(3)] == [f"DCIM/100MEDIA/IMG_{n:04d}.JPG" for n in (997, 998, 999)]
    assert replace(burst, capture=334).card_name(0) == "DCIM/101MEDIA/IMG_1000.JPG"


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--contact-sheet", "page.gif"], UsageError, "must end in .jpeg, .jpg, .png"),
        (["--contact-sheet", "page.png", "--compare-with", "nothing"], InputError, "must be a folder that can be read"),
        (["--contact-sheet", "page.png", "--compare-with", str(HERE)], InputError, "at least 3 photos, got 0"),
    ],
)
def test_a_page_that_could_not_be_written_is_refused_before_anything_is_drawn(
    words: list[str], error: type[Exception], message: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["synth", str(tmp_path / "out"), *words])
    assert isinstance(done.exception, error)
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--seasons", "0", "numbers from 1 on"),
        ("--seasons", "3-1", "numbers from 1 on"),
        ("--seasons", "1,1-2", "must be different"),
        ("--size", "640", "HEIGHTxWIDTH"),
        ("--size", "9000x100", "from 48 to 8192"),
        ("--damaged", "120%", "must be a share"),
        ("--damaged", "much", "must be a share"),
    ],
)
def test_the_command_refuses_what_it_cannot_make(option: str, value: str, message: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["synth", str(tmp_path / "out"), option, value])
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_animals_move_more_than_the_wind() -> None:
    """Between frames whose light is made alike, in the lower part of the photo, where the animals are."""
    options = SeasonOptions(400, 2, SIZE, seed=7)
    moved: dict[bool, list[float]] = {True: [], False: []}
    for burst in plan_bursts(400, 2, seed=7):
        if (
            burst.n_frames > 1
            and burst.labels[:1] in ((), ("zebra",), ("wildebeest",))
            and len(moved[not burst.labels]) < 20
        ):
            frames = [photo[:220].astype(float) for photo in draw_burst(burst, options)[:2]]
            first, second = (frame / frame.mean() for frame in frames)
            moved[not burst.labels].append(float(np.percentile(np.abs(first - second), 99)))
    assert min(len(one) for one in moved.values()) == 20
    assert np.median(moved[False]) > 1.5 * np.median(moved[True])
    assert np.percentile(moved[False], 25) > np.percentile(moved[True], 50)
