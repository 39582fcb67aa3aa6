"""Photos as they come from the field -> bursts: a folder of memory cards, or a COCO Camera Traps file."""

from __future__ import annotations

import json
import os
import re
import stat
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from inference.domain import LABELS, METADATA_COLUMNS, SITE_COLUMN, InputError
from inference.exif import HEAD_BYTES, moment_taken
from inference.files import atomic_csv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

GAP_SECONDS = 5.0
"""Longest time between two photos of one burst. Ours: the frames of genuine bursts are 0 to 1 s apart (Snapshot Serengeti
and the Camtrap DP example), a flash needs a few seconds at night, and the 60 s with which MegaDetector's tools join
photos into episodes would join bursts that the competition kept apart."""
PHOTO_NAME = re.compile(r"[^.].*\.(jpe?g|png)", re.IGNORECASE)
"""Not hidden files: macOS leaves a `._IMG_0001.JPG` beside every photo."""
CARD_FOLDER = re.compile(r"DCIM|\d{3}\w{5}", re.IGNORECASE)
"""Folders that a camera makes on its card (DCF: `100RECNX`); the folder above them is the camera's."""
DIGITS = re.compile(r"(\d+)")
DATETIME_FORMAT = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class FieldPhoto:
    """A photo that was found."""

    file_name: str
    """Path below the folder."""
    site: str
    moment: datetime | None
    seq_id: str | None = None
    """Its burst, where somebody has told already."""


@dataclass
class Found:
    """What a folder holds, and what was left out."""

    photos: list[FieldPhoto] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def n_undated(self) -> int:
        """Photos that do not say when they were taken."""
        return sum(photo.moment is None for photo in self.photos)


@dataclass(frozen=True)
class Burst:
    """Photos that were taken together, in the order in which they were taken."""

    seq_id: str
    photos: tuple[FieldPhoto, ...]


def find_photos(folder: Path) -> Found:
    """Every JPEG and PNG below a folder, with the camera's clock. Raises InputError where there is none.

    Only the beginning of each file is read. What cannot be read is listed all the same: `predict` tells why.
    """
    found = Found()
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(parent, folder).replace(os.sep, "/")
        for name in sorted(names):
            if not PHOTO_NAME.fullmatch(name):
                found.left_out["hidden files" if name.startswith(".") else "files that are no JPEG or PNG"] += 1
                continue
            file_name = name if below == "." else f"{below}/{name}"
            if not _is_text(file_name):
                found.left_out["photos whose names are not UTF-8"] += 1
                continue
            moment = moment_taken(_head(os.path.join(parent, name)))
            found.photos.append(FieldPhoto(file_name, _site(file_name), moment))
    if not found.photos:
        raise InputError(f"{folder}: must be a folder with photos (JPEG, PNG) in it, got none")
    return found


def read_coco(path: Path) -> Found:
    """Photos of a COCO Camera Traps file: `images` with `file_name` and, if known, `datetime`, `location`, `seq_id`.

    Raises InputError naming the image.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: must be a readable file, got: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: must be JSON in UTF-8, got: {error}") from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise InputError(f"{path}: must be COCO Camera Traps: an object with a list `images` that is not empty")
    return Found([_coco_photo(f"{path}, images[{number}]", image) for number, image in enumerate(images)])


def group_bursts(photos: Iterable[FieldPhoto], gap_seconds: float = GAP_SECONDS) -> list[Burst]:
    """Photos of one site, in the order of their names, belong together while each follows its predecessor within the gap.

    It is names that put photos in order, as cameras number them; clocks jump (batteries, summer time), and copies of two
    cards share their times. Digits count as numbers: IMG_9 comes before IMG_10. A photo without a time is a burst of its
    own. The order of `photos` does not matter. The id of a burst is the name of its first photo, unless told.
    """
    told: dict[str, list[FieldPhoto]] = defaultdict(list)
    by_site: dict[str, list[FieldPhoto]] = defaultdict(list)
    for photo in photos:
        if photo.seq_id is None:
            by_site[photo.site].append(photo)
        else:
            told[photo.seq_id].append(photo)
    bursts = [Burst(seq_id, tuple(sorted(members, key=_order))) for seq_id, members in told.items()]
    for members in by_site.values():
        bursts += [Burst(part[0].file_name, tuple(part)) for part in _parted(sorted(members, key=_order), gap_seconds)]
    return sorted(bursts, key=lambda burst: _order(burst.photos[0]))


def write_metadata(path: Path, bursts: list[Burst]) -> None:
    """Write `seq_id, datetime, file_name, site`, which `predict --metadata` reads."""
    with atomic_csv(path) as writer:
        writer.writerow([*METADATA_COLUMNS, SITE_COLUMN])
        for burst in bursts:
            for photo in burst.photos:
                moment = photo.moment.strftime(DATETIME_FORMAT) if photo.moment else ""
                writer.writerow([burst.seq_id, moment, photo.file_name, photo.site])


def write_submission_format(path: Path, bursts: list[Burst]) -> None:
    """Write the rows and columns that the submission will have."""
    with atomic_csv(path) as writer:
        writer.writerow(["seq_id", *LABELS])
        for burst in bursts:
            writer.writerow([burst.seq_id, *[0] * len(LABELS)])


def _parted(photos: list[FieldPhoto], gap_seconds: float) -> Iterator[list[FieldPhoto]]:
    part: list[FieldPhoto] = []
    for photo in photos:
        if part and not _within(part[-1].moment, photo.moment, gap_seconds):
            yield part
            part = []
        part.append(photo)
    if part:
        yield part


def _within(earlier: datetime | None, later: datetime | None, gap_seconds: float) -> bool:
    # Frames of one burst may be numbered against their order by a second: the clock ticks between them.
    return bool(earlier and later) and abs((later - earlier).total_seconds()) <= gap_seconds  # type: ignore[operator]


def _order(photo: FieldPhoto) -> tuple[list[tuple[int, str]], str]:
    """Sorts digits as numbers; names that differ in leading zeros only are told apart by themselves."""
    parts = DIGITS.split(photo.file_name)
    return [(int(part), "") if number % 2 else (0, part) for number, part in enumerate(parts)], photo.file_name


def _site(file_name: str) -> str:
    folders = file_name.split("/")[:-1]
    while folders and CARD_FOLDER.fullmatch(folders[-1]):
        folders.pop()
    return "/".join(folders) or "."


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _head(path: str) -> bytes:
    """The first bytes of a regular file; none of anything else, and no error."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, HEAD_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _coco_photo(where: str, image: Any) -> FieldPhoto:
    if not isinstance(image, dict) or not isinstance(image.get("file_name"), str) or not image["file_name"]:
        raise InputError(
            f"{where}.file_name: must be a path, got {image.get('file_name') if isinstance(image, dict) else image!r}"
        )
    file_name: str = image["file_name"]
    seq_id, location = image.get("seq_id"), image.get("location")
    return FieldPhoto(
        file_name=file_name,
        site=_site(file_name) if location is None else str(location),
        moment=_coco_moment(f"{where}.datetime", image.get("datetime")),
        seq_id=None if seq_id is None else str(seq_id),
    )


def _coco_moment(where: str, text: Any) -> datetime | None:
    if text is None or text == "":
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: must be YYYY-MM-DD HH:MM:SS, got {text!r}") from error
