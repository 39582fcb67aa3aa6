"""The interface to photos, for any kind of storage."""

from typing import NamedTuple, Protocol

from inference.core.sequences import FailureReason, FrameFailure

MAX_FILE_BYTES = 64 << 20
"""Larger files are not read. The largest photos of the public seasons have 1.5 MB."""
ENTRY_FAILURES = frozenset(
    {
        FailureReason.UNSAFE_PATH,
        FailureReason.MISSING,
        FailureReason.NOT_A_FILE,
        FailureReason.EMPTY_FILE,
        FailureReason.TOO_LARGE,
    }
)
"""Failures that `entry` returns again until someone fixes the cause. Others need the bytes."""


class Entry(NamedTuple):
    """Facts about a photo that are available without reading it."""

    n_bytes: int
    changed_ns: int
    """Time of the last change, in nanoseconds since 1970. Copies may keep it."""
    placed_ns: int = 0
    """Time of the last change of the folder entry, which copies do not keep; 0 for a storage without one."""


class PhotoStorage(Protocol):
    """A place that stores photos. A photo's name is its `file_name` in the metadata. Threads share a storage.

    `images` calls `read`; the input check, a resumed run and the training cache call `entry`. Neither raises for a
    photo that cannot be used: both return the failure. Either may hang; `opening.TimedStorage` limits how long callers
    wait. Messages use `str(storage)` as its name.
    """

    def entry(self, name: str) -> Entry | FrameFailure:
        """Facts about a photo, without reading it."""

    def read(self, name: str) -> bytes | FrameFailure:
        """The bytes of a photo: at least 1, at most MAX_FILE_BYTES."""
