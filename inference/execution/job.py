"""The job of a run, the options for running it, and shards."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from inference.bundle.passes import Effort, passes_for, relative_cost
from inference.bundle.reader import Bundle
from inference.core.choices import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_READ_TIMEOUT,
    DecoderName,
    Device,
    EngineName,
    Precision,
    Preset,
)
from inference.core.errors import UsageError
from inference.core.sequences import Sequence
from inference.dataset.metadata import Plan
from inference.process.read_timeout import ReadTimeout
from inference.storage.opening import TimedStorage, open_storage

if TYPE_CHECKING:  # a refusal is made without it
    from inference.records.schema import RecordsHeader


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `n_shards` parts of the sequences, counted from 1."""

    number: int = 1
    n_shards: int = 1

    def bounds(self, n_sequences: int) -> tuple[int, int]:
        """First index and end. All shards together cover every sequence exactly once."""
        return (n_sequences * (self.number - 1) // self.n_shards, n_sequences * self.number // self.n_shards)


WHOLE = Shard()


def parse_shard(text: str) -> Shard:
    """`2/7`: the second of seven. Raises UsageError."""
    number, _, n_shards = text.partition("/")
    if not (number.isdecimal() and n_shards.isdecimal() and 1 <= int(number) <= int(n_shards)):
        raise UsageError(f"--shard: must be I/N with 1 <= I <= N, for example 1/4, got {text!r}")
    return Shard(int(number), int(n_shards))


@dataclass(frozen=True)
class Job:
    """The definition of the computation: the same job gives the same bytes, however it is run."""

    photos: str
    """Location for `open_storage`; a path means a local folder."""
    plan: Plan
    bundle: Bundle
    preset: Preset
    flip_tta: bool = True
    decoder: DecoderName = DecoderName.AUTO
    engine: EngineName = EngineName.AUTO
    device: Device = Device.AUTO
    precision: Precision = Precision.FLOAT32
    max_loss_increase: float | None = None
    """Accepted increase of the log loss by a lower precision, relative to it; None: the bundle's."""
    shard: Shard = WHOLE
    begun: "RecordsHeader | None" = None
    """Header of the records that it continues."""

    @property
    def wanted_precision(self) -> str:
        """The precision, and the accepted increase of the log loss if it is not the bundle's."""
        bound = f" within {self.max_loss_increase:g}" if self.max_loss_increase else ""
        return f"{self.precision.value}{bound}"

    @property
    def is_shard(self) -> bool:
        """Whether it is only a part of a run."""
        return self.shard.n_shards > 1

    @property
    def first(self) -> int:
        """Index of this shard's first sequence among all sequences."""
        return self.shard.bounds(len(self.plan.sequences))[0]

    @cached_property
    def sequences(self) -> tuple[Sequence, ...]:
        """The sequences of this shard."""
        first, end = self.shard.bounds(len(self.plan.sequences))
        return self.plan.sequences[first:end]

    def storage(self, read_timeout: ReadTimeout) -> TimedStorage:
        """The photos, with a time limit for each read."""
        return open_storage(self.photos, read_timeout)

    @cached_property
    def n_photos(self) -> int:
        """Number of photos that take part."""
        n_frames = self.bundle.manifest.n_frames
        return sum(min(len(sequence.images), n_frames) for sequence in self.sequences)

    @cached_property
    def costs(self) -> dict[tuple[Effort, int], float]:
        """Cost of the networks for a sequence, by effort and number of frames; see `relative_cost`."""
        manifest = self.bundle.manifest
        passes = {effort: passes_for(manifest, effort, flip_tta=self.flip_tta) for effort in Effort}
        return {
            (effort, n_frames): relative_cost(passes[effort], n_frames)
            for effort in Effort
            for n_frames in range(manifest.n_frames + 1)
        }


@dataclass(frozen=True)
class RunOptions:
    """How to run a job. Only `allow_mixed_hardware` changes the results of a run with enough time.

    Attributes
    ----------
    n_workers : threads that read and decode photos
    batch_size : sequences per batch through the networks
    fresh : start over, ignoring existing records
    features_path : also write the stackers' matrix to this path
    budget : seconds within which a submission must exist; None: no limit
    max_failures : share of the photos that may fail
    read_timeout : time limit for reading a photo; shared by all readers, since it counts the reads that hang
    strict : exit with 6 instead of 0 if the budget ends the run with a degraded submission
    allow_mixed_hardware : continue if the networks' answers to the probe differ from those at the first record; the
        numbers then come from both kinds of processor
    """

    n_workers: int = 1
    batch_size: int = DEFAULT_BATCH_SIZE
    fresh: bool = False
    features_path: Path | None = None
    budget: float | None = None
    max_failures: float = 1.0
    read_timeout: ReadTimeout = field(default_factory=lambda: ReadTimeout(DEFAULT_READ_TIMEOUT))
    strict: bool = False
    allow_mixed_hardware: bool = False

    def allowed_failures(self, n_photos: int) -> int:
        """The number of photos that may fail: 29 of 100 at 29 %, which as a float is slightly less."""
        return math.floor(self.max_failures * n_photos + 1e-6)  # far above the rounding error for a billion photos
