"""Photos of a camera -> bursts: photos taken in one go, in the order in which they were taken."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from inference.core.errors import UsageError
from inference.core.iteration import batched
from inference.dataset.camera_folders import folder_of

GAP_SECONDS = 5.0
"""Longest time between two photos of one burst, our choice. Frames of genuine bursts are 0 to 1 s apart (Snapshot
Serengeti and the Camtrap DP example), and a flash needs a few seconds at night. The 60 s with which MegaDetector's
tools join photos into episodes would join bursts that the competition kept apart."""
FRAMES_USED = 3
"""Number of photos of a burst that the published program uses."""
DIGITS = re.compile(r"(\d+)")
NAME_PARTS = re.compile(r"(.*?)( ?\(\d+\))?(?:\.[^.]*)?", re.DOTALL)
"""Windows appends `(1)` to a photo copied from another card when its name is taken."""
MOST_BACKWARD = 1 / 3
"""Names order photos unless more than this share of their steps goes back in time; with random names half do."""
SEASON = re.compile(r"S\d+")
"""Name of a season, as `hakuna train` asks for it."""
SEASON_PREFIX = "SER_"
"""Before it in ids of sequences."""


@dataclass(frozen=True, slots=True)
class IndexedPhoto:
    """A photo that was found, with its name, time and camera."""

    file_name: str
    """Path below the folder."""
    site: str
    moment: datetime | None
    seq_id: str | None = None
    """Its burst, if already known."""
    is_numbered: bool = True
    """Whether a camera numbered its name. Other photos are ordered by time alone."""


@dataclass(frozen=True)
class Burst:
    """Photos taken in one go, in the order in which they were taken."""

    seq_id: str
    photos: tuple[IndexedPhoto, ...]

    @property
    def n_beyond(self) -> int:
        """Number of photos that the published program does not use."""
        return max(0, len(self.photos) - FRAMES_USED)

    @property
    def is_in_name_order(self) -> bool:
        """Whether the first photos by name (as plain text) are also the first by time."""
        names = [photo.file_name for photo in self.photos]
        return sorted(names)[:FRAMES_USED] == names[:FRAMES_USED]


def group_bursts(
    photos: Iterable[IndexedPhoto], gap_seconds: float = GAP_SECONDS, most: int | None = None
) -> list[Burst]:
    """Group the photos of one camera: each photo of a burst follows its predecessor within the gap.

    Names order the photos, since cameras number them: clocks jump (batteries, daylight saving), and copies of two cards
    share their times. Names that differ only in their numbers are one series: `IMG_0002 (1)` does not follow
    `IMG_0001`. Digits count as numbers: IMG_9 comes before IMG_10, and 9999 before 0001. Time orders the photos if
    names do not number them, that is, if most names are a series by themselves or time goes back and forth along them.

    A photo without a time is a burst by itself. Bursts longer than `most` are cut, except known ones. The order of
    `photos` does not matter. The id of a burst is the name of its first photo, unless it is known.
    """
    known: dict[str, list[IndexedPhoto]] = defaultdict(list)
    by_site: dict[str, list[IndexedPhoto]] = defaultdict(list)
    for photo in photos:
        if photo.seq_id is None:
            by_site[photo.site].append(photo)
        else:
            known[photo.seq_id].append(photo)
    bursts = [
        Burst(seq_id, tuple(sorted(members, key=_by_name if all(one.is_numbered for one in members) else _by_time)))
        for seq_id, members in known.items()
    ]
    for members in by_site.values():
        for chain in _chains(members, gap_seconds):
            bursts += [Burst(part[0].file_name, tuple(part)) for part in batched(chain, most or len(chain))]
    return sorted(bursts, key=lambda burst: _by_name(burst.photos[0]))


def with_seasons(bursts: Iterable[Burst], seasons: Mapping[str, str]) -> list[Burst]:
    """The bursts with ids like those of public seasons: `SER_S1#site#1#` and the earlier id.

    `seasons` has a season by folder, "" being the top; the longest folder counts. Sites are named from there: a camera of
    two seasons is one site. Bursts without a season keep their id. Raises UsageError for a folder without any burst.
    """
    made, used = [], set()
    for one in bursts:
        folder = folder_of(one.photos[0].file_name)
        while folder and folder not in seasons:
            folder = folder.rpartition("/")[0]
        used.add(folder)
        if season := seasons.get(folder):
            site = one.photos[0].site.removeprefix(f"{folder}/")
            photos = tuple(replace(photo, site=site) for photo in one.photos)
            one = replace(one, seq_id=f"{SEASON_PREFIX}{season}#{site}#1#{one.seq_id}", photos=photos)  # noqa: PLW2901
        made.append(one)
    for folder in seasons.keys() - used:
        which = seasons[folder] + (f"={folder}" if folder else "")
        raise UsageError(f"--season {which}: must be the season of at least one burst, got none")
    return made


def _chains(photos: list[IndexedPhoto], gap_seconds: float) -> Iterator[list[IndexedPhoto]]:
    """Bursts of one camera, of any length."""
    all_series: dict[str, list[IndexedPhoto]] = defaultdict(list)
    for photo in photos:
        all_series[_series(photo)].append(photo)
    n_alone = sum(len(members) == 1 for members in all_series.values())
    if 2 * n_alone > len(photos) or not all(photo.is_numbered for photo in photos):
        yield from _parted(sorted(photos, key=_by_time), gap_seconds)
        return
    for members in all_series.values():
        ordered = sorted(members, key=_by_name)
        if _goes_back_and_forth(ordered, gap_seconds):
            ordered.sort(key=_by_time)
        parts = list(_parted(ordered, gap_seconds))
        if len(parts) > 1 and _rolls_over(ordered[-1], ordered[0], gap_seconds):
            parts = [*parts[1:-1], [*parts[-1], *parts[0]]]
        yield from parts


def _parted(photos: list[IndexedPhoto], gap_seconds: float) -> Iterator[list[IndexedPhoto]]:
    part: list[IndexedPhoto] = []
    for photo in photos:
        # Names may order frames of one burst against their times by a second: the clock ticks between them.
        if part and abs(_seconds(part[-1], photo)) > gap_seconds:
            yield part
            part = []
        part.append(photo)
    if part:
        yield part


def _goes_back_and_forth(photos: list[IndexedPhoto], gap_seconds: float) -> bool:
    steps = [step for earlier, later in pairwise(photos) if (step := _seconds(earlier, later)) != float("inf")]
    return sum(step < -gap_seconds for step in steps) > MOST_BACKWARD * len(steps)


def _rolls_over(last: IndexedPhoto, first: IndexedPhoto, gap_seconds: float) -> bool:
    """Whether a camera's counter went from 9999 to 0001 between two photos of a burst."""
    before, after = (DIGITS.findall(_stem_and_copy(photo)[0])[-1:] for photo in (last, first))
    if not before or not after or set(before[0]) != {"9"} or after[0].lstrip("0") not in ("", "1"):
        return False
    return 0 <= _seconds(last, first) <= gap_seconds


def _seconds(earlier: IndexedPhoto, later: IndexedPhoto) -> float:
    """Seconds from one photo to another; infinite if either has no time."""
    if earlier.moment is None or later.moment is None:
        return float("inf")
    return (later.moment - earlier.moment).total_seconds()


def _series(photo: IndexedPhoto) -> str:
    """The common part of the names of photos that a camera numbered consecutively."""
    stem, copy = _stem_and_copy(photo)
    return DIGITS.sub("#", stem) + copy


def _stem_and_copy(photo: IndexedPhoto) -> tuple[str, str]:
    """`IMG_0001 (2).JPG` -> `IMG_0001` and ` (2)`, which is "" if the name is not a copy's."""
    match = NAME_PARTS.fullmatch(photo.file_name.rpartition("/")[2])
    return (match[1], match[2] or "") if match else ("", "")


def _by_name(photo: IndexedPhoto) -> tuple[list[tuple[int, str]], str]:
    """Sort key: digits as numbers; names that differ only in leading zeros are ordered as text."""
    parts = DIGITS.split(photo.file_name)
    # Without leading zeros, the longer number is the larger one; int() refuses thousands of digits.
    numbers = [part.lstrip("0") for part in parts]
    return [
        (len(number), number) if place % 2 else (0, part)
        for place, (part, number) in enumerate(zip(parts, numbers, strict=True))
    ], photo.file_name


def _by_time(photo: IndexedPhoto) -> tuple[datetime, tuple[list[tuple[int, str]], str]]:
    """Sort key: time, then name; photos without a time come last."""
    return photo.moment or datetime.max, _by_name(photo)
