"""Synthetic camera-trap seasons: generated photos with the statistics of real ones, and known labels.

Each camera has its own landscape, by day in colour and by night in infra-red grey. Most bursts are empty; in the others
animals walk from frame to frame, and often reach the next camera minutes later. The bottom line is burnt in as on real
cameras. The same seed gives the same bytes with any number of workers.
"""

import math
import multiprocessing
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache, partial
from itertools import groupby
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image

from benchmark.synthetic.animals import draw_animals, make_animals
from benchmark.synthetic.info_strips import Strip, burn_in, pick_strip
from benchmark.synthetic.plan import DrawnBurst, plan_rolls
from benchmark.synthetic.scenery import Scene, background_of_frame, expose, make_scene, make_weather
from benchmark.synthetic.species import SEEN_ONCE, SPECIES
from benchmark.synthetic.sprite import Pixels
from inference.core.files import atomic_csv, output_errors, write_json
from inference.core.labels import LABELS
from inference.core.sequences import ImageSize
from inference.dataset.metadata import METADATA_COLUMNS
from inference.images.exif import DATETIME_FORMAT
from inference.process.children import exit_with_parent

CAMERA_MODEL = "synthetic camera"
OPTIONS_NAME = "synth.json"
"""How a folder of seasons was drawn: written first, so that an interrupted one is known."""
METADATA_SUFFIX, FORMAT_NAME, LABELS_SUFFIX = "metadata.csv", "submission_format.csv", "labels.csv"
LABELS_NAME = f"test_{LABELS_SUFFIX}"
DAMAGED_NAME = "damaged.csv"
"""Lists the photos that were damaged on request, with the kind of damage."""
JPEG_QUALITY = 88
"""Gives photos of 2048x1536 with 400 to 1,000 kB."""
SOI, APP1_MARKER = b"\xff\xd8", b"\xff\xe1"
"""The beginning of a JPEG, and of the segment that holds EXIF."""
KEPT_BYTES_SHARE = (0.1, 0.9)
"""Range of the share that a truncated file keeps."""
TASKS_AHEAD = 3
"""Tasks per worker that may wait, so that memory does not grow with the season."""
HOT, COLD = 38, 12
"""Degrees Celsius at 2 p.m. and at 4 a.m."""


class Drawn(NamedTuple):
    """The work of one step, or of several."""

    n_sequences: int = 0
    n_photos: int = 0
    n_bytes: int = 0


class Role(StrEnum):
    """Kind of files that a season is written as."""

    TRAIN = "train"
    """`train_metadata.csv`, `train_labels.csv`; several seasons in one folder."""
    TEST = "test"
    """`test_metadata.csv`, `submission_format.csv`, `test_labels.csv`."""


class Damage(StrEnum):
    """Defects of a file."""

    TRUNCATED = "truncated"
    NO_PHOTO = "not a photo"
    EMPTY = "empty"
    MISSING = "missing"


@dataclass(frozen=True)
class SeasonOptions:
    """Options shared by all seasons of a folder.

    Attributes
    ----------
    n_sequences : sequences of each season
    damaged_share : share of the photos to damage
    role : kind of file names
    is_card : photos only, with EXIF, in the folders of memory cards
    """

    n_sequences: int
    n_cameras: int
    size: ImageSize
    seed: int
    damaged_share: float = 0.0
    role: Role = Role.TEST
    is_card: bool = False

    def file_name(self, burst: DrawnBurst, frame: int) -> str:
        """Path of a photo below the folder; `frame` counts from 0."""
        if not self.is_card:
            return burst.file_name(frame)
        folder = burst.card_name(frame)
        return folder if self.n_cameras == 1 else f"{burst.site}/{folder}"


def write_season(folder: Path, *, n_sequences: int, n_cameras: int, size: ImageSize, seed: int) -> None:
    """Write photos, metadata, submission format and labels of a single test season."""
    write_seasons(folder, (1,), SeasonOptions(n_sequences, n_cameras, size, seed))


def write_seasons(
    folder: Path,
    seasons: tuple[int, ...],
    options: SeasonOptions,
    n_workers: int = 1,
    on_progress: Callable[[int], None] = lambda _n_sequences: None,
) -> Drawn:
    """Write seasons into one folder, one roll at a time; `on_progress` receives the number of finished sequences.

    Returns counts of all that was written.
    """
    whole = Drawn()
    with output_errors(folder), ExitStack() as files:
        folder.mkdir(parents=True, exist_ok=True)
        if not options.is_card:
            write_json({"seasons": [*seasons], "options": vars(options)}, folder / OPTIONS_NAME)
        plan = (
            roll
            for season in seasons
            for roll in plan_rolls(options.n_sequences, options.n_cameras, options.seed, season)
        )
        rolls = plan if options.is_card else _with_tables(folder, plan, options, files)
        groups = (tuple(bursts) for roll in rolls for _, bursts in groupby(roll, key=lambda burst: burst.camera))
        draw = partial(_draw_bursts, folder, options)
        drawn = _side_by_side(draw, groups, n_workers) if n_workers > 1 else (draw(bursts) for bursts in groups)
        with closing(drawn):
            for part in drawn:
                on_progress(part.n_sequences)
                whole = Drawn(*map(sum, zip(whole, part, strict=True)))
    return whole


def draw_burst(burst: DrawnBurst, options: SeasonOptions) -> list[Pixels]:
    """The photos of a burst: uint8 (H, W, 3) each, RGB."""
    scene, strip = _camera(options.seed, burst.season, burst.camera, options.size)
    random = np.random.default_rng((options.seed, 2, burst.season, burst.roll, burst.number))
    return draw_frames(burst, scene, strip, random)


def draw_frames(burst: DrawnBurst, scene: Scene, strip: Strip, random: np.random.Generator) -> list[Pixels]:
    """The photos of a burst in front of a scene."""
    weather = make_weather(random, is_night=burst.is_night, hour=burst.moment.hour)
    groups = [(SPECIES[label], make_animals(SPECIES[label], random)) for label in burst.labels]
    only_frame = int(random.integers(burst.n_frames))
    warmth = (1 + math.cos((burst.moment.hour - 14) / 24 * math.tau)) / 2
    celsius = round(COLD + (HOT - COLD) * warmth + float(random.normal(0, 2)))
    photos = []
    for frame in range(burst.n_frames):
        photo = background_of_frame(scene, weather, frame)
        for species, animals in groups:
            if species.label not in SEEN_ONCE or frame == only_frame:
                draw_animals(photo, species, animals, scene.horizon, frame, is_night=burst.is_night)
        photo = expose(photo, weather, random)
        burn_in(photo, strip, burst.moment, celsius)
        photos.append(photo)
    return photos


def encode(photo: Pixels) -> bytes:
    """JPEG as cameras write it, chroma at half the size."""
    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(photo), JPEG_QUALITY, "RGB", "420")
    return data


def with_exif(photo: bytes, moment: datetime) -> bytes:
    """The JPEG with the time at which its camera took it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Hakuna", CAMERA_MODEL
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = moment.strftime(DATETIME_FORMAT)
    segment = exif.tobytes()
    start, rest = photo[: len(SOI)], photo[len(SOI) :]
    return start + APP1_MARKER + (len(segment) + 2).to_bytes(2, "big") + segment + rest


def damage_of(options: SeasonOptions, burst: DrawnBurst, frame: int) -> Damage | None:
    """The defect of a photo, which depends only on the seed and its place."""
    if not options.damaged_share:
        return None
    random = np.random.default_rng((options.seed, 3, burst.season, burst.roll, burst.number, frame))
    if random.random() >= options.damaged_share:
        return None
    return list(Damage)[int(random.integers(len(Damage)))]


@lru_cache(maxsize=8)
def _camera(seed: int, season: int, camera: int, size: ImageSize) -> tuple[Scene, Strip]:
    """A camera's view and make. The view differs by season, as a camera never returns to exactly the same place."""
    random = np.random.default_rng((seed, 1, season, camera))
    return make_scene(size, random), pick_strip(np.random.default_rng((seed, 4, camera)))


def _with_tables(
    folder: Path, rolls: Iterable[list[DrawnBurst]], options: SeasonOptions, files: ExitStack
) -> Iterator[list[DrawnBurst]]:
    """The bursts of each roll; their rows go into CSV files, which have their names when `files` ends."""

    def table(name: str, *columns: str) -> Any:
        rows = files.enter_context(atomic_csv(folder / name))
        rows.writerow(columns)
        return rows

    role = options.role.value
    metadata = table(f"{role}_{METADATA_SUFFIX}", *METADATA_COLUMNS)
    labels = table(f"{role}_{LABELS_SUFFIX}", "seq_id", *LABELS)
    formats = table(FORMAT_NAME, "seq_id", *LABELS) if options.role is Role.TEST else None
    damaged = table(DAMAGED_NAME, "file_name", "damage") if options.damaged_share else None
    for roll in rolls:
        for burst in roll:
            labels.writerow([burst.seq_id, *[int(label in (burst.labels or ("empty",))) for label in LABELS]])
            names = [burst.file_name(frame) for frame in range(burst.n_frames)]
            metadata.writerows([burst.seq_id, burst.moment.isoformat(sep=" "), name] for name in names)
            if formats:
                formats.writerow([burst.seq_id, *[0] * len(LABELS)])
            if damaged:
                found = [(name, damage_of(options, burst, frame)) for frame, name in enumerate(names)]
                damaged.writerows((name, damage.value) for name, damage in found if damage)
        yield roll


def _side_by_side(
    draw: Callable[[tuple[DrawnBurst, ...]], Drawn], groups: Iterator[tuple[DrawnBurst, ...]], n_workers: int
) -> Generator[Drawn, None, None]:
    """Draw in processes; yields the counts of each finished group."""
    context = multiprocessing.get_context("spawn")
    waiting: set[Future[Drawn]] = set()
    stop = context.Event()
    with ProcessPoolExecutor(n_workers, mp_context=context, initializer=_begin_to_draw, initargs=(stop,)) as pool:
        try:
            for bursts in groups:
                waiting.add(pool.submit(draw, bursts))
                if len(waiting) >= TASKS_AHEAD * n_workers:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in done)
            yield from (one.result() for one in waiting)
        finally:
            stop.set()  # each process finishes its current burst and ends
            pool.shutdown(cancel_futures=True)


def _draw_bursts(folder: Path, options: SeasonOptions, bursts: tuple[DrawnBurst, ...]) -> Drawn:
    n_bytes = []
    for burst in bursts:
        if any(stop.is_set() for stop in _STOP):
            break
        for frame, photo in enumerate(draw_burst(burst, options)):
            path = folder / options.file_name(burst, frame)
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = encode(photo)
            if options.is_card:
                whole = with_exif(whole, burst.moment + timedelta(seconds=frame))
            data = _damaged(whole, damage_of(options, burst, frame), options.seed)
            if data is not None:
                n_bytes.append(path.write_bytes(data))
    return Drawn(len(bursts), len(n_bytes), sum(n_bytes))


def _damaged(data: bytes, damage: Damage | None, seed: int) -> bytes | None:
    if damage is None:
        return data
    if damage is Damage.TRUNCATED:
        share = np.random.default_rng((seed, len(data))).uniform(*KEPT_BYTES_SHARE)
        return data[: int(share * len(data))]
    return {Damage.NO_PHOTO: b"this is no photo", Damage.EMPTY: b"", Damage.MISSING: None}[damage]


_STOP: list[Event] = []
"""In a drawing process: set when the season is no longer wanted."""


def _begin_to_draw(stop: Event) -> None:
    _STOP.append(stop)
    exit_with_parent()
    cv2.setNumThreads(1)
