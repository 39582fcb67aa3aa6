"""The seam for photos: what a place where photos lie offers, whatever kind of place it is."""

from typing import NamedTuple, Protocol

from inference.core.sequences import FailureReason, FrameFailure

MAX_FILE_BYTES = 64 << 20
"""Larger files are not read; the largest photos of the public seasons have 1.5 MB."""
STAT_FAILURES = frozenset(
    {
        FailureReason.UNSAFE_PATH,
        FailureReason.MISSING,
        FailureReason.NOT_A_FILE,
        FailureReason.EMPTY_FILE,
        FailureReason.TOO_LARGE,
    }
)
"""Failures that `entry` gives again as long as nobody repairs them."""


class Entry(NamedTuple):
    """What is known of a photo without reading it."""

    n_bytes: int
    changed_ns: int
    """Of the last change, since 1970."""


class PhotoStorage(Protocol):
    """Where photos lie. A photo's name is its `file_name` in the metadata. Threads share a storage.

    `images` calls `read`; the input check, a resumed run and the cache of a training call `entry`. Neither raises for a
    photo that cannot be used: it gives the failure. Either may hang; `opening.TimedStorage` limits how long callers wait.
    `str(storage)` is what messages call it.
    """

    def entry(self, name: str) -> Entry | FrameFailure:
        """What is known of a photo without reading it."""

    def read(self, name: str) -> bytes | FrameFailure:
        """The bytes of a photo: at least 1, at most MAX_FILE_BYTES."""
