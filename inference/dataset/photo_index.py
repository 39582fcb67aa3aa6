"""Photos from the field -> bursts: a folder of memory cards, or a COCO Camera Traps file."""

import json
import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from inference.core.errors import InputError, counted
from inference.core.files import atomic_csv, os_errors, regular_file, walk
from inference.core.labels import LABELS
from inference.core.sequences import MOST_NAMED
from inference.dataset.bursts import FRAMES_USED, SEASON_PREFIX, Burst, IndexedPhoto
from inference.dataset.camera_folders import CARD_FOLDER, TOP, camera_folders, folder_of
from inference.dataset.metadata import METADATA_COLUMNS, SITE_COLUMN, is_date_alone
from inference.images.exif import HEAD_BYTES, moment_taken
from inference.process.progress import Progress
from inference.storage.local import safe_path

PHOTO_NAME = re.compile(r"[^.].*\.(jpe?g|png)", re.IGNORECASE | re.DOTALL)
"""Excludes hidden files: macOS leaves a `._IMG_0001.JPG` beside every photo."""
NO_DATE = re.compile(r"0000\D00\D00")
"""Written by cameras whose clock was never set."""
PROGRESS_PHOTOS = 100
"""Photos between two reports of progress."""
MOST_NAME_BYTES = 100_000
"""CSV readers accept 131,072 characters per cell; paths have at most 4,096 bytes."""
LINKS = "links to folders: their photos are elsewhere"
UNREADABLE, HIDDEN = "folders that cannot be read", "hidden files"
OTHER_FILES, NOT_UTF8 = "files that are not JPEG or PNG", "photos whose names are not UTF-8"
SINGULAR = {
    LINKS: "link to a folder: its photos are elsewhere",
    UNREADABLE: "folder that cannot be read",
    HIDDEN: "hidden file",
    OTHER_FILES: "file that is not JPEG or PNG",
    NOT_UTF8: "photo whose name is not UTF-8",
}
"""Singular of each kind of skipped item."""


@dataclass
class Found:
    """The photos in a folder, and counts of skipped items."""

    photos: list[IndexedPhoto] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    clock: tzinfo | None = None
    """Offset from UTC to which times were converted, if they came with offsets."""
    n_outside: int = 0
    """Photos that are links to places outside the folder."""
    n_without_time: int = 0
    """Photos with a date but no time."""


def find_photos(folder: Path, on_progress: Progress = lambda *_: None) -> Found:
    """Every JPEG and PNG below a folder, with the camera's clock. Raises InputError if there are none.

    Only the beginning of each file is read. Unreadable photos are listed all the same: `predict` reports the reason.
    Links to folders are not followed, as `predict` reads nothing outside the folder. They are counted, like unreadable
    folders. `on_progress` is called with the number of photos so far, and 0, as the total is unknown.
    """
    left_out: Counter[str] = Counter()
    moments: dict[str, datetime | None] = {}
    n_outside = 0

    def count_unreadable(_: OSError) -> None:
        left_out[UNREADABLE] += 1

    for parent, folders, names in walk(folder, count_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(parent, folder).replace(os.sep, "/")
        for name in names:
            is_link = os.path.islink(path := os.path.join(parent, name))
            if is_link and os.path.isdir(path):
                left_out[LINKS] += not name.startswith(".")
                continue
            if not PHOTO_NAME.fullmatch(name):
                left_out[HIDDEN if name.startswith(".") else OTHER_FILES] += 1
                continue
            file_name = name if below == TOP else f"{below}/{name}"
            if not _is_text(file_name):
                left_out[NOT_UTF8] += 1
                continue
            if is_link and safe_path(folder, file_name) is None:
                n_outside += 1
            moments[file_name] = moment_taken(_head(path))
            if len(moments) % PROGRESS_PHOTOS == 0:
                on_progress(len(moments), 0)
    left_out = +left_out
    if not moments:
        also = "".join(f", {counted(count, SINGULAR[what], what)}" for what, count in sorted(left_out.items()))
        raise InputError(f"{folder}: must be a folder with photos (JPEG, PNG) in it, got none{also}")
    # If the folder is a card's DCIM folder, all its subfolders belong to one camera.
    top = folder.resolve().name if folder.resolve().name.upper() == CARD_FOLDER else ""
    below_top = {file_name: f"{top}/{folder_of(file_name)}".strip("/") for file_name in moments}
    cameras = camera_folders(below_top.values())
    sites = _named(cameras, folder.resolve())
    photos = [IndexedPhoto(name, sites[below_top[name]], moment) for name, moment in moments.items()]
    return Found(photos, left_out, n_outside=n_outside)


def _named(cameras: dict[str, str], folder: Path) -> dict[str, str]:
    """Sites, where that of the folder itself has its name, or, of a card's DCIM, that of the folder above."""
    card = folder.parent if folder.name.upper() == CARD_FOLDER else folder
    name = TOP if card.name in cameras.values() else card.name or TOP
    return {below: name if site == TOP else site for below, site in cameras.items()}


def read_coco(path: Path) -> Found:
    """Photos of a COCO Camera Traps file: `images` with `file_name` and, if known, `datetime`, `location`, `seq_id`.

    Raises InputError naming the image.
    """
    if not os.path.exists(path):
        raise InputError(f"{path}: must be a folder with photos or a COCO Camera Traps file, got nothing of that name")
    try:
        with os_errors(InputError, f"{path}: must be a readable file"):
            text = path.read_text(encoding="utf-8-sig")
            content = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: must be JSON in UTF-8 (a COCO Camera Traps file), or a folder with photos, got a file that is neither: {error}",
            hint="give the folder that holds the photos",
        ) from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise InputError(f"{path}: must be COCO Camera Traps: an object with a list `images` that is not empty")
    moments = [_checked_moment(f"{path}, images[{number}]", image) for number, image in enumerate(images)]
    # One clock for all photos, so that gaps and order are right: that of the first photo with an offset.
    clock = next((moment.tzinfo for moment in moments if moment and moment.tzinfo), None)
    cameras = camera_folders(folder_of(image["file_name"]) for image in images)
    photos = [
        _coco_photo(image, _by_clock(f"{path}, images[{number}].datetime", moment, clock), cameras)
        for number, (image, moment) in enumerate(zip(images, moments, strict=True))
    ]
    _check_bursts(path, photos)
    return Found(
        photos, clock=clock, n_without_time=sum(is_date_alone(image.get("datetime") or "") for image in images)
    )


def warnings(found: Found, bursts: list[Burst]) -> list[str]:
    """Warnings for the user before predicting with these bursts."""
    messages = []
    if found.n_outside:
        messages.append(
            f"{counted(found.n_outside, 'photo is a link that leads', 'photos are links that lead')} out of the folder: "
            "predict does not follow them and reports an unsafe path; copy the photos, or pass the folder that the links lead to"
        )
    if undated := sorted(photo.file_name for photo in found.photos if photo.moment is None):
        messages.append(
            f"{counted(len(undated), 'photo has', 'photos have')} no time: each is a burst by itself; the first by name: "
            f"{undated[:MOST_NAMED]}; if programs removed the EXIF, use the files of the card"
        )
    if found.n_without_time:
        messages.append(
            f"{counted(found.n_without_time, 'photo has', 'photos have')} a date without a time: "
            "taken as midnight, so that those of one camera and day form one burst"
        )
    if found.clock:
        messages.append(f"times with an offset from UTC were converted to {found.clock}")
    if long := [burst for burst in bursts if burst.n_beyond]:
        messages.append(
            f"not used: {counted(sum(burst.n_beyond for burst in long), 'photo')}; the published ensemble uses the first {FRAMES_USED} of a burst, "
            f"and {counted(len(long), 'burst is', 'bursts are')} longer (up to {max(len(burst.photos) for burst in long)} photos): "
            f"--max-photos {FRAMES_USED} cuts them, so that every photo counts"
        )
    if n_other := sum(not burst.is_in_name_order for burst in bursts):
        messages.append(
            f"{counted(n_other, 'burst')}: predict takes photos in the order of their names as text (IMG_10 before IMG_9), "
            "which differs from the order of their times; if that matters, rename them with equally long numbers "
            "(IMG_09, IMG_10), and run this command again"
        )
    without = [burst.photos[0].site for burst in bursts if not burst.seq_id.startswith(SEASON_PREFIX)]
    if 0 < len(without) < len(bursts):
        sites = sorted(set(without))
        messages.append(
            f"{counted(len(without), 'burst is', 'bursts are')} in no season, and hakuna train leaves them out: "
            f"{counted(len(sites), 'site')}, the first by name: {sites[:MOST_NAMED]}"
        )
    return [
        *messages,
        *(f"left out: {counted(count, SINGULAR[what], what)}" for what, count in sorted(found.left_out.items())),
    ]


def write_metadata(path: Path, bursts: list[Burst]) -> None:
    """Write `seq_id, datetime, file_name, site`, as read by `predict --metadata`."""
    with atomic_csv(path) as writer:
        writer.writerow([*METADATA_COLUMNS, SITE_COLUMN])
        for burst in bursts:
            for photo in burst.photos:
                moment = photo.moment.isoformat(sep=" ", timespec="seconds") if photo.moment else ""
                writer.writerow([burst.seq_id, moment, photo.file_name, photo.site])


def write_submission_format(path: Path, bursts: list[Burst]) -> None:
    """Write the rows and columns of the future submission."""
    with atomic_csv(path) as writer:
        writer.writerow(["seq_id", *LABELS])
        for burst in bursts:
            writer.writerow([burst.seq_id, *[0] * len(LABELS)])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object with unique keys: otherwise the last value would silently win."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"an object with a key twice: {[key for key, _ in pairs][:8]}")
    return found


def _refuse_constant(name: str) -> None:
    """JSON has no NaN: as a `seq_id` it would join all such photos into one burst."""
    raise ValueError(f"{name}, which JSON does not have")


def _is_text(name: str) -> bool:
    """Whether a name can be written to a table and read back."""
    try:
        return len(name.encode()) <= MOST_NAME_BYTES and "\0" not in name
    except UnicodeEncodeError:
        return False


def _head(path: str) -> bytes:
    """The first bytes of a regular file; empty for other files and unreadable ones."""
    with suppress(OSError), open(path, "rb", 0, opener=regular_file) as file:
        return file.read(HEAD_BYTES)
    return b""


def _checked_moment(where: str, image: Any) -> datetime | None:
    """The time of a COCO image, with an offset from UTC if its text has one. Raises InputError."""
    name = image.get("file_name") if isinstance(image, dict) else image
    if not isinstance(image, dict) or not isinstance(name, str) or not name:
        raise InputError(f"{where}.file_name: must be a path, got {name!r}")
    if not _is_text(name):
        raise InputError(f"{where}.file_name: must be text in UTF-8 without NUL, got {name[:80]!r}")
    if image.get("seq_id") == "":
        raise InputError(f"{where}.seq_id: must not be empty; leave it out if unknown")
    for key in ("seq_id", "location"):
        value = image.get(key)
        if not isinstance(value, str | int | float | None) or not _is_text(str(value)):
            raise InputError(f"{where}.{key}: must be text in UTF-8 without NUL or a number, got {str(value)[:80]!r}")
    text = image.get("datetime")
    if text in (None, "") or (isinstance(text, str) and NO_DATE.match(text)):
        return None
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}.datetime: must be YYYY-MM-DD HH:MM:SS, got {text!r}") from error


def _check_bursts(path: Path, photos: list[IndexedPhoto]) -> None:
    """Every photo once, every burst at one site: `predict` requires both."""
    names: dict[str, int] = {}
    sites: dict[str, str] = {}
    for number, photo in enumerate(photos):
        where = f"{path}, images[{number}]"
        if names.setdefault(photo.file_name, number) != number:
            raise InputError(
                f"{where}.file_name: must be unique, got {photo.file_name!r} as in images[{names[photo.file_name]}]"
            )
        if photo.seq_id is not None and (site := sites.setdefault(photo.seq_id, photo.site)) != photo.site:
            raise InputError(
                f"{where}.location: must be the same in all photos of a seq_id, got {photo.site!r} after {site!r}"
            )


def _coco_photo(image: dict[str, Any], moment: datetime | None, cameras: dict[str, str]) -> IndexedPhoto:
    seq_id, location = image.get("seq_id"), image.get("location")
    return IndexedPhoto(
        file_name=image["file_name"],
        site=cameras[folder_of(image["file_name"])] if location is None else str(location),
        moment=moment,
        seq_id=None if seq_id is None else str(seq_id),
        is_numbered=False,  # data sets rename their photos
    )


def _by_clock(where: str, moment: datetime | None, clock: tzinfo | None) -> datetime | None:
    if moment is None or moment.tzinfo is None:
        return moment
    try:
        return moment.astimezone(clock).replace(tzinfo=None)
    except OverflowError as error:
        raise InputError(f"{where}: must be a time of this era in the clock {clock}, got {moment}") from error
