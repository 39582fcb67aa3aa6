"""Synthetic camera-trap seasons: made-up photos with the habits of real ones, and labels that are known.

Each camera looks at its own landscape, by day in colour and by night in infra-red grey. Most bursts are empty; in the
others animals walk from frame to frame, and often reach the next camera minutes later. The bottom line is burnt in as
real cameras do it. The same seed gives the same bytes, whatever the number of workers.
"""

import csv
import math
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg

from benchmark.synthetic.animals import draw_animals, make_animals
from benchmark.synthetic.info_strips import Strip, burn_in, pick_strip
from benchmark.synthetic.plan import DrawnBurst, plan_rolls
from benchmark.synthetic.scenery import Scene, background_of_frame, expose, make_scene, make_weather
from benchmark.synthetic.species import SEEN_ONCE, SPECIES
from benchmark.synthetic.sprite import Pixels
from inference.core.files import atomic_writer, output_errors
from inference.core.labels import LABELS
from inference.core.sequences import ImageSize
from inference.dataset.metadata import METADATA_COLUMNS
from inference.process.children import exit_with_parent

METADATA_SUFFIX, FORMAT_NAME, LABELS_SUFFIX = "metadata.csv", "submission_format.csv", "labels.csv"
LABELS_NAME = f"test_{LABELS_SUFFIX}"
DAMAGED_NAME = "damaged.csv"
"""Which photos were damaged on request, and how."""
JPEG_QUALITY = 88
"""Makes photos of 2048x1536 of 400 to 1,000 kB."""
KEPT_BYTES_SHARE = (0.1, 0.9)
"""What is left of a truncated file."""
TASKS_AHEAD = 3
"""Tasks a worker that may wait: memory does not grow with the season."""
HOT, COLD = 38, 12
"""Degrees Celsius at 2 p.m. and at 4 a.m."""


class Role(StrEnum):
    """Whose files a season is written as."""

    TRAIN = "train"
    """`train_metadata.csv`, `train_labels.csv`; several seasons in one folder."""
    TEST = "test"
    """`test_metadata.csv`, `submission_format.csv`, `test_labels.csv`."""


class Damage(StrEnum):
    """What can be wrong with a file."""

    TRUNCATED = "truncated"
    NO_PHOTO = "not a photo"
    EMPTY = "empty"
    MISSING = "missing"


@dataclass(frozen=True)
class SeasonOptions:
    """What all seasons of a folder have in common.

    Attributes
    ----------
    n_sequences : of each season
    damaged_share : of the photos
    role : whose file names
    """

    n_sequences: int
    n_cameras: int
    size: ImageSize
    seed: int
    damaged_share: float = 0.0
    role: Role = Role.TEST


@dataclass(frozen=True)
class DrawTask:
    """The bursts of one camera in one roll: what a worker draws at a time."""

    folder: Path
    bursts: tuple[DrawnBurst, ...]
    options: SeasonOptions


def write_season(folder: Path, *, n_sequences: int, n_cameras: int, size: ImageSize, seed: int) -> None:
    """Write photos, metadata, submission format and labels of a single test season."""
    write_seasons(folder, (1,), SeasonOptions(n_sequences, n_cameras, size, seed))


def write_seasons(
    folder: Path,
    seasons: Iterable[int],
    options: SeasonOptions,
    n_workers: int = 1,
    on_progress: Callable[[int], None] = lambda _n_sequences: None,
) -> None:
    """Write seasons into one folder, a roll at a time; `on_progress` hears of the sequences that are done."""
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as files, _pool(n_workers) as pool:
            tables = _Tables(folder, options, files)
            tasks = _tasks(folder, seasons, options, tables)
            for n_done in _drawn(tasks, pool, n_workers):
                on_progress(n_done)


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


def damage_of(options: SeasonOptions, burst: DrawnBurst, frame: int) -> Damage | None:
    """What is wrong with a photo: a function of the seed and its place alone."""
    if not options.damaged_share:
        return None
    random = np.random.default_rng((options.seed, 3, burst.season, burst.roll, burst.number, frame))
    if random.random() >= options.damaged_share:
        return None
    return list(Damage)[int(random.integers(len(Damage)))]


@lru_cache(maxsize=8)
def _camera(seed: int, season: int, camera: int, size: ImageSize) -> tuple[Scene, Strip]:
    """A camera's view in a season, as it never stands twice in quite the same place, and its make."""
    random = np.random.default_rng((seed, 1, season, camera))
    return make_scene(size, random), pick_strip(np.random.default_rng((seed, 4, camera)))


class _Tables:
    """The CSV files of a folder, written as the plan goes on; they have their names when all photos are drawn."""

    def __init__(self, folder: Path, options: SeasonOptions, files: ExitStack) -> None:
        self._options = options
        self._folder = folder
        self._files = files
        role, by_label = options.role.value, ["seq_id", *LABELS]
        self._metadata = self._open(f"{role}_{METADATA_SUFFIX}", METADATA_COLUMNS)
        self._labels = self._open(f"{role}_{LABELS_SUFFIX}", by_label)
        self._formats = self._open(FORMAT_NAME, by_label) if options.role is Role.TEST else None
        self._damaged = self._open(DAMAGED_NAME, ["file_name", "damage"]) if options.damaged_share else None

    def _open(self, name: str, columns: Iterable[str]) -> Any:
        table = csv.writer(self._files.enter_context(atomic_writer(self._folder / name)))
        table.writerow(columns)
        return table

    def add(self, burst: DrawnBurst) -> None:
        """The rows of a burst."""
        seen = burst.labels or ("empty",)
        self._labels.writerow([burst.seq_id, *[int(label in seen) for label in LABELS]])
        if self._formats:
            self._formats.writerow([burst.seq_id, *[0] * len(LABELS)])
        for frame in range(burst.n_frames):
            self._metadata.writerow([burst.seq_id, burst.moment.isoformat(sep=" "), burst.file_name(frame)])
            damage = damage_of(self._options, burst, frame)
            if self._damaged and damage:
                self._damaged.writerow([burst.file_name(frame), damage.value])


def _tasks(folder: Path, seasons: Iterable[int], options: SeasonOptions, tables: _Tables) -> Iterator[DrawTask]:
    for season in seasons:
        for roll in plan_rolls(options.n_sequences, options.n_cameras, options.seed, season):
            for burst in roll:
                tables.add(burst)
            for _, bursts in groupby(roll, key=lambda burst: burst.camera):
                yield DrawTask(folder, tuple(bursts), options)


def _drawn(tasks: Iterator[DrawTask], pool: ProcessPoolExecutor | None, n_workers: int) -> Iterator[int]:
    """Draw every task; the number of its sequences when it is done."""
    if pool is None:
        for task in tasks:
            yield _draw_task(task)
        return
    waiting: set[Future[int]] = set()
    for task in tasks:
        waiting.add(pool.submit(_draw_task, task))
        if len(waiting) >= TASKS_AHEAD * n_workers:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for one in done:
                yield one.result()
    for one in waiting:
        yield one.result()


def _draw_task(task: DrawTask) -> int:
    for burst in task.bursts:
        for frame, photo in enumerate(draw_burst(burst, task.options)):
            path = task.folder / burst.file_name(frame)
            path.parent.mkdir(parents=True, exist_ok=True)
            data = _damaged(encode(photo), damage_of(task.options, burst, frame), task.options.seed)
            if data is not None:
                path.write_bytes(data)
    return len(task.bursts)


def _damaged(data: bytes, damage: Damage | None, seed: int) -> bytes | None:
    if damage is None:
        return data
    if damage is Damage.TRUNCATED:
        share = np.random.default_rng((seed, len(data))).uniform(*KEPT_BYTES_SHARE)
        return data[: int(share * len(data))]
    return {Damage.NO_PHOTO: b"this is no photo", Damage.EMPTY: b"", Damage.MISSING: None}[damage]


@contextmanager
def _pool(n_workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes that draw; none where one is enough."""
    if n_workers == 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, mp_context=context, initializer=_begin_to_draw) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # stopped, it draws nothing more


def _begin_to_draw() -> None:
    exit_with_parent()
    cv2.setNumThreads(1)
