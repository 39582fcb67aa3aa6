"""Photos from the field -> bursts."""

from __future__ import annotations

import csv
import io
import json
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from inference.domain import LABELS, InputError
from inference.field_photos import (
    FieldPhoto,
    find_photos,
    group_bursts,
    read_coco,
    write_metadata,
    write_submission_format,
)
from inference.metadata import plan_sequences, read_metadata, read_sites, read_submission_format

START = datetime(2015, 3, 4, 6, 5, 4)


def at(name: str, seconds: float | None, site: str = "cam") -> FieldPhoto:
    return FieldPhoto(f"{site}/{name}", site, None if seconds is None else START + timedelta(seconds=seconds))


def grouped(photos: list[FieldPhoto], gap: float = 5) -> list[list[str]]:
    return [[photo.file_name.split("/")[-1] for photo in burst.photos] for burst in group_bursts(photos, gap)]


def test_photos_within_the_gap_of_their_predecessor_are_one_burst() -> None:
    photos = [at("1", 0), at("2", 5), at("3", 10), at("4", 15.5), at("5", 16)]
    assert grouped(photos) == [["1", "2", "3"], ["4", "5"]]
    assert grouped(photos, gap=4.9) == [["1"], ["2"], ["3"], ["4", "5"]]
    assert grouped(photos, gap=0) == [["1"], ["2"], ["3"], ["4"], ["5"]]


def test_names_put_photos_in_order_with_digits_as_numbers() -> None:
    assert grouped([at("IMG_10", 2), at("IMG_9", 1), at("IMG_011", 3)]) == [["IMG_9", "IMG_10", "IMG_011"]]


def test_copies_of_two_cards_that_share_their_times_stay_apart() -> None:
    """Four photos of the same second, but a photo of another day lies between the two pairs."""
    photos = [at("a1", 0), at("a2", 1), at("b1", 9e5), at("c1", 0), at("c2", 1)]
    assert grouped(photos) == [["a1", "a2"], ["b1"], ["c1", "c2"]]


def test_cameras_are_never_mixed() -> None:
    bursts = group_bursts([at("1", 0, "north"), at("1", 0, "south"), at("2", 1, "north")])
    assert [burst.seq_id for burst in bursts] == ["north/1", "south/1"]


def test_a_photo_without_a_time_is_a_burst_of_its_own() -> None:
    assert grouped([at("1", 0), at("2", None), at("3", 1), at("4", None), at("5", None)]) == [[n] for n in "12345"]


def test_a_second_backwards_within_a_burst_does_not_cut_it() -> None:
    assert grouped([at("1", 1), at("2", 0), at("3", 1)]) == [["1", "2", "3"]]


@given(st.data())
def test_the_order_in_which_photos_are_found_does_not_matter_and_none_is_lost(data: st.DataObject) -> None:
    seconds = data.draw(st.lists(st.one_of(st.none(), st.integers(0, 60)), min_size=1, max_size=20))
    photos = [at(f"{n % 7}_{n}", second, "ab"[n % 2]) for n, second in enumerate(seconds)]
    bursts = group_bursts(photos)
    assert group_bursts(data.draw(st.permutations(photos))) == bursts
    assert sorted(photo.file_name for burst in bursts for photo in burst.photos) == sorted(p.file_name for p in photos)
    assert len({burst.seq_id for burst in bursts}) == len(bursts)
    for burst in bursts:
        for earlier, later in zip(burst.photos, burst.photos[1:], strict=False):
            assert earlier.moment is not None
            assert later.moment is not None
            assert abs(later.moment - earlier.moment) <= timedelta(seconds=5)


def write_photo(path: Path, moment: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if moment:
        exif.get_ifd(0x8769)[36867] = moment
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12)).save(buffer, "JPEG", exif=exif)
    path.write_bytes(buffer.getvalue())


def test_folders_of_cards_become_sites_bursts_and_files_for_predict(tmp_path: Path) -> None:
    card = tmp_path / "card"
    write_photo(card / "hill" / "DCIM" / "100RECNX" / "RCNX9999.JPG", "2021:04:11 20:43:09")
    write_photo(card / "hill" / "DCIM" / "101RECNX" / "RCNX0001.JPG", "2021:04:11 20:43:10")
    write_photo(card / "hill" / "DCIM" / "101RECNX" / "RCNX0002.jpeg", "2021:04:12 20:43:10")
    write_photo(card / "river" / "a.jpg")
    (card / "river" / "._a.jpg").write_bytes(b"\0\5\x16\7")
    (card / "river" / "notes.txt").touch()
    (card / ".Trashes").mkdir()
    write_photo(card / ".Trashes" / "b.jpg")
    os.mkfifo(card / "river" / "pipe.jpg")
    (card / "river" / "gone.jpg").symlink_to("nowhere")
    (card / "river" / os.fsdecode(b"\xff.jpg")).touch()

    found = find_photos(card)
    assert found.left_out == {
        "hidden files": 1,
        "files that are no JPEG or PNG": 1,
        "photos whose names are not UTF-8": 1,
    }
    assert found.n_undated == 3
    bursts = group_bursts(found.photos)
    write_metadata(tmp_path / "metadata.csv", bursts)
    write_submission_format(tmp_path / "format.csv", bursts)

    with (tmp_path / "metadata.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    first = "hill/DCIM/100RECNX/RCNX9999.JPG"
    assert rows[:3] == [
        ["seq_id", "datetime", "file_name", "site"],
        [first, "2021-04-11 20:43:09", first, "hill"],
        [first, "2021-04-11 20:43:10", "hill/DCIM/101RECNX/RCNX0001.JPG", "hill"],
    ]
    assert [row[2] for row in rows[4:]] == ["river/a.jpg", "river/gone.jpg", "river/pipe.jpg"]
    assert {row[1] for row in rows[4:]} == {""}
    plan = plan_sequences(read_metadata(tmp_path / "metadata.csv"), read_submission_format(tmp_path / "format.csv"))
    assert [sequence.seq_id for sequence in plan.sequences] == [burst.seq_id for burst in bursts]
    assert (plan.n_without_metadata, plan.n_not_in_format, plan.labels) == (0, 0, LABELS)
    assert read_sites(tmp_path / "metadata.csv")[first] == "hill"


@pytest.mark.parametrize("name", ["empty", "nowhere"])
def test_a_folder_without_photos_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="must be a folder with photos"):
        find_photos(tmp_path / name)


COCO = {
    "images": [
        {"id": 1, "file_name": "a/2.jpg", "datetime": "2015-03-04 06:05:05", "location": "W", "seq_id": "s1"},
        {"id": 2, "file_name": "a/1.jpg", "datetime": "2015-03-04T06:05:04", "location": "W", "seq_id": "s1"},
        {"id": 3, "file_name": "b/3.jpg", "datetime": "2015-03-04 06:05:05", "location": 7},
        {"id": 4, "file_name": "c/4.jpg", "datetime": "2015-03-04 06:05:06", "location": 7},
        {"id": 5, "file_name": "b/5.jpg"},
    ],
    "annotations": [],
    "categories": [],
}


def test_coco_camera_traps_keeps_its_sequences_and_groups_the_rest_by_location(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(COCO))
    found = read_coco(path)
    bursts = group_bursts(found.photos)
    assert [(burst.seq_id, [photo.file_name for photo in burst.photos]) for burst in bursts] == [
        ("s1", ["a/1.jpg", "a/2.jpg"]),
        ("b/3.jpg", ["b/3.jpg", "c/4.jpg"]),
        ("b/5.jpg", ["b/5.jpg"]),
    ]
    assert [photo.site for photo in found.photos] == ["W", "W", "7", "7", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "readable file"),
        ("{", "must be JSON"),
        ("[]", "must be COCO Camera Traps"),
        ('{"images": []}', "must be COCO Camera Traps"),
        ('{"images": [{"file_name": "a"}, {"id": 1}]}', r"images\[1\].file_name: must be a path, got None"),
        ('{"images": ["a"]}', r"images\[0\].file_name: must be a path"),
        ('{"images": [{"file_name": "a", "datetime": "noon"}]}', r"images\[0\].datetime: must be YYYY.* got 'noon'"),
        ('{"images": [{"file_name": "a", "datetime": 5}]}', r"images\[0\].datetime: must be YYYY.* got 5"),
    ],
)
def test_coco_that_is_none_is_refused_with_its_place(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_coco(path)


def test_genuine_bursts_of_the_reference_case_are_grouped_as_the_competition_had_them(reference_case: Path) -> None:
    """Bursts whose photos still have the clock of their camera; the other sequences were put together from copies.

    Of these, each photo without a clock is alone, and S1#D04#6#6 loses a fourth photo, which is of another day.
    """
    data = reference_case / "data"
    told: dict[str, set[str]] = {}
    for sequence in read_metadata(data / "test_metadata.csv").sequences.values():
        told[sequence.seq_id] = {image.file_name for image in sequence.images}
    got = {frozenset(photo.file_name for photo in burst.photos) for burst in group_bursts(find_photos(data).photos)}
    genuine = ["SER_S1#D04#6#1", "SER_S1#D04#6#2", "SER_S1#D04#6#3", "SER_S11#C03#1#3"]
    for seq_id in genuine:
        assert frozenset(told[seq_id]) in got, seq_id
    assert frozenset(told["SER_S11#B02#1#2"]) in got  # one of its photos is truncated, not its clock
    together = {frozenset(names) for names in told.values()}
    assert len(got & together) >= 14
    for burst in got:
        assert any(burst <= names for names in together), burst
