"""Records as lines with checksums in a file."""

import base64
import hashlib
import json
import os
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from inference.core.config_files import first_problem
from inference.core.errors import CheckpointError, OutputError, counted
from inference.core.files import atomic_binary_writer, atomic_writer, os_errors, output_errors, regular_file
from inference.core.labels import N_CLASSES
from inference.core.sequences import FrameFailure, Probabilities, Sequence
from inference.records.schema import FORMAT_VERSION, Record, RecordLine, RecordsHeader

FSYNC_SECONDS = 30.0
"""Longest time until records are forced to disk. A killed process loses none; a crashed machine may lose these."""
CHUNK_RECORDS = 1024
"""Records that readers of many hold at a time: 7 MB of features."""
MAX_LINE_BYTES = 64 << 20
"""Longer than any record; a sparse file can claim a line of terabytes."""
SEQ_IDS = "seq_ids"
"""In the fingerprint: SHA-256 of the `seq_id` of every record of the whole run, in order."""
METADATA = "metadata and submission format"
"""In the fingerprint: SHA-256 of the sequences of the whole run with their photos, in order."""
LITTLE_ENDIAN_FLOAT32 = np.dtype("<f4")
HEADER = TypeAdapter(RecordsHeader)
RARE: dict[str, Any] = {one.name: one.default for one in fields(Record) if one.default is not MISSING}
"""Fields that a line omits when they have their usual value."""


class RecordWriter:
    """Appends records to a file, after the complete records already in it. Threads may share it."""

    def __init__(
        self, path: Path, header: RecordsHeader, keep: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open for appending after the first `keep` records."""
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        if not keep:
            # Complete or absent: a header is never partial.
            with atomic_writer(path) as file:
                file.write(checked_line({"format_version": FORMAT_VERSION, **asdict(header)}).decode())
        with output_errors(path):
            if path.stat().st_nlink > 1:  # a copy made of hard links: appending must not change the original
                _copy_in_place(path)
            self._file: IO[bytes] = open(path, "r+b", opener=regular_file)  # noqa: SIM115  # `close` closes it
            for _ in range(keep + 1):
                self._file.readline()
            self._file.truncate()
        self._synced = clock()

    def append(self, records: list[Record]) -> None:
        """Add records and pass them to the operating system; every 30 s at most they are forced to disk.

        Raises OutputError also if the file has been deleted or replaced, since the records would be lost.
        """
        with self._lock, output_errors(self._path):
            for record in records:
                self._file.write(checked_line(_record_to_json(record)))
            self._file.flush()
            if not os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno())):
                raise OutputError(f"{self._path}: must be left alone while a run writes it, but was replaced")
            if self._clock() - self._synced >= FSYNC_SECONDS:
                self._sync()

    def close(self) -> None:
        """Force everything to disk and close the file."""
        with self._lock, output_errors(self._path):
            if not self._file.closed:
                self._file.flush()
                self._sync()
                self._file.close()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = self._clock()


def read_header(path: Path) -> RecordsHeader:
    """Read the header. Raises CheckpointError if the file does not hold records."""
    with _reading(path) as file:
        line = file.readline(MAX_LINE_BYTES)
    content = content_of_line(line)
    wanted = f"{path}, line 1: must be the header of records of format {FORMAT_VERSION}"
    found = content.get("format_version") if content else None
    if found != FORMAT_VERSION:
        got = f"format {found}" if found else "a damaged line"
        raise CheckpointError(f"{wanted}, got {got}; `hakuna predict --restart` recomputes them")
    try:
        return HEADER.validate_json(_text_of_line(line), strict=True)
    except ValidationError as error:
        raise CheckpointError(f"{wanted}, got: {first_problem(error)}") from error


def read_records(
    path: Path, header: RecordsHeader, check: Callable[[], None] = lambda: None, *, strict: bool = False
) -> Iterator[Record]:
    """Read the complete records one by one; stop before the first incomplete or damaged one.

    `check` is called for every record and raises to stop the reading. If `strict`, a record that is incomplete or
    damaged is a CheckpointError.
    """
    n_frame_outputs = sum(output.per_frame for output in header.outputs)
    n_sequence_outputs = len(header.outputs) - n_frame_outputs
    with _reading(path) as file:
        file.readline(MAX_LINE_BYTES)
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), start=2):
            try:
                record = _record_of_line(line, n_frame_outputs, n_sequence_outputs)
            except ValueError as error:
                if not strict:
                    return
                got = first_problem(error) if isinstance(error, ValidationError) else error
                raise CheckpointError(
                    f"{path}, line {number}: must be a complete record, got: {got}; the same "
                    "`hakuna predict` recomputes it and the later ones"
                ) from error
            check()
            yield record


def all_in_place(records: Iterable[Record], header: RecordsHeader, where: str) -> Iterator[Record]:
    """Pass on the records of a whole run. Raises CheckpointError at the end unless they match its sequences.

    They do not match if there are too few or too many, or if their `seq_id`s differ from the plan's or its order.
    """
    digest, n_whole = hashlib.sha256(), 0
    for n_whole, record in enumerate(records, start=1):
        check_not_too_many(n_whole, header, where)
        digest.update(_seq_id_line(record.seq_id))
        yield record
    if n_whole < header.n_sequences:
        raise CheckpointError(
            f"{where}: must have {header.n_sequences} complete records, got {n_whole}; run predict to the end first"
        )
    if digest.hexdigest() != header.fingerprint.get(SEQ_IDS):
        raise CheckpointError(
            f"{where}: must have one record per sequence, in the order of the submission, got others; "
            "`hakuna predict` with the same --out names the first of them, with --restart it starts over"
        )


def check_not_too_many(n_records: int, header: RecordsHeader, where: str) -> None:
    """Raise CheckpointError if there are more records than sequences."""
    if n_records > header.n_sequences:
        raise CheckpointError(
            f"{where}: must have {counted(header.n_sequences, 'record')}, got more; `hakuna predict --restart` starts over"
        )


def digest_of_seq_ids(seq_ids: Iterable[str]) -> str:
    """Digest of the names of all sequences, in order, for the fingerprint."""
    digest = hashlib.sha256()
    for seq_id in seq_ids:
        digest.update(_seq_id_line(seq_id))
    return digest.hexdigest()


def digest_of_sequences(sequences: Iterable[Sequence]) -> str:
    """Digest of all sequences with their sites, photos and times, in order, for the fingerprint."""
    digest = hashlib.sha256()
    for sequence in sequences:
        photos = [(image.file_name, image.datetime) for image in sequence.images]
        digest.update(repr((sequence.seq_id, sequence.site, photos)).encode())
    return digest.hexdigest()


def _seq_id_line(seq_id: str) -> bytes:
    return f"{seq_id!r}\n".encode()


@contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
    with (
        os_errors(CheckpointError, f"{path}: must be readable records"),
        open(path, "rb", opener=regular_file) as file,
    ):
        yield file


def _copy_in_place(path: Path) -> None:
    with open(path, "rb", opener=regular_file) as file, atomic_binary_writer(path) as copy:
        shutil.copyfileobj(file, copy)


def checked_line(content: dict[str, Any]) -> bytes:
    """CRC-32 in hexadecimal, a space, compact JSON, a line end."""
    text = json.dumps(content, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _text_of_line(line: bytes) -> bytes:
    """The JSON of a line. Raises ValueError if it is incomplete or damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        raise ValueError("a wrong checksum")
    return text


def content_of_line(line: bytes) -> dict[str, Any] | None:
    """Content of a line, or None if it is incomplete or damaged."""
    try:
        content = json.loads(_text_of_line(line))
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _record_to_json(record: Record) -> dict[str, Any]:
    content: dict[str, Any] = {
        "seq_id": record.seq_id,
        "n_frames": record.n_frames,
        "frame_outputs": _pack(record.frame_outputs),
        "sequence_outputs": _pack(record.sequence_outputs),
        "hour": record.hour,
        "month": record.month,
    }
    if record.failures:
        content["failures"] = [[failure.file_name, failure.reason, failure.detail] for failure in record.failures]
    rare = {name: getattr(record, name) for name in RARE}
    return content | {name: value for name, value in rare.items() if value != RARE[name]}


def _record_of_line(line: bytes, n_frame_outputs: int, n_sequence_outputs: int) -> Record:
    """The record of a line. Raises ValueError if it is incomplete or damaged, or its content is not a valid record."""
    content = RecordLine.model_validate_json(_text_of_line(line))
    shape = (n_sequence_outputs * (content.n_frames > 1), N_CLASSES)
    return Record(
        seq_id=content.seq_id,
        frame_outputs=_unpack(content.frame_outputs).reshape(content.n_frames, n_frame_outputs, N_CLASSES),
        sequence_outputs=_unpack(content.sequence_outputs).reshape(shape),
        hour=content.hour,
        month=content.month,
        failures=tuple(FrameFailure(*failure) for failure in content.failures),
        **{name: getattr(content, name) for name in RARE},
    )


def _pack(values: Probabilities) -> str:
    return base64.b64encode(np.ascontiguousarray(values, LITTLE_ENDIAN_FLOAT32).tobytes()).decode()


def _unpack(text: str) -> Probabilities:
    return np.frombuffer(base64.b64decode(text, validate=True), LITTLE_ENDIAN_FLOAT32)
