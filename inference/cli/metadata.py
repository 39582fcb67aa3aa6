"""`hakuna metadata`."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from inference.cli.options import Force, check_file
from inference.cli.printing import say
from inference.cli.session import working
from inference.core.errors import UsageError, counted
from inference.core.files import make_parent
from inference.dataset.metadata import FORMAT_NAME


def metadata(
    photos: Annotated[Path, typer.Argument(help="Folder with photos, or a COCO Camera Traps .json file.")],
    out: Annotated[Path, typer.Option(help="Metadata to write: seq_id, datetime, file_name, site.")],
    submission_format: Annotated[
        Path | None,
        typer.Option(
            "--format",
            help="Submission format to write; default: submission_format.csv next to OUT.",
        ),
    ] = None,
    burst_gap: Annotated[
        float | None,
        typer.Option(min=0.0, help="Longest gap in seconds between two photos of a burst; default 5."),
    ] = None,
    max_photos: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Split longer bursts into parts of up to this many photos; 3: predict sees all. Default: never.",
        ),
    ] = None,
    season: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SEASON[=FOLDER]",
            help="S1: sequence ids SER_S1#site#..., as hakuna train needs them. S2=river: only photos in this folder. "
            "May be given several times. Default: none.",
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Make the metadata of a folder of photos: the camera's clock from EXIF, bursts by camera folder and time.

    Photos of a camera form a burst while each follows the previous one within --burst-gap. Cameras number their photos,
    so names give the order; without numbers, times do. A photo without a time is a separate burst.

    Examples:
        hakuna metadata /media/card --out metadata.csv
        hakuna metadata /media/card --out metadata.csv --max-photos 3
        hakuna metadata annotations.json --out metadata.csv --burst-gap 60
        hakuna metadata photos --out photos/train_metadata.csv --season S1 --season S2=river
    """
    from inference.dataset import bursts, photo_index

    format_path = submission_format or out.parent / FORMAT_NAME
    if len({path.resolve() for path in (photos, out, format_path)}) < 3:  # noqa: PLR2004
        raise UsageError(f"PHOTOS, --out, --format: must be different files, got {photos}, {out}, {format_path}")
    check_file("--out", out, force)
    another = f"name another: --format {shlex.quote(str(out.with_name(f'{out.stem}_format.csv')))}"
    if submission_format:
        check_file("--format", format_path, force)
    else:
        check_file("--format was not given; its default", format_path, force, another)
    seasons = parse_seasons(season or [])
    with working("reading photos") as on_progress:
        is_folder = os.path.isdir(photos)
        found = photo_index.find_photos(photos, on_progress) if is_folder else photo_index.read_coco(photos)
        made = bursts.group_bursts(found.photos, bursts.GAP_SECONDS if burst_gap is None else burst_gap, max_photos)
        made = bursts.with_seasons(made, seasons)
        make_parent(format_path)
        make_parent(out)
        photo_index.write_submission_format(format_path, made)
        photo_index.write_metadata(out, made)
    n_sites = len({photo.site for burst in made for photo in burst.photos})
    counts = ", ".join(map(counted, (len(found.photos), len(made), n_sites), ("photo", "burst", "site")))
    say(f"{counts} -> {out}, {format_path}")
    for line in photo_index.warnings(found, made):
        say(line, err=True)


def parse_seasons(texts: list[str]) -> dict[str, str]:
    """`S1`, `S2=river/` -> the season of every folder: {"": "S1", "river": "S2"}. Raises UsageError."""
    from inference.dataset.bursts import SEASON
    from inference.dataset.camera_folders import plain_path

    seasons: dict[str, str] = {}
    for text in texts:
        season, _, folder = text.partition("=")
        folder = plain_path(folder).rstrip("/")
        if not SEASON.fullmatch(season) or folder in seasons:
            raise UsageError(f"--season: must be such as S1 or S2=FOLDER, each folder once, got {', '.join(texts)}")
        seasons[folder] = season
    return seasons
