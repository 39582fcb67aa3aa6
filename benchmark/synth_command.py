"""What `hakuna synth` does; `benchmark.cli` hands over plain arguments."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from benchmark.contact_sheet import write_contact_sheet
from benchmark.synthetic import Role, SeasonOptions, write_seasons
from inference.domain import ImageSize, UsageError
from inference.settings import share_of

if TYPE_CHECKING:
    from pathlib import Path

SHEET_PHOTOS = 36
LARGEST_SIDE = 8192
SMALLEST_SIDE = 48


def make_seasons(
    out: Path,
    *,
    seasons: tuple[int, ...],
    n_sequences: int,
    n_cameras: int,
    size: ImageSize,
    role: str,
    damaged_share: float,
    seed: int,
    n_workers: int,
) -> None:
    """Write seasons into a new folder and say how long that took. Raises UsageError where it is not new."""
    if out.exists():
        raise UsageError(f"OUT {out}: must not exist yet; without tables it is what an interrupted run left, delete it")
    options = SeasonOptions(n_sequences, n_cameras, size, seed, damaged_share, Role(role))
    start = time.perf_counter()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("sequences", total=n_sequences * len(seasons))
        write_seasons(out, seasons, options, n_workers, lambda n_done: progress.advance(bar, n_done))
    seconds = time.perf_counter() - start
    sizes = [path.stat().st_size for path in out.rglob("*.JPG")]
    Console().print(
        f"{len(sizes)} photos of {size}, {sum(sizes) / max(1, len(sizes)) / 1000:.0f} kB each on average, "
        f"{len(sizes) / seconds:.1f} photos a second -> {out}",
        highlight=False,
    )


def draw_sheet(season: Path, page: Path, seed: int, beside: Path | None) -> None:
    """Draw a page of a season's photos."""
    n_tiles = write_contact_sheet(season, page, SHEET_PHOTOS, seed, beside)
    Console().print(f"{n_tiles} photos -> {page}", highlight=False)


def parse_seasons(text: str) -> tuple[int, ...]:
    """`1-3,9` -> 1, 2, 3, 9. Raises UsageError."""
    seasons: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise UsageError(f"--seasons: must be numbers from 1 on, such as 1-8 or 1-3,9, got {text!r}")
        seasons += range(first, last + 1)
    if len(set(seasons)) < len(seasons):
        raise UsageError(f"--seasons: must be different, got {text!r}")
    return tuple(seasons)


def parse_size(text: str) -> ImageSize:
    """`1536x2048`: height before width. Raises UsageError."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    size = ImageSize(int(match[1]), int(match[2])) if match else ImageSize(0, 0)
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
        raise UsageError(
            f"--size: must be HEIGHTxWIDTH, each from {SMALLEST_SIDE} to {LARGEST_SIDE}, such as 480x640, got {text!r}"
        )
    return size


def parse_share(text: str) -> float:
    """`1%` or `0.01`. Raises UsageError."""
    try:
        share = float(str(share_of(text)))
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(f"--damaged: must be a share such as 1%, got {text!r}")
    return share
