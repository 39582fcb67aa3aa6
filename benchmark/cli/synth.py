"""`hakuna synth` and `hakuna demo`."""

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from inference.cli.options import Force, Workers, check_absent, check_file, check_package
from inference.cli.printing import say
from inference.cli.session import progress_for, working
from inference.core.errors import UsageError, counted
from inference.core.sequences import ImageSize

SHEET_PHOTOS = 36
LARGEST_SIDE = 8192
SMALLEST_SIDE = 48
MOST_CARD_SEQUENCES = 2000
"""Between two visits of the rangers, who change the cards."""
EXIF_BYTES = 1024
"""Of a drawn photo of a card, which hold the model of its camera."""


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data and results.")] = Path("demo"),
    sequences: Annotated[int, typer.Option(min=1, max=10_000, help="Bursts of the synthetic season.")] = 120,
    seed: Annotated[int, typer.Option(help="Another seed, another season.")] = 1,
) -> None:
    """Make an unseen synthetic season, predict it with small trained networks, score, report. No internet, under two minutes.

    Examples:
        hakuna demo --out demo
    """
    from benchmark.scoring.tables import print_score
    from benchmark.selftest.demo import run_demo
    from inference.bundle.manifest import DEMO_WARNING
    from inference.process.progress import RunState
    from inference.settings.logs import configure_logging
    from inference.settings.settings import load_settings

    settings, state = load_settings(), RunState()
    with progress_for(configure_logging(settings.log_format), lambda: state.stage) as on_progress:
        files = run_demo(
            out, n_sequences=sequences, seed=seed, n_workers=settings.workers, on_progress=on_progress, state=state
        )
    print_score(files.score, most=8)
    say(f"photos and labels  {files.data}")
    say(f"model bundle       {files.bundle}")
    say(f"submission         {files.out / 'submission.csv'}")
    say(f"report             {files.report}")
    say(DEMO_WARNING)


def synth(
    out: Annotated[Path, typer.Argument(help="Folder for photos, metadata and labels.")],
    seasons: Annotated[str, typer.Option(help="Numbers: 11, 1-8 or 1-3,9.")] = "1",
    sequences: Annotated[int, typer.Option(min=1, help="Of each season.")] = 200,
    cameras: Annotated[int, typer.Option(min=1, max=2000, help="Of each season.")] = 12,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH: 1536x2048 and 1920x2560 as real ones, less for tests.")] = (
        "480x640"
    ),
    role: Annotated[
        Literal["train", "test"], typer.Option(help="Write train_*.csv, or test_*.csv with a submission format.")
    ] = "test",
    damaged: Annotated[str, typer.Option(help="Share of the photos that are damaged or missing: 1%.")] = "0%",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other cameras and animals.")] = 1,
    workers: Workers = None,
    contact_sheet: Annotated[
        Path | None, typer.Option(help="Also draw a page of photos: a .png or .jpg. Default: none.")
    ] = None,
    compare_with: Annotated[
        Path | None, typer.Option(help="Folder of real photos to show on that page too. Default: none.")
    ] = None,
    card: Annotated[
        bool,
        typer.Option(
            "--card", help="Write a card instead: photos with EXIF in DCIM/100MEDIA, below a folder for each camera."
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Make synthetic seasons in the competition's format, or a memory card. The same seed gives the same bytes.

    Examples:
        hakuna synth card --card --cameras 2 --sequences 40
        hakuna synth seasons --seasons 1-10 --role train --sequences 500 --workers 2
        hakuna synth season11 --seasons 11 --size 1536x2048 --damaged 1% --contact-sheet sheet.png
    """
    from inference.settings.settings import load_settings

    numbers, photo_size, damaged_share = parse_seasons(seasons), parse_size(size), parse_share(damaged)
    n_workers = load_settings(workers=workers).workers
    if card:
        check_absent("OUT", out, force)
        _check_drawn(out)
    else:
        check_package("OUT", out, force, "synth.json")
    if contact_sheet:
        check_file("--contact-sheet", contact_sheet, force)
    if card and (len(numbers) > 1 or sequences > MOST_CARD_SEQUENCES or contact_sheet):
        raise UsageError(
            f"--card: must be one season of at most {MOST_CARD_SEQUENCES} sequences, without a contact sheet, "
            f"got {counted(len(numbers), 'season')} of {counted(sequences, 'sequence')}"
        )
    from benchmark.synthetic.contact_sheet import check_contact_sheet, write_contact_sheet
    from benchmark.synthetic.season import Role, SeasonOptions, write_seasons
    from inference.core.files import make_parent

    if contact_sheet:
        check_contact_sheet(contact_sheet, compare_with)
    options = SeasonOptions(sequences, cameras, photo_size, seed, damaged_share, Role(role), is_card=card)
    start, n_drawn = time.perf_counter(), 0
    with working("drawing sequences") as on_progress:

        def advance(n_done: int) -> None:
            nonlocal n_drawn
            n_drawn += n_done
            on_progress(n_drawn, sequences * len(numbers))

        drawn = write_seasons(out, numbers, options, n_workers, advance)
    seconds = time.perf_counter() - start
    say(
        f"{counted(drawn.n_photos, 'photo')} of {photo_size}, {drawn.n_bytes / max(1, drawn.n_photos) / 1000:.0f} kB each on "
        f"average, {drawn.n_photos / seconds:.1f} photos a second -> {out}"
    )
    if contact_sheet:
        make_parent(contact_sheet)
        n_tiles = write_contact_sheet(out, contact_sheet, SHEET_PHOTOS, seed, compare_with)
        say(f"{counted(n_tiles, 'photo')} -> {contact_sheet}")


def _check_drawn(card: Path) -> None:
    """Raise UsageError if a card to be replaced has photos of a camera, which no `--force` replaces."""
    from benchmark.synthetic.season import CAMERA_MODEL
    from inference.core.files import files_below

    for path in files_below(card) if card.is_dir() else ():
        with suppress(OSError), open(path, "rb") as file:
            if path.suffix.lower() in (".jpg", ".jpeg") and CAMERA_MODEL.encode() not in file.read(EXIF_BYTES):
                raise UsageError(f"OUT {card}: must hold drawn photos only, got {path}", hint="choose another name")


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
    from inference.settings.units import share_of

    try:
        return share_of(text)
    except ValueError as error:
        raise UsageError(f"--damaged: {error}") from error
