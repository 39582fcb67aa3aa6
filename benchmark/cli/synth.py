"""`hakuna synth` and `hakuna demo`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inference.core.errors import UsageError

if TYPE_CHECKING:
    pass
import re
import time
from typing import TYPE_CHECKING

from inference.core.sequences import ImageSize
from inference.settings.units import share_of


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data and results.")] = Path("demo"),
    sequences: Annotated[int, typer.Option(min=1, max=10_000, help="Bursts of the synthetic season.")] = 120,
    seed: Annotated[int, typer.Option(help="Another seed, another season.")] = 1,
) -> None:
    """Make an unseen synthetic season, predict it with small trained networks, score, report. No internet, under two minutes.

    Example: hakuna demo --out demo
    """
    from benchmark.scoring.tables import print_score
    from benchmark.selftest.demo import run_demo
    from inference.bundle.manifest import DEMO_WARNING
    from inference.settings.logs import configure_logging, progress_for
    from inference.settings.settings import load_settings

    settings = load_settings()
    human = configure_logging(settings.log_format)
    with progress_for(human) as on_progress:
        files = run_demo(out, n_sequences=sequences, seed=seed, n_workers=settings.workers, on_progress=on_progress)
    print_score(files.score, most=8)
    typer.echo(f"photos and labels  {files.data}")
    typer.echo(f"model bundle       {files.bundle}")
    typer.echo(f"submission         {files.out / 'submission.csv'}")
    typer.echo(f"report             {files.report}")
    typer.echo(DEMO_WARNING)


class SeasonRole(StrEnum):
    """Whose files a synthetic season is written as."""

    TRAIN = "train"
    TEST = "test"


def synth(
    out: Annotated[Path, typer.Argument(help="Folder for photos, metadata and labels; must not exist.")],
    seasons: Annotated[str, typer.Option(help="Numbers: 11, 1-8 or 1-3,9.")] = "1",
    sequences: Annotated[int, typer.Option(min=1, help="Of each season.")] = 200,
    cameras: Annotated[int, typer.Option(min=1, max=2000, help="Of each season.")] = 12,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH: 1536x2048 and 1920x2560 as real ones, less for tests.")] = (
        "480x640"
    ),
    role: Annotated[SeasonRole, typer.Option(help="Write train_*.csv, or test_*.csv with a submission format.")] = (
        SeasonRole.TEST
    ),
    damaged: Annotated[str, typer.Option(help="Share of the photos that are damaged or missing: 1%.")] = "0%",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other cameras and animals.")] = 1,
    workers: Annotated[int | None, typer.Option(help="Processes that draw; default: one per core.")] = None,
    contact_sheet: Annotated[Path | None, typer.Option(help="Also draw a page of photos: a .png or .jpg.")] = None,
    beside: Annotated[Path | None, typer.Option(help="Folder of real photos to show on that page too.")] = None,
) -> None:
    """Make synthetic seasons in the competition's format. The same seed gives the same bytes.

    Examples:
        hakuna synth seasons --seasons 1-10 --role train --sequences 500 --workers 2

        hakuna synth season11 --seasons 11 --size 1536x2048 --damaged 1% --contact-sheet sheet.png
    """
    from benchmark.synthetic.contact_sheet import check_contact_sheet
    from inference.settings.settings import load_settings

    settings = load_settings(workers=workers)
    if contact_sheet:
        check_contact_sheet(contact_sheet, beside)
    make_seasons(
        out,
        seasons=parse_seasons(seasons),
        n_sequences=sequences,
        n_cameras=cameras,
        size=parse_size(size),
        role=role.value,
        damaged_share=parse_share(damaged),
        seed=seed,
        n_workers=settings.workers,
    )
    if contact_sheet:
        draw_sheet(out, contact_sheet, seed, beside)


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
    from rich.console import Console
    from rich.progress import Progress

    from benchmark.synthetic.season import Role, SeasonOptions, write_seasons

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
    from rich.console import Console

    from benchmark.synthetic.contact_sheet import write_contact_sheet

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
