"""Lossless quarter frames on disk: photos are decoded once, not once per epoch.

A cache is a folder of two files. `frames.pack` holds concatenated PNG files and only grows. `index.sqlite` has a row
for each sequence with the positions of its frames. A row is committed after its frames were written, so a killed run
leaves at most frames without a row. A sequence is decoded again if the size or modification time of one of its photos
has changed. So a photo that was missing, was repaired or belongs to another data set is never confused with the cached
one. Frames are cached before the info strip is blackened and before any step that depends on a network.
"""

import io
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Self

import numpy as np
import structlog
from PIL import Image

from inference.core.choices import Preset
from inference.core.errors import CheckpointError, InputError, LockedError, OutputError
from inference.core.files import output_errors
from inference.core.iteration import batched, prefetch
from inference.core.sequences import IO_FAILURES, FailureReason, FrameFailure, Pixels, Sequence
from inference.images.decoder import DecodedSequence, Decoder, decode_sequences
from inference.process.lock import locked
from inference.storage.interface import Entry
from inference.storage.opening import TimedStorage
from models.data.index_row import CachedFrame, CachedSequence, cached_sequence, row_crc

log = structlog.get_logger()

PACK_NAME = "frames.pack"
INDEX_NAME = "index.sqlite"
FORMAT_VERSION = 4
"""SQLite's `user_version` of an index; 0 in a new one."""
TABLE = """CREATE TABLE IF NOT EXISTS sequences (
    seq_id TEXT PRIMARY KEY,
    files TEXT NOT NULL,    -- [file name, bytes, time of the last change in ns] of each photo, the figures null where none is read
    frames TEXT NOT NULL,   -- [offset in the pack, bytes, CRC-32] of each frame
    failures TEXT NOT NULL, -- [file name, reason, detail] of each photo that could not be used
    crc INTEGER NOT NULL    -- CRC-32 of the columns before
) WITHOUT ROWID"""
WRITE_FAILURES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
PRIMARY_CODE = 0xFF
"""Bits of an SQLite error that hold its kind; the others hold details."""
BUSY_SECONDS = 60.0
"""Longest wait for another process to write to the index, which takes some ms."""
PNG_LEVEL = 1
"""Level of zlib: higher ones take twice the time and save nothing on photos (37 real ones: 357 kB per quarter frame of
627 kB)."""
PART_SEQUENCES = 4
"""Sequences that a thread decodes at a time."""
AHEAD_PARTS = 2
STATED_SEQUENCES = 64
"""Sequences whose photos a thread looks up in the storage at a time."""
LOCK_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class CacheKey:
    """How the frames of a cache were made; other settings need another cache."""

    preset: Preset
    pixels: str
    """Identity of the decoder's pixels."""
    n_frames: int
    """Largest number of decoded photos per sequence."""

    @property
    def folder_name(self) -> str:
        """Name of the cache's folder: readable, with a checksum of all settings."""
        digest = zlib.crc32(json.dumps(asdict(self), sort_keys=True).encode())
        return f"{self.preset.value.replace('+', '_')}_{self.n_frames}_{digest:08x}"


@dataclass(frozen=True)
class CacheSize:
    """Totals over the wanted sequences in a cache."""

    n_frames: int
    n_failures: int
    """Photos that could not be used."""
    n_bytes: int


class FrameCache:
    """A cache open for reading. Threads may share `read`; the other methods belong to the thread that opened it."""

    def __init__(self, parent: Path, key: CacheKey) -> None:
        """Open, or create, the cache of a key below `parent`. Raises CheckpointError if it has another format."""
        self.key = key
        self._files: dict[str, str] = {}
        """The photos of the prepared sequences."""
        self.folder = parent / key.folder_name
        self._pack, self._index = self.folder / PACK_NAME, self.folder / INDEX_NAME
        with output_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._pack.touch()
            self._descriptor = os.open(self._pack, os.O_RDONLY | os.O_CLOEXEC)
        # Checked before the index, because another process creates the index first and then adds frames.
        has_frames = self._pack.stat().st_size > 0
        with self._index_errors():
            self._rows = sqlite3.connect(self._index, timeout=BUSY_SECONDS)
            [[version]] = self._rows.execute("PRAGMA user_version")
            if version == 0 and not has_frames:
                self._rows.execute(TABLE)
                self._rows.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
                version = FORMAT_VERSION
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{self._index}: must be the index of frames of format {FORMAT_VERSION}, got format {version}; "
                f"delete {self.folder} to rebuild it"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()
        os.close(self._descriptor)

    def prepare(
        self,
        sequences: Iterable[Sequence],
        storage: TimedStorage,
        decoder: Decoder,
        n_workers: int,
        on_progress: Callable[[int, int], None],
        check: Callable[[], None],
    ) -> CacheSize:
        """Decode the missing sequences; returns the totals over the wanted ones.

        `check` is called often and raises to stop the run; decoded frames are kept. If another run is filling the same
        cache, this call waits for it.

        Raises
        ------
        InputError
            The disk or mount fails to deliver a photo now: training data must not depend on temporary failures.
        """

        def decode(part: list[Sequence]) -> list[tuple[DecodedSequence, list[bytes]]]:
            decoded = decode_sequences(part, storage, self.key.preset, self.key.n_frames, decoder)
            return [(one, [_png(frame) for frame in one.frames]) for one in decoded]

        wanted = {sequence.seq_id: sequence for sequence in sequences}
        files = self._files_now(list(wanted.values()), storage, n_workers, check)
        self._files |= files
        unread: list[FrameFailure] = []
        if self._missing(files):
            with ExitStack() as stack, output_errors(self.folder):
                self._wait_for_lock(stack, check)
                missing = self._missing(files)  # another run may have added some in the meantime
                n_threads = decoder.max_workers or n_workers
                parts = batched((wanted[seq_id] for seq_id in missing), PART_SEQUENCES)
                n_done = 0
                for part in prefetch(decode, parts, n_threads, AHEAD_PARTS * n_threads):
                    check()
                    unread += self._append(part, files)
                    n_done += len(part)
                    on_progress(n_done, len(missing))
        if unread:
            raise InputError(
                f"{storage}: photos that are there must be readable, got {len(unread)} that are not, the first "
                f"{unread[0].file_name} ({unread[0].reason.value}: {unread[0].detail}); run again, or remove them"
            )
        entries = [self.entry(seq_id) for seq_id in wanted]
        frames = [frame for entry in entries for frame in entry.frames]
        n_failures = sum(len(entry.failures) for entry in entries)
        return CacheSize(len(frames), n_failures, sum(frame.n_bytes for frame in frames))

    def entry(self, seq_id: str) -> CachedSequence:
        """The cache's entry for a prepared sequence."""
        with self._index_errors():
            row = self._rows.execute(
                "SELECT frames, failures, crc FROM sequences WHERE seq_id = ? AND files = ?",
                (seq_id, self._files[seq_id]),
            ).fetchone()
        if row is None:
            raise CheckpointError(
                f"{self._index}: must keep the photos of {seq_id}, but another run replaced them by others; "
                "run again, with a separate cache for each data set"
            )
        try:
            return cached_sequence((seq_id, self._files[seq_id]), *row)
        except (TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"{self._index}: must give the photos of {seq_id}, got: {error}; delete {self.folder} to rebuild it"
            ) from error

    def read(self, frame: CachedFrame) -> Pixels:
        """A quarter frame: uint8 (H, W, 3), RGB, 0-255. Raises CheckpointError if the pack is damaged."""
        end = os.fstat(self._descriptor).st_size  # a size in a damaged index must not be allocated
        is_there = 0 <= frame.offset < frame.offset + frame.n_bytes <= end
        data = os.pread(self._descriptor, frame.n_bytes, frame.offset) if is_there else b""
        if not data or zlib.crc32(data) != frame.crc:
            raise CheckpointError(
                f"{self._pack}, byte {frame.offset}: must be the frame that was written there; delete {self.folder}"
            )
        return np.asarray(Image.open(io.BytesIO(data)))

    def _files_now(
        self, sequences: list[Sequence], storage: TimedStorage, n_workers: int, check: Callable[[], None]
    ) -> dict[str, str]:
        """The current photos of every sequence, in the index's format."""

        def look(part: list[Sequence]) -> list[str]:
            names = [[image.file_name for image in one.images[: self.key.n_frames]] for one in part]
            entries = iter(storage.entries([name for of_one in names for name in of_one]))
            return [json.dumps([_photo_file(name, next(entries)) for name in of_one]) for of_one in names]

        files: dict[str, str] = {}
        parts = list(batched(sequences, STATED_SEQUENCES))
        for part, found in zip(parts, prefetch(look, parts, n_workers, AHEAD_PARTS * n_workers), strict=True):
            check()
            files.update((sequence.seq_id, text) for sequence, text in zip(part, found, strict=True))
        return files

    def _missing(self, files: dict[str, str]) -> list[str]:
        """The sequences without an index row for these photos."""
        query = "SELECT 1 FROM sequences WHERE seq_id = ? AND files = ?"
        with self._index_errors():
            return [one[0] for one in files.items() if self._rows.execute(query, one).fetchone() is None]

    def _wait_for_lock(self, stack: ExitStack, check: Callable[[], None]) -> None:
        for attempt in count():
            check()
            try:
                stack.enter_context(locked(self.folder))
            except LockedError:
                if not attempt:
                    log.info("waiting for another run that fills the cache", folder=str(self.folder))
                time.sleep(LOCK_POLL_SECONDS)
            else:
                return

    def _append(self, part: list[tuple[DecodedSequence, list[bytes]]], files: dict[str, str]) -> list[FrameFailure]:
        """Keep decoded sequences; returns the photos that the disk failed to deliver, whose sequences are not kept."""
        unread, rows = [], []
        with self._pack.open("ab") as pack:
            for decoded, pngs in part:
                frames = []
                for png in pngs:
                    frames.append([pack.tell(), len(png), zlib.crc32(png)])
                    pack.write(png)
                failures = [(one.file_name, one.reason.value, one.detail) for one in decoded.failures]
                seq_id = decoded.sequence.seq_id
                not_read = [one for one in decoded.failures if one.reason in IO_FAILURES]
                unread += not_read
                if not not_read:
                    row = seq_id, files[seq_id], json.dumps(frames), json.dumps(failures)
                    rows.append((*row, row_crc(*row)))
            pack.flush()
            os.fsync(pack.fileno())  # before the index, which must not list frames that a power failure could lose
        with self._index_errors(), self._rows:
            self._rows.executemany("INSERT OR REPLACE INTO sequences VALUES (?, ?, ?, ?, ?)", rows)
        return unread

    @contextmanager
    def _index_errors(self) -> Iterator[None]:
        """Turn a failed write of SQLite into an OutputError, and a file that is not an index into a CheckpointError."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except (sqlite3.DatabaseError, ValueError, TypeError, RecursionError) as error:
            if getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE in WRITE_FAILURES:
                raise OutputError(f"{self._index} must be writable, got: {error}") from error
            raise CheckpointError(
                f"{self._index}: must be an index of frames, got: {error}; delete {self.folder} to rebuild it"
            ) from error


def _photo_file(file_name: str, entry: Entry | FrameFailure) -> tuple[str, int | None, int | None]:
    """The current state of a file; changed bytes almost always change its size or modification time.

    Raises InputError if the storage did not answer in time.
    """
    if isinstance(entry, Entry):
        return file_name, entry.n_bytes, entry.changed_ns
    if entry.reason is FailureReason.TIMED_OUT:
        raise InputError(f"{file_name}: must be readable, but the read timed out; run again once it is")
    return file_name, None, None  # decoding finds the reason


def _png(frame: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()
