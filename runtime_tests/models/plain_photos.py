"""Seasons that are easier than those of `hakuna synth`: a tiny network learns from them within a minute.

Each camera looks at its own landscape, by day in colour and by night in infra-red grey. Most bursts are empty; in the
others animals of one species walk from frame to frame. The bottom line is burnt in as real cameras do it.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from benchmark.timing.reference_kernels import landscape
from inference.core.labels import LABELS
from inference.core.sequences import ImageSize
from inference.dataset.metadata import FORMAT_NAME, METADATA_COLUMNS, METADATA_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from inference.core.sequences import Pixels

LABELS_NAME = "test_labels.csv"

EMPTY_SHARE = 0.76
"""Share of bursts in which nothing is seen."""
FRAMES_PER_BURST = (1, 2, 3)
FRAMES_SHARE = (0.08, 0.19, 0.73)
"""Mean 2.65, as in the public seasons."""
NIGHT_HOURS = frozenset({0, 1, 2, 3, 4, 5, 19, 20, 21, 22, 23})
START = datetime(2010, 8, 1)
JPEG_QUALITY = 85
STRIP_SHARE = 1 / 14
"""Height of the info strip relative to the photo."""


@dataclass(frozen=True)
class Species:
    """What an animal looks like from the side. Lengths relative to the height of the photo."""

    label: str
    colour: tuple[int, int, int]
    length: float
    leg: float
    stripes: int
    herd: int
    """Largest number of animals in one photo."""


SPECIES = (
    Species("wildebeest", (88, 80, 76), 0.26, 0.13, 0, 5),
    Species("zebra", (225, 225, 220), 0.25, 0.12, 7, 4),
    Species("gazellethomsons", (196, 150, 96), 0.16, 0.10, 1, 5),
    Species("buffalo", (48, 42, 40), 0.32, 0.11, 0, 3),
    Species("elephant", (120, 114, 110), 0.50, 0.20, 0, 2),
    Species("giraffe", (206, 160, 84), 0.28, 0.34, 4, 2),
    Species("warthog", (104, 84, 70), 0.15, 0.05, 0, 3),
    Species("guineafowl", (70, 74, 92), 0.07, 0.03, 0, 6),
    Species("lionfemale", (200, 168, 116), 0.27, 0.09, 0, 2),
    Species("otherbird", (60, 50, 48), 0.06, 0.04, 0, 1),
)
"""Ten of the 53 species: the common ones, and one that is seen in one frame only."""
SPECIES_SHARE = np.array([0.30, 0.20, 0.15, 0.08, 0.07, 0.05, 0.05, 0.04, 0.03, 0.03])
SEEN_ONCE = frozenset({"otherbird"})


@dataclass(frozen=True)
class Burst:
    """One capture event before it is drawn."""

    seq_id: str
    camera: int
    moment: datetime
    n_frames: int
    species: Species | None


@dataclass(frozen=True)
class Animal:
    """Where an animal walks: centre and step per frame, relative to width and height of the photo."""

    x: float
    y: float
    step: float
    size: float


def write_season(folder: Path, *, n_sequences: int, n_cameras: int, size: ImageSize, seed: int) -> None:
    """Write photos, metadata, submission format and labels of a season; the same seed gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    backgrounds = [landscape(size, np.random.default_rng((seed, 1, camera))) for camera in range(n_cameras)]
    bursts = plan_bursts(n_sequences, n_cameras, seed)
    with (
        (folder / METADATA_NAME).open("w", newline="", encoding="utf-8") as metadata_file,
        (folder / FORMAT_NAME).open("w", newline="", encoding="utf-8") as format_file,
        (folder / LABELS_NAME).open("w", newline="", encoding="utf-8") as labels_file,
    ):
        metadata, formats, labels = (csv.writer(file) for file in (metadata_file, format_file, labels_file))
        metadata.writerow(METADATA_COLUMNS)
        formats.writerow(["seq_id", *LABELS])
        labels.writerow(["seq_id", *LABELS])
        for number, burst in enumerate(bursts):
            random = np.random.default_rng((seed, 2, number))
            for k, photo in enumerate(draw_burst(burst, backgrounds[burst.camera], random)):
                name = f"S1/C{burst.camera:02d}/S1_C{burst.camera:02d}_PICT{number:05d}_{k + 1}.JPG"
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(photo).save(folder / name, "JPEG", quality=JPEG_QUALITY)
                metadata.writerow([burst.seq_id, burst.moment.isoformat(sep=" "), name])
            seen = burst.species.label if burst.species else "empty"
            formats.writerow([burst.seq_id, *[0] * len(LABELS)])
            labels.writerow([burst.seq_id, *[int(label == seen) for label in LABELS]])


def plan_bursts(n_sequences: int, n_cameras: int, seed: int) -> list[Burst]:
    """Decide when each camera fires and what it sees."""
    random = np.random.default_rng((seed, 0))
    bursts = []
    for number in range(n_sequences):
        camera = number % n_cameras
        species = None if random.random() < EMPTY_SHARE else SPECIES[random.choice(len(SPECIES), p=SPECIES_SHARE)]
        bursts.append(
            Burst(
                seq_id=f"SER_S1#C{camera:02d}#1#{number // n_cameras + 1}",
                camera=camera,
                moment=START + timedelta(seconds=int(random.integers(0, 365 * 24 * 3600))),
                n_frames=int(random.choice(FRAMES_PER_BURST, p=FRAMES_SHARE)),
                species=species,
            )
        )
    return bursts


def draw_burst(burst: Burst, background: npt.NDArray[np.float64], random: np.random.Generator) -> list[Pixels]:
    """The photos of a burst: uint8 (H, W, 3) each, RGB."""
    size = ImageSize(*background.shape[:2])
    night = burst.moment.hour in NIGHT_HOURS
    animals = _animals(burst.species, random) if burst.species else []
    only_frame = int(random.integers(burst.n_frames))
    light = random.uniform(0.85, 1.1)
    photos = []
    for k in range(burst.n_frames):
        image = Image.fromarray(np.clip(background * light, 0, 255).astype(np.uint8))
        if burst.species and (burst.species.label not in SEEN_ONCE or k == only_frame):
            for animal in animals:
                _draw_animal(image, burst.species, animal, k)
        pixels = np.asarray(image).astype(np.float64) + random.normal(0, 3, background.shape)
        if night:
            pixels = _infra_red(pixels)
        finished = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        _burn_in(finished, size, burst.moment)
        photos.append(np.asarray(finished))
    return photos


def _animals(species: Species, random: np.random.Generator) -> list[Animal]:
    direction = random.choice((-1.0, 1.0))
    return [
        Animal(
            x=random.uniform(0.15, 0.85),
            y=random.uniform(0.5, 0.78),
            step=direction * random.uniform(0.02, 0.08),
            size=random.uniform(0.7, 1.2),
        )
        for _ in range(int(random.integers(1, species.herd + 1)))
    ]


def _draw_animal(image: Image.Image, species: Species, animal: Animal, frame: int) -> None:
    draw = ImageDraw.Draw(image)
    unit = image.height * animal.size
    half, leg = species.length * unit / 2, species.leg * unit
    height = half * 0.5
    x, y = (animal.x + animal.step * frame) * image.width, animal.y * image.height
    forward = math.copysign(1.0, animal.step)
    dark = tuple(int(value * 0.55) for value in species.colour)
    for offset in (-0.7, -0.5, 0.5, 0.7):
        draw.line((x + offset * half, y, x + offset * half, y + height + leg), fill=dark, width=max(2, int(half / 8)))
    draw.ellipse((x - half, y - height, x + half, y + height), fill=species.colour)
    neck = (x + forward * half * 0.8, y - height * 0.4)
    head = (x + forward * half * 1.25, y - height - leg * 0.5)
    draw.line((*neck, *head), fill=species.colour, width=max(3, int(half / 3)))
    radius = max(2.0, half * 0.18)
    draw.ellipse((head[0] - radius, head[1] - radius, head[0] + radius, head[1] + radius), fill=dark)
    for stripe in range(species.stripes):
        sx = x - half * 0.7 + (stripe + 0.5) * 1.4 * half / species.stripes
        draw.line((sx, y - height * 0.7, sx, y + height * 0.7), fill=dark, width=max(1, int(half / 10)))


def _infra_red(pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Grey, bright in the middle of the flash, dark around it."""
    height, width, _ = pixels.shape
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    flash = np.clip(1.15 - 0.75 * np.hypot(rows, columns), 0.12, None)
    grey = pixels.mean(axis=2) * flash
    return np.repeat(grey[..., None], 3, axis=2)


def _burn_in(image: Image.Image, size: ImageSize, moment: datetime) -> None:
    top = int(size.height * (1 - STRIP_SHARE))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, top, size.width, size.height), fill=(255, 255, 255))
    text = moment.strftime("DLCcovert.com   %m-%d-%Y %H:%M:%S")
    draw.text((size.width * 0.8, top + 2), text, fill=(0, 0, 0), anchor="ma")
