"""Checks the folder entries of a job's photos, without opening any file."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from inference.core.errors import InputError
from inference.core.iteration import batched
from inference.core.sequences import MOST_NAMED, FailureReason, FrameFailure, Sequence, named
from inference.storage.interface import Entry
from inference.storage.opening import TimedStorage

ENTRIES_TOGETHER = 256
"""Number of photos whose folder entries are awaited together."""
MAX_WITNESSES = 16
"""Photos that represent all others; if photos are missing, each costs one lookup of its folder entry."""


@dataclass(frozen=True)
class InputSummary:
    """Counts of a job's photos, from their folder entries."""

    n_photos: int
    n_bytes: int
    problems: Counter[FailureReason]
    first_problems: list[str]
    """The first few photos with a problem, for messages."""


def summarise_input(sequences: Iterable[Sequence], storage: TimedStorage, n_frames: int) -> InputSummary:
    """Count the photos that take part, their bytes, and the problems that their folder entries show."""
    n_photos = n_bytes = 0
    problems: Counter[FailureReason] = Counter()
    first: list[str] = []
    names = (image.file_name for sequence in sequences for image in sequence.images[:n_frames])
    for part in batched(names, ENTRIES_TOGETHER):
        n_photos += len(part)
        entries = storage.entries(part)
        n_bytes += sum(one.n_bytes for one in entries if isinstance(one, Entry))
        failures = [one for one in entries if isinstance(one, FrameFailure)]
        problems.update(one.reason for one in failures)
        first = (first + named(failures))[:MOST_NAMED]
    return InputSummary(n_photos, n_bytes, problems, first)


def check_any_photo(
    sequences: tuple[Sequence, ...], storage: TimedStorage, n_frames: int, check: Callable[[], None]
) -> tuple[str, ...]:
    """Names of some existing photos, from all parts of the season; none if the first lookups find none.

    Raises InputError if metadata, submission format and photos cannot belong together: no sequence of the submission
    format is in the metadata, or none of its photos is in the storage. Such a run would consist of priors alone. One
    existing photo is enough, and so is one that is not known to be missing. All sequences count, even in a shard: its
    own photos may be lost, but not all the others.

    `check` is called for every sequence and raises to stop the search.
    """
    spread = [one.images[0].file_name for one in sequences[:: len(sequences) // MAX_WITNESSES + 1] if one.images]
    entries = storage.entries(spread)
    if found := tuple(name for name, entry in zip(spread, entries, strict=True) if isinstance(entry, Entry)):
        return found
    n_photos, first = 0, None
    for sequence in sequences:
        check()
        for image in sequence.images[:n_frames]:
            n_photos, first = n_photos + 1, first or image.file_name
            entry = storage.entry(image.file_name)
            if isinstance(entry, Entry):
                return (image.file_name,)
            if entry.reason not in (FailureReason.MISSING, FailureReason.UNSAFE_PATH):
                return ()
    if not sequences:
        return ()
    if first is None:
        raise InputError(
            f"metadata: must have sequences of the submission format, got none of its {len(sequences)}, "
            f"the first of them {sequences[0].seq_id!r}; does the format belong to other metadata?"
        )
    raise InputError(
        f"{storage}: must hold the photos that the metadata name, got none of {n_photos}, the first of them "
        f"{first!r}; file_name must be a path below it"
    )
