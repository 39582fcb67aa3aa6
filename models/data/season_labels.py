"""The season of a sequence, and the names of the files that hold labels."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from inference.core.errors import InputError, UsageError
from inference.dataset import bursts

TRAIN_METADATA_NAME = "train_metadata.csv"
TRAIN_LABELS_NAME = "train_labels.csv"
"""The competition's file names, below the data folder."""

SEASON = re.compile(rf"{bursts.SEASON_PREFIX}({bursts.SEASON.pattern})#")
"""Public sequences are named season # site # roll # capture: `SER_S1#B04#1#1`."""
SUCH_IDS = (
    "`hakuna metadata PHOTOS --season S1 --out FILE` makes such ids; --season S2=FOLDER: another season for a folder"
)


def season_of(seq_id: str) -> str | None:
    """`S1` for `SER_S1#B04#1#1`; None for other names."""
    match = SEASON.match(seq_id)
    return match.group(1) if match else None


def parse_seasons(option: str, text: str) -> tuple[str, ...]:
    """`S1,S2` -> two names. Raises UsageError."""
    seasons = tuple(part.strip() for part in text.split(","))
    if not all(map(bursts.SEASON.fullmatch, seasons)):
        raise UsageError(
            f"{option}: must be seasons such as S1,S2,S3, got {text!r}; sequences of S1 have ids SER_S1#...",
            hint=SUCH_IDS,
        )
    if len(set(seasons)) < len(seasons):
        raise UsageError(f"{option}: must be different seasons, got {text!r}")
    return seasons


def check_disjoint(training: Collection[str], validation: Collection[str]) -> None:
    """Reject validation on training seasons. Raises UsageError."""
    both = sorted(set(training) & set(validation))
    if both:
        raise UsageError(
            f"--train, --valid: must have no season in common, got {', '.join(both)} in both",
            hint="with a single season, give some cameras another: hakuna metadata PHOTOS --season S1 --season S2=FOLDER",
        )


def ids_of_seasons(seq_ids: Iterable[str], seasons: Collection[str], where: Path) -> list[str]:
    """The sequences of some seasons, sorted. Raises InputError naming a season without any."""
    found: dict[str, list[str]] = {}
    for seq_id in seq_ids:
        found.setdefault(season_of(seq_id) or "", []).append(seq_id)
    missing = [season for season in seasons if season not in found]
    if missing:
        known = sorted(season for season in found if season)
        raise InputError(
            f"{where}: must have sequences of season {missing[0]}, whose seq_id begins with SER_{missing[0]}#, "
            f"got only {known or f'ids without a season, such as {found[str()][0]!r}'}",
            hint=SUCH_IDS,
        )
    return sorted(seq_id for season in set(seasons) for seq_id in found[season])
