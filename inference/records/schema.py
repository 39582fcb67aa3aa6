"""Defines a record, which holds the networks' outputs for one sequence, and the header of a file of records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from pydantic.dataclasses import dataclass as validated_dataclass

from inference.bundle.manifest import Manifest
from inference.bundle.passes import Effort
from inference.core.choices import Precision
from inference.core.sequences import FailureReason, FrameFailure, Probabilities

RECORDS_NAME = "records.jsonl"
AUDIT_NAME = "audit.jsonl"
"""Records in float32 of a random sample of a run in a lower precision."""
FORMAT_VERSION: Final = 4
PROBE = "answers to the probe"
"""In the fingerprint: SHA-256 of the networks' answers to the probe."""
LARGEST_NUMBER = 2**53 - 1
"""Largest count and time in a record; floats represent all whole numbers up to it exactly."""
Count = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]
HEADER_CONFIG = ConfigDict(
    extra="forbid", use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
)


@validated_dataclass(frozen=True, config=HEADER_CONFIG)
class Output:
    """One column of a record: a network at a size."""

    network: str
    """Name of the network."""
    height: int
    """Height of its input in pixels."""
    width: int
    """Width of its input in pixels."""
    per_frame: bool
    """Whether it occurs once per frame, rather than once per sequence."""
    identity: str
    """SHA-256 of the source of the network; the same identity gives the same answers."""


@validated_dataclass(frozen=True, config=HEADER_CONFIG)
class RecordsHeader:
    """How a file of records was made."""

    fingerprint: dict[str, str]
    """Everything that the records depend on, each under its name, so that messages can name a difference."""
    outputs: tuple[Output, ...]
    """Columns of a record, in order."""
    labels: tuple[str, ...]
    """Order of the submission's columns."""
    n_sequences: int
    """Number of records in a complete file."""
    first: int
    """Index of the first one among all sequences."""
    n_all: int
    """Number of all sequences; more than `n_sequences` in a shard."""
    precision: dict[str, Any]
    """The precision used and the figures behind that choice, made once when the records begin."""
    probe: tuple[float, ...] = ()
    """The networks' answers to fixed noise at the first record."""
    format_version: Literal[4] = FORMAT_VERSION
    """Version of this format."""

    @property
    def is_lower_precision(self) -> bool:
        """Whether the networks ran below float32."""
        return bool(self.precision.get("used", Precision.FLOAT32) != Precision.FLOAT32)

    def differences(self, other: RecordsHeader) -> list[str]:
        """Names of the entries that differ between headers of different runs."""
        names = sorted(self.fingerprint.keys() | other.fingerprint.keys())
        different = [name for name in names if self.fingerprint.get(name) != other.fingerprint.get(name)]
        if (self.outputs, self.labels) != (other.outputs, other.labels):
            different.append("columns")
        if self.n_all != other.n_all:
            different.append("number of sequences")
        elif (self.first, self.n_sequences) != (other.first, other.n_sequences):
            different.append("shard")
        return different


@dataclass(frozen=True)
class Record:
    """The networks' outputs for one sequence. Defaults are the usual values.

    Attributes
    ----------
    frame_outputs : float32 (F, O, C), probabilities; F readable frames, O per-frame outputs
    sequence_outputs : float32 (S, C), probabilities; S outputs on the whole sequence. S is 0 when F < 2.
    hour, month : 0-23, 1-12
    failures : photos that could not be used
    n_resized : frames whose size differed from the first one's
    cut_short : files of the frames whose missing rest is grey
    effort : share of the ensemble that ran; skipped outputs are NaN
    is_mixed : whether a lower precision was turned on to save time
    site : its camera; "" if unknown
    seconds : its time in seconds since 1970 by the camera's clock; None if the metadata has none
    probe_difference : largest difference between its networks' answers to the probe and the header's; for records of
        shards that were mixed before, an upper bound
    """

    seq_id: str
    frame_outputs: Probabilities
    sequence_outputs: Probabilities
    hour: int
    month: int
    failures: tuple[FrameFailure, ...]
    n_resized: int = 0
    cut_short: tuple[str, ...] = ()
    has_metadata: bool = True
    effort: Effort = Effort.FULL
    is_mixed: bool = False
    site: str = ""
    seconds: int | None = None
    probe_difference: float = 0.0

    @property
    def n_frames(self) -> int:
        """Number of readable frames."""
        return len(self.frame_outputs)

    @property
    def is_degraded(self) -> bool:
        """Whether it got less than full effort for lack of time."""
        return self.effort > Effort.FULL or self.is_mixed


class RecordLine(BaseModel):
    """A record as JSON. Fields with their usual value are left out."""

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)

    seq_id: str
    """The sequence."""
    n_frames: Count
    """Frames that could be read."""
    frame_outputs: Base64
    """Little-endian float32: frames x outputs x 54 probabilities."""
    sequence_outputs: Base64
    """The same of outputs on whole sequences: outputs x 54 probabilities; empty for fewer than two frames."""
    hour: Annotated[int, Field(ge=0, le=23)]
    """Hour of the burst by the camera's clock."""
    month: Annotated[int, Field(ge=1, le=12)]
    """Month of the burst by the camera's clock."""
    failures: tuple[tuple[str, FailureReason, str], ...] = ()
    """Photos that could not be used: file, reason, detail."""
    n_resized: Count = 0
    """Frames whose size differed from the first one's."""
    cut_short: tuple[str, ...] = ()
    """Files of the frames that lack their end, as after an interrupted copy; the missing part is grey."""
    has_metadata: bool = True
    """Whether the metadata has photos of the sequence."""
    effort: Effort = Effort.FULL
    """Degree of degradation for lack of time: 0 is the full ensemble, 5 the priors. Skipped outputs are NaN."""
    is_mixed: bool = False
    """Whether a lower precision was turned on to save time."""
    site: str = ""
    """Its camera; empty if unknown."""
    seconds: Annotated[int, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)] | None = None
    """Its time in seconds since 1970 by the camera's clock; absent without a time."""
    probe_difference: FiniteFloat = 0.0
    """Largest difference between its networks' answers to fixed noise and those in the header."""


def outputs_of(manifest: Manifest) -> tuple[Output, ...]:
    """The columns of the records made with a bundle."""
    return tuple(
        Output(network.name, size.height, size.width, network.per_frame, network.identity)
        for network in manifest.networks
        for size in network.sizes
    )
