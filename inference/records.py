"""What the networks said about each sequence: append-only, one line a sequence, bound to what made it.

`records.jsonl` has a header line and then one line per row of the submission, in its order. Everything after the
networks (weights, stackers, submission, reports) starts from here, so it can be repeated in seconds.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from inference.domain import N_CLASSES, CheckpointError, FailureReason, FrameFailure
from inference.files import output_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inference.bundle import Manifest
    from inference.domain import Probabilities

RECORDS_NAME = "records.jsonl"
FORMAT_VERSION = 1
LITTLE_ENDIAN_FLOAT32 = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class Output:
    """One column of a record: a network at a size. `per_frame` outputs come once per frame."""

    network: str
    height: int
    width: int
    per_frame: bool
    identity: str
    """What the network was made from; see `inference.bundle.Network`."""


@dataclass(frozen=True)
class RecordsHeader:
    """What made the records."""

    fingerprint: dict[str, str]
    """Everything the records depend on, each under its own name, so that a difference can be told."""
    outputs: tuple[Output, ...]
    labels: tuple[str, ...]
    """Order of the submission's columns."""
    n_sequences: int
    precision: dict[str, Any]
    """The precision that was used, and the figures that decided it; settled once, when the records begin."""

    def differences(self, other: RecordsHeader) -> list[str]:
        """What makes the two headers those of different runs, by name."""
        names = sorted(self.fingerprint.keys() | other.fingerprint.keys())
        different = [name for name in names if self.fingerprint.get(name) != other.fingerprint.get(name)]
        if (self.outputs, self.labels, self.n_sequences) != (other.outputs, other.labels, other.n_sequences):
            different.append("columns")
        return different


@dataclass(frozen=True)
class Record:
    """What the networks said about one sequence.

    Attributes
    ----------
    frame_outputs : float32 (F, O, C), probabilities; F frames that could be read, O per-frame outputs
    sequence_outputs : float32 (S, C), probabilities; S outputs on the whole sequence. S is 0 when F < 2.
    hour, month : 0-23, 1-12
    failures : photos that could not be used
    n_resized : frames whose size differed from the first one's
    """

    seq_id: str
    frame_outputs: Probabilities
    sequence_outputs: Probabilities
    hour: int
    month: int
    failures: tuple[FrameFailure, ...]
    n_resized: int
    has_metadata: bool

    @property
    def n_frames(self) -> int:
        """Frames that could be read."""
        return len(self.frame_outputs)


def outputs_of(manifest: Manifest) -> tuple[Output, ...]:
    """The columns of the records that a bundle makes."""
    return tuple(
        Output(network.name, size.height, size.width, network.per_frame, network.identity)
        for network in manifest.networks
        for size in network.sizes
    )


class RecordWriter:
    """Appends records to a file, continuing after the whole records that are already there."""

    def __init__(self, path: Path, header: RecordsHeader, keep: int = 0) -> None:
        """Open for appending after the first `keep` records."""
        self._path = path
        with output_errors(path):
            if keep:
                self._file: IO[bytes] = path.open("r+b")
                for _ in range(keep + 1):
                    self._file.readline()
                self._file.truncate()
            else:
                self._file = path.open("wb")
                self._file.write(_line(_header_to_json(header)))
                self._file.flush()

    def append(self, records: list[Record]) -> None:
        """Add records and hand them to the operating system."""
        with output_errors(self._path):
            for record in records:
                self._file.write(_line(_record_to_json(record)))
            self._file.flush()

    def close(self) -> None:
        """Finish the file."""
        with output_errors(self._path):
            self._file.close()


def read_header(path: Path) -> RecordsHeader:
    """Read what made the records. Raises CheckpointError if the file is not one of records."""
    try:
        with path.open("rb") as file:
            content = _checked(file.readline())
    except OSError as error:
        raise CheckpointError(f"{path}: must be readable records, got: {error.strerror or error}") from error
    if content is None or content.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(f"{path}, line 1: must be the header of records of format {FORMAT_VERSION}")
    del content["format_version"]
    outputs = tuple(Output(**output) for output in content.pop("outputs"))
    return RecordsHeader(outputs=outputs, labels=tuple(content.pop("labels")), **content)


def read_records(path: Path, header: RecordsHeader) -> Iterator[Record]:
    """Read the whole records one by one; stop before the first that is torn or damaged."""
    n_frame_outputs = sum(output.per_frame for output in header.outputs)
    with path.open("rb") as file:
        file.readline()
        for line in file:
            content = _checked(line)
            if content is None:
                return
            yield _record_from_json(content, n_frame_outputs)


def count_whole_records(path: Path) -> int:
    """Number of records before the first that is torn or damaged."""
    n_whole = 0
    with path.open("rb") as file:
        file.readline()
        for line in file:
            if _checked(line) is None:
                break
            n_whole += 1
    return n_whole


def _line(content: dict[str, Any]) -> bytes:
    """CRC-32 in hexadecimal, a space, compact JSON, a line end."""
    text = json.dumps(content, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _checked(line: bytes) -> dict[str, Any] | None:
    """Content of a line, or None if it is torn or damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    content: dict[str, Any] = json.loads(text)
    return content


def _header_to_json(header: RecordsHeader) -> dict[str, Any]:
    return {"format_version": FORMAT_VERSION, **asdict(header)}


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
    if record.n_resized:
        content["n_resized"] = record.n_resized
    if not record.has_metadata:
        content["has_metadata"] = False
    return content


def _record_from_json(content: dict[str, Any], n_frame_outputs: int) -> Record:
    frame_outputs = _unpack(content["frame_outputs"]).reshape(content["n_frames"], n_frame_outputs, N_CLASSES)
    return Record(
        seq_id=content["seq_id"],
        frame_outputs=frame_outputs,
        sequence_outputs=_unpack(content["sequence_outputs"]).reshape(-1, N_CLASSES),
        hour=content["hour"],
        month=content["month"],
        failures=tuple(
            FrameFailure(file_name, FailureReason(reason), detail)
            for file_name, reason, detail in content.get("failures", ())
        ),
        n_resized=content.get("n_resized", 0),
        has_metadata=content.get("has_metadata", True),
    )


def _pack(values: Probabilities) -> str:
    return base64.b64encode(np.ascontiguousarray(values, LITTLE_ENDIAN_FLOAT32).tobytes()).decode()


def _unpack(text: str) -> Probabilities:
    return np.frombuffer(base64.b64decode(text), LITTLE_ENDIAN_FLOAT32)
