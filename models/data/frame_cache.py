"""Quarter frames on disk, without loss: photos are decoded once, not once an epoch.

A cache is a folder of two append-only files. `frames.pack` holds PNG files one behind the other; `index.jsonl` has one
line a sequence that says where its frames are, written after them, so a killed run leaves at most frames that nobody
knows of. Its first line says how the frames were made: reference resize, pixels of the decoder, photos a sequence.
A sequence is decoded again where the size or the time of change of one of its photos is another than it was, so a photo
that was missing, was repaired or belongs to another data set is never taken for what is in the cache.
Frames are cached before the info strip is blackened and before anything depends on a network.
"""

from __future__ import annotations

import io
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, NamedTuple, Self

import numpy as np
import structlog
from PIL import Image

from inference.core.choices import Preset
from inference.core.errors import CheckpointError, InputError, LockedError
from inference.core.files import atomic_writer, output_errors
from inference.core.iteration import batched, prefetch
from inference.core.sequences import IO_FAILURES, FailureReason, FrameFailure
from inference.images.decoder import DecodedSequence, Decoder, decode_sequences
from inference.process.lock import locked
from inference.records.jsonl import checked_line, content_of_line
from inference.storage.interface import Entry
from inference.storage.opening import TimedStorage

if TYPE_CHECKING:
    from inference.core.sequences import Pixels, Sequence

log = structlog.get_logger()

PACK_NAME = "frames.pack"
INDEX_NAME = "index.jsonl"
FORMAT_VERSION = 2
PNG_LEVEL = 1
"""Of zlib: higher ones take twice the time and save nothing on photos (37 real ones: 357 kB a quarter frame of 627 kB)."""
PART_SEQUENCES = 4
"""Sequences that a thread decodes at a time."""
AHEAD_PARTS = 2
STATED_SEQUENCES = 64
"""Sequences whose files a thread looks at, without opening them, at a time."""
LOCK_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class CacheKey:
    """How the frames of a cache were made; other frames need another cache."""

    preset: Preset
    pixels: str
    """Whose pixels the decoder gives."""
    n_frames: int
    """Photos of a sequence that were decoded at most."""

    @property
    def folder_name(self) -> str:
        """Name of the cache's folder: for people, with a checksum of everything."""
        digest = zlib.crc32(json.dumps(asdict(self), sort_keys=True).encode())
        return f"{self.preset.value.replace('+', '_')}_{self.n_frames}_{digest:08x}"


@dataclass(frozen=True, slots=True)
class CachedFrame:
    """Where a frame is in the pack."""

    offset: int
    n_bytes: int
    crc: int


class PhotoFile(NamedTuple):
    """A file when it was decoded; other bytes have, as good as always, another size or time."""

    file_name: str
    n_bytes: int | None
    """None where there was no such file, or none that is read."""
    changed_ns: int | None
    """Of the last change, since 1970."""


@dataclass(frozen=True, slots=True)
class CachedSequence:
    """The frames of a sequence, and the photos that could not be used."""

    files: tuple[PhotoFile, ...]
    frames: tuple[CachedFrame, ...]
    failures: tuple[FrameFailure, ...]


@dataclass(frozen=True)
class CacheSize:
    """What a cache holds of the sequences asked for."""

    n_sequences: int
    n_frames: int
    n_failures: int
    """Photos that could not be used."""
    n_bytes: int


class FrameCache:
    """A cache that is open for reading. Threads may share it."""

    def __init__(self, parent: Path, key: CacheKey) -> None:
        """Open, or begin, the cache of a key below `parent`. Raises CheckpointError where it is another one's."""
        self.key = key
        self.folder = parent / key.folder_name
        self._entries: dict[str, CachedSequence] = {}
        self._files: dict[str, tuple[PhotoFile, ...]] = {}
        self._index, pack = self.folder / INDEX_NAME, self.folder / PACK_NAME
        header = {"format_version": FORMAT_VERSION, **asdict(key)}
        with output_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            pack.touch()
        if not self._index.exists():
            with atomic_writer(self._index) as file:
                file.write(checked_line(header).decode())
        with self._index.open("rb") as file:
            found = content_of_line(file.readline())
        if found != header:
            raise CheckpointError(
                f"{self._index}: must be the index of frames of format {FORMAT_VERSION}, made as {key.folder_name}, got {found}; "
                f"delete {self.folder}: it is made again"
            )
        self._pack = pack
        self._descriptor = os.open(pack, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
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
        """Decode what is missing, once; tells the size of what was asked for.

        `check` is called often and raises if the run has to stop; what was decoded is kept. Another run that fills the
        same cache is waited for.

        Raises
        ------
        InputError
            The disk or mount does not give a photo now: what is learnt must not depend on such days.
        """
        wanted = {sequence.seq_id: sequence for sequence in sequences}
        self._files = self._look(list(wanted.values()), storage, n_workers, check)
        self._read_index(wanted)
        if any(not self._is_cached(seq_id) for seq_id in wanted):
            with ExitStack() as stack:
                self._wait_for_lock(stack, check)
                self._read_index(wanted)  # another run may have been here meanwhile
                missing = [one for one in wanted.values() if not self._is_cached(one.seq_id)]
                self._decode(missing, storage, decoder, n_workers, on_progress, check)
        entries = [self._entries[seq_id] for seq_id in wanted]
        failures = [failure for entry in entries for failure in entry.failures]
        unread = [failure for failure in failures if failure.reason in IO_FAILURES]
        if unread:
            raise InputError(
                f"{storage}: photos that are there must be readable, got {len(unread)} that are not, the first "
                f"{unread[0].file_name} ({unread[0].reason.value}: {unread[0].detail}); run again, or take them away"
            )
        frames = [frame for entry in entries for frame in entry.frames]
        return CacheSize(len(wanted), len(frames), len(failures), sum(frame.n_bytes for frame in frames))

    def entry(self, seq_id: str) -> CachedSequence:
        """What the cache knows about a sequence that was prepared."""
        return self._entries[seq_id]

    def read(self, frame: CachedFrame) -> Pixels:
        """A quarter frame: uint8 (H, W, 3), RGB, 0-255. Raises CheckpointError where the pack is damaged."""
        data = os.pread(self._descriptor, frame.n_bytes, frame.offset)
        if zlib.crc32(data) != frame.crc:
            raise CheckpointError(
                f"{self._pack}, byte {frame.offset}: must be the frame that was written there; delete {self.folder}"
            )
        return np.asarray(Image.open(io.BytesIO(data)))

    def _look(
        self, sequences: list[Sequence], storage: TimedStorage, n_workers: int, check: Callable[[], None]
    ) -> dict[str, tuple[PhotoFile, ...]]:
        """The files of every sequence as they are now."""

        def look(part: list[Sequence]) -> list[tuple[PhotoFile, ...]]:
            names = [[image.file_name for image in one.images[: self.key.n_frames]] for one in part]
            entries = iter(storage.entries([name for of_one in names for name in of_one]))
            return [tuple(_photo_file(name, next(entries)) for name in of_one) for of_one in names]

        files: dict[str, tuple[PhotoFile, ...]] = {}
        parts = list(batched(sequences, STATED_SEQUENCES))
        for part, found in zip(parts, prefetch(look, parts, n_workers, AHEAD_PARTS * n_workers), strict=True):
            check()
            files.update((sequence.seq_id, of_it) for sequence, of_it in zip(part, found, strict=True))
        return files

    def _is_cached(self, seq_id: str) -> bool:
        known = self._entries.get(seq_id)
        return known is not None and known.files == self._files[seq_id]

    def _wait_for_lock(self, stack: ExitStack, check: Callable[[], None]) -> None:
        is_told = False
        while True:
            check()
            try:
                stack.enter_context(locked(self.folder))
            except LockedError:
                if not is_told:
                    log.info("waiting for another run that fills the cache", folder=str(self.folder))
                is_told = True
                time.sleep(LOCK_POLL_SECONDS)
            else:
                return

    def _read_index(self, wanted: dict[str, Sequence]) -> None:
        """Learn what is known of the sequences that are wanted; a later line of a sequence replaces an earlier one."""
        with self._index.open("rb") as file:
            file.readline()
            for line in file:
                content = content_of_line(line)
                if content is not None and content["seq_id"] in wanted:
                    self._entries[content["seq_id"]] = CachedSequence(
                        files=tuple(PhotoFile(*one) for one in content["files"]),
                        frames=tuple(CachedFrame(*place) for place in content["frames"]),
                        failures=tuple(
                            FrameFailure(name, FailureReason(reason), detail)
                            for name, reason, detail in content["failures"]
                        ),
                    )

    def _decode(
        self,
        missing: list[Sequence],
        storage: TimedStorage,
        decoder: Decoder,
        n_workers: int,
        on_progress: Callable[[int, int], None],
        check: Callable[[], None],
    ) -> None:
        def decode(part: list[Sequence]) -> list[tuple[DecodedSequence, list[bytes]]]:
            decoded = decode_sequences(part, storage, self.key.preset, self.key.n_frames, decoder)
            return [(one, [_png(frame) for frame in one.frames]) for one in decoded]

        n_threads = decoder.max_workers or n_workers
        n_done = 0
        parts = prefetch(decode, batched(missing, PART_SEQUENCES), n_threads, AHEAD_PARTS * n_threads)
        with output_errors(self.folder), self._pack.open("ab") as pack, self._index.open("r+b") as index:
            _seek_behind_last_line(index)
            for part in parts:
                check()
                for decoded, pngs in part:
                    self._append(decoded, pngs, pack, index)
                n_done += len(part)
                on_progress(n_done, len(missing))
            for file in (pack, index):
                file.flush()
                os.fsync(file.fileno())

    def _append(self, decoded: DecodedSequence, pngs: list[bytes], pack: IO[bytes], index: IO[bytes]) -> None:
        frames = []
        for png in pngs:
            frames.append(CachedFrame(pack.tell(), len(png), zlib.crc32(png)))
            pack.write(png)
        pack.flush()
        seq_id = decoded.sequence.seq_id
        entry = CachedSequence(self._files[seq_id], tuple(frames), decoded.failures)
        self._entries[seq_id] = entry
        if any(failure.reason in IO_FAILURES for failure in entry.failures):
            return
        index.write(
            checked_line(
                {
                    "seq_id": seq_id,
                    "files": entry.files,
                    "frames": [[one.offset, one.n_bytes, one.crc] for one in frames],
                    "failures": [[one.file_name, one.reason.value, one.detail] for one in entry.failures],
                }
            )
        )
        index.flush()


def _photo_file(file_name: str, entry: Entry | FrameFailure) -> PhotoFile:
    """Raises InputError where the storage did not answer in time."""
    if isinstance(entry, Entry):
        return PhotoFile(file_name, *entry)
    if entry.reason is FailureReason.TIMED_OUT:
        raise InputError(f"{file_name}: must be readable, got no answer in time; run again when it is")
    return PhotoFile(file_name, None, None)  # decoding finds out why


def _png(frame: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def _seek_behind_last_line(index: IO[bytes]) -> None:
    """Drop a line that a killed run left unfinished."""
    end = 0
    for line in index:
        end += len(line) if line.endswith(b"\n") else 0
    index.seek(end)
    index.truncate()
