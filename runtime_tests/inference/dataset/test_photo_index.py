"""Photos from the field -> bursts."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from PIL import Image

from inference.core.errors import InputError
from inference.core.labels import LABELS
from inference.dataset.bursts import group_bursts
from inference.dataset.metadata import plan_sequences, read_metadata, read_sites, read_submission_format
from inference.dataset.photo_index import (
    find_photos,
    read_coco,
    warnings,
    write_metadata,
    write_submission_format,
)
from runtime_tests.conftest import deep_folder

USE_THE_CARD = "if programs removed the EXIF, use the files of the card"


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
        "files that are not JPEG or PNG": 1,
        "photos whose names are not UTF-8": 1,
    }
    assert sum(photo.moment is None for photo in found.photos) == 3
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


def test_links_to_folders_and_unreadable_folders_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card, elsewhere = tmp_path / "card", tmp_path / "elsewhere"
    write_photo(card / "hill" / "a.jpg")
    write_photo(elsewhere / "b.jpg")
    (card / "river").symlink_to(elsewhere)
    (card / "hill" / "loop").symlink_to(card)
    (card / "lost+found").mkdir()
    scandir = os.scandir

    def refusing(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = find_photos(card)
    assert [photo.file_name for photo in found.photos] == ["hill/a.jpg"]
    assert found.left_out == {"links to folders: their photos are elsewhere": 2, "folders that cannot be read": 1}
    assert warnings(found, group_bursts(found.photos)) == [
        f"1 photo has no time: each is a burst by itself; the first by name: ['hill/a.jpg']; {USE_THE_CARD}",
        "left out: 1 folder that cannot be read",
        "left out: 2 links to folders: their photos are elsewhere",
    ]
    (card / "hill" / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"got none, 1 folder that cannot be read, 2 links to folders"):
        find_photos(card)


def test_photos_are_found_however_deep_they_lie(memory_folder: Path) -> None:
    """Deeper than recursion goes; and where their path is longer than Linux takes, the folder is counted."""
    deep_folder(memory_folder, 1500, "a.jpg")
    deep_folder(memory_folder, 2500, "b.jpg")
    write_photo(memory_folder / "z.jpg")
    found = find_photos(memory_folder)
    assert [photo.file_name.count("/") for photo in found.photos] == [0, 1500]
    assert found.left_out == {"folders that cannot be read": 1}


def test_names_with_control_characters_come_back_from_the_files(tmp_path: Path) -> None:
    names = ["a\rb.jpg", "a\nb.jpg", "\r\n.jpg", "\t\x1b\x7f.jpg", '",.jpg']
    for name in names:
        write_photo(tmp_path / "card\r" / name)
    bursts = group_bursts(find_photos(tmp_path).photos)
    write_metadata(tmp_path / "m.csv", bursts)
    write_submission_format(tmp_path / "f.csv", bursts)
    plan = plan_sequences(read_metadata(tmp_path / "m.csv"), read_submission_format(tmp_path / "f.csv"))
    assert (plan.n_without_metadata, plan.n_not_in_format) == (0, 0)
    assert {image.file_name for one in plan.sequences for image in one.images} == {f"card\r/{name}" for name in names}
    assert {one.site for one in plan.sequences} == {"card\r"}


def test_a_folder_dcim_itself_is_one_camera(tmp_path: Path) -> None:
    for name in ("100RECNX/a.jpg", "101RECNX/b.jpg", "c.jpg"):
        write_photo(tmp_path / "DCIM" / name)
    assert {photo.site for photo in find_photos(tmp_path / "DCIM").photos} == {tmp_path.name}
    assert {photo.site for photo in find_photos(tmp_path).photos} == {tmp_path.name}


def test_the_site_of_a_flat_card_has_the_name_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photo(tmp_path / "hill" / "a.jpg")
    monkeypatch.chdir(tmp_path / "hill")
    for folder in (tmp_path / "hill", Path(), Path("..", "hill")):
        assert [photo.site for photo in find_photos(folder).photos] == ["hill"]
    write_photo(tmp_path / "hill" / "hill" / "b.jpg")  # a camera that has the name already
    assert [photo.site for photo in find_photos(tmp_path / "hill").photos] == [".", "hill"]


def test_what_is_not_looked_at_and_what_is_looked_at_in_another_order_is_told(tmp_path: Path) -> None:
    for number in range(8, 13):
        write_photo(tmp_path / f"IMG_{number}.JPG", f"2021:04:11 20:43:{number:02d}")
    found = find_photos(tmp_path)
    first, second = warnings(found, group_bursts(found.photos))
    assert "not used: 2 photos" in first
    assert "1 burst is longer (up to 5 photos): --max-photos 3" in first
    assert "1 burst: predict takes photos in the order of their names as text" in second
    assert second.endswith("rename them with equally long numbers (IMG_09, IMG_10), and run this command again")


def test_a_table_in_the_place_of_the_folder_is_named_as_that(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("seq_id,datetime,file_name\n")
    with pytest.raises(
        InputError, match=r"m.csv: must be JSON .* or a folder with photos, got a file that is"
    ) as error:
        read_coco(tmp_path / "m.csv")
    assert error.value.hint == "give the folder that holds the photos"


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


def test_coco_times_with_an_offset_get_one_clock_and_those_of_an_unset_clock_are_none(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    moments = ["2015-03-04T06:05:04+03:00", "2015-03-04T03:05:05Z", "0000-00-00 00:00:00", "2015-03-04 06:05:06"]
    images = [{"file_name": f"{number}.jpg", "datetime": moment} for number, moment in enumerate(moments)]
    path.write_text(json.dumps({"images": images}))
    found = read_coco(path)
    assert [photo.moment and photo.moment.isoformat() for photo in found.photos] == [
        "2015-03-04T06:05:04",
        "2015-03-04T06:05:05",
        None,
        "2015-03-04T06:05:06",
    ]
    bursts = group_bursts(found.photos)
    assert [len(burst.photos) for burst in bursts] == [3, 1]
    assert warnings(found, bursts) == [
        f"1 photo has no time: each is a burst by itself; the first by name: ['2.jpg']; {USE_THE_CARD}",
        "times with an offset from UTC were converted to UTC+03:00",
    ]


def test_coco_dates_without_a_time_are_told(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text(coco(*({"file_name": f"{number}.jpg", "datetime": "2015-03-04"} for number in range(2))))
    found = read_coco(path)
    bursts = group_bursts(found.photos)
    assert [len(burst.photos) for burst in bursts] == [2]
    assert warnings(found, bursts) == [
        "2 photos have a date without a time: taken as midnight, so that those of one camera and day form one burst"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must be a folder with photos or a COCO Camera Traps file, got nothing of that name"),
        ("{", "must be JSON"),
        ("[]", "must be COCO Camera Traps"),
        ('{"images": []}', "must be COCO Camera Traps"),
        ('{"images": [{"file_name": "a"}, {"id": 1}]}', r"images\[1\].file_name: must be a path, got None"),
        ('{"images": ["a"]}', r"images\[0\].file_name: must be a path"),
        ('{"images": [{"file_name": "a", "datetime": "noon"}]}', r"images\[0\].datetime: must be YYYY.* got 'noon'"),
        ('{"images": [{"file_name": "a", "datetime": 5}]}', r"images\[0\].datetime: must be YYYY.* got 5"),
        ('{"images": [{"file_name": "a", "seq_id": NaN}]}', "must be JSON .* NaN, which JSON does not have"),
        ('{"images": [{"file_name": "a"}], "images": [{"file_name": "b"}]}', r"a key twice: \['images', 'images'\]"),
        ("[" * 100_000, "must be JSON"),
        ('{"images": [{"file_name": "a", "location": ' + "9" * 5000 + "}]}", "must be JSON"),
    ],
)
def test_coco_that_is_none_is_refused_with_its_place(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_coco(path)


def coco(*images: Mapping[str, object]) -> str:
    return json.dumps({"images": list(images)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (coco({"file_name": "a.jpg"}, {"file_name": "a.jpg"}), r"images\[1\].file_name: must be unique, got 'a.jpg' as in images\[0\]"),
        (coco({"file_name": "a.jpg", "seq_id": ""}), r"images\[0\].seq_id: must not be empty"),
        (coco({"file_name": "\ud800.jpg"}), r"images\[0\].file_name: must be text in UTF-8"),
        (coco({"file_name": "a\0.jpg"}), r"images\[0\].file_name: must be text in UTF-8"),
        (coco({"file_name": "a", "seq_id": "\ud800"}), r"images\[0\].seq_id: must be text in UTF-8 without NUL or a number"),
        (coco({"file_name": "a", "location": "\udfff"}), r"images\[0\].location: must be text in UTF-8 without NUL or a number"),
        (coco({"file_name": "a", "location": ["hill"]}), r"images\[0\].location: must be text .* got \"\['hill'\]\""),
        (coco({"file_name": "a" * 140_000}), r"images\[0\].file_name: must be text .* got 'aaaa"),
        (
            coco({"file_name": "a", "seq_id": "s", "location": 1}, {"file_name": "b", "seq_id": "s", "location": 2}),
            r"images\[1\].location: must be the same in all photos of a seq_id, got '2' after '1'",
        ),
        (
            coco({"file_name": "a", "datetime": "2020-01-01T00:00:00-05:00"}, {"file_name": "b", "datetime": "0001-01-01T00:00:00+00:00"}),
            r"images\[1\].datetime: must be a time of this era",
        ),
    ],
)  # fmt: skip
def test_what_predict_would_refuse_is_refused_at_once(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_coco(tmp_path / "coco.json")


def test_names_of_thousands_of_digits_and_early_years_are_written_as_they_are(tmp_path: Path) -> None:
    names = [f"{'1' * 5000}.jpg", f"{'2' * 4999}.jpg"]
    (tmp_path / "coco.json").write_text(
        coco(*({"file_name": name, "datetime": "0150-01-01 00:00:00"} for name in names))
    )
    bursts = group_bursts(read_coco(tmp_path / "coco.json").photos)
    write_metadata(tmp_path / "m.csv", bursts)
    [sequence] = read_metadata(tmp_path / "m.csv").sequences.values()
    assert {image.datetime for image in sequence.images} == {"0150-01-01 00:00:00"}
    assert sequence.seq_id == min(names, key=len)


def test_photos_that_are_links_to_elsewhere_are_told(tmp_path: Path) -> None:
    write_photo(tmp_path / "elsewhere.jpg")
    write_photo(tmp_path / "card" / "a.jpg")
    (tmp_path / "card" / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "card" / "c.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    found = find_photos(tmp_path / "card")
    assert found.n_outside == 1
    assert any("1 photo is a link that leads out of the folder" in line for line in warnings(found, []))
