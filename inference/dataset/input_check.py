"""What the photos of a job look like from outside: their folder entries, nothing is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from inference.core.errors import InputError
from inference.core.sequences import FailureReason, Sequence
from inference.process.read_timeout import ReadTimeout, ReadTimeoutError
from inference.storage.local import entry_of


@dataclass(frozen=True)
class InputSummary:
    """What the photos of a job look like from outside."""

    n_photos: int
    n_bytes: int
    problems: Counter[FailureReason]


def summarise_input(sequences: Iterable[Sequence], data_folder: Path, n_frames: int) -> InputSummary:
    """Count the photos that take part, their bytes, and what is wrong with them as far as their folder entries tell."""
    n_photos = n_bytes = 0
    problems: Counter[FailureReason] = Counter()
    for sequence in sequences:
        for image in sequence.images[:n_frames]:
            n_photos += 1
            entry = entry_of(data_folder, image.file_name)
            if isinstance(entry, FailureReason):
                problems[entry] += 1
            else:
                n_bytes += entry.st_size
    return InputSummary(n_photos, n_bytes, problems)


def check_any_photo(
    sequences: tuple[Sequence, ...],
    data_folder: Path,
    n_frames: int,
    read_timeout: ReadTimeout,
    check: Callable[[], None],
) -> None:
    """Raise InputError where metadata, submission format and data folder cannot belong together.

    That is where no sequence of the submission format is in the metadata, or none of its photos is in the data folder: a
    run would be complete, and all of it priors. The first photo that is there is enough. A shard looks at all sequences:
    its own photos may be lost, those of the others too would be no accident.

    `check` is called for every sequence, and stops the search by raising. A look that takes too long is no answer.
    """
    n_photos, first = 0, None
    for sequence in sequences:
        check()
        for image in sequence.images[:n_frames]:
            n_photos, first = n_photos + 1, first or image.file_name
            if _is_there(data_folder, image.file_name, read_timeout):
                return
    if not sequences:
        return
    if first is None:
        raise InputError(
            f"metadata: must tell of sequences of the submission format, got none of its {len(sequences)}, "
            f"the first of them {sequences[0].seq_id!r}; is the format that of other metadata?"
        )
    raise InputError(
        f"{data_folder}: must hold the photos that the metadata name, got none of {n_photos}, the first of them "
        f"{first!r}; file_name is a path below the data folder"
    )


def _is_there(data_folder: Path, file_name: str, read_timeout: ReadTimeout) -> bool:
    try:
        entry = read_timeout(lambda: entry_of(data_folder, file_name))
    except ReadTimeoutError:
        return True
    return entry not in (FailureReason.MISSING, FailureReason.UNSAFE_PATH)
