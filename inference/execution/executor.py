"""The interface between the driver of a run and the code that computes records."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from inference.bundle.passes import Effort
from inference.core.choices import Precision
from inference.core.sequences import Probabilities, Sequence
from inference.execution.throughput import BatchTiming
from inference.networks.engine import CPU
from inference.records.schema import Record

LOAD, NETWORKS, WAIT, PHASE = "load networks", "networks", "wait for photos", "photos to records"
"""Stages on the stopwatch."""


@dataclass(frozen=True)
class ExecutorFacts:
    """The facts, beside the job, on which records and their speed depend.

    Attributes
    ----------
    engine : name and version
    decoder : name
    pixels : identity of the decoder's pixels
    lower_precisions : those that the device and the bundle offer beside float32, in the order in which `auto` tries them
    """

    engine: str
    device: str
    decoder: str
    pixels: str
    lower_precisions: tuple[Precision, ...]

    @property
    def auto_precision(self) -> Precision:
        """The precision that `auto` tries first."""
        return next(iter(self.lower_precisions), Precision.FLOAT32)

    @property
    def is_cpu(self) -> bool:
        """Whether the networks share the cores with decoding. On GPUs every call is padded to the same shape."""
        return self.device == CPU

    @property
    def network_load(self) -> float:
        """Share of the cores that the networks take from the photos, for `throughput`."""
        return float(self.is_cpu)


@dataclass(frozen=True)
class Block:
    """Records of some sequences, in order, and their timings.

    Attributes
    ----------
    is_warm : False for the first photos after loading the networks: new shapes cost time once
    n_repeated : calls of networks that were repeated in float32 because their answers overflowed half precision
    """

    records: list[Record]
    timing: BatchTiming
    is_warm: bool
    n_repeated: int = 0


class Executor(Protocol):
    """Computes records of a job's sequences, independently of writing, resuming and budgets.

    `run.photos_to_records` calls `next_records` for one block after the other, each with its own effort and precision,
    so an executor must not compute far ahead of the requests. `run.precision` and `run.plan` call `sample`.
    All calls come from one thread. An executor that spreads work may cut it into its own blocks, at multiples of the
    batch size counted from the first sequence of the job.
    """

    @property
    def facts(self) -> ExecutorFacts:
        """The facts on which the records depend."""

    @property
    def n_batches_at_once(self) -> int:
        """Batches that it computes side by side, if it gets as many."""

    def load(self, precision: Precision) -> Probabilities:
        """Load the networks in a precision, replacing any loaded ones; returns their answers to the probe.

        float32 (P, C); see `networks.probe`. Raises OutOfMemoryError, BundleError.
        """

    def next_records(self, first: int, n_sequences: int, effort: Effort, precision: Precision) -> Block:
        """Records of `n_sequences` sequences of the job from index `first`, fewer only at the end.

        A call that starts where the last one ended finds its photos already decoded.
        """

    def sample(self, sequences: Iterable[Sequence], precision: Precision) -> Block:
        """Records of any sequences at full effort, in any order; photos first, then networks, for clean timings."""

    def prove(self, precision: Precision) -> Block:
        """Records of the bundle's proof set; see `execution.proof`."""

    def figures(self) -> dict[str, Any]:
        """Its parts of `run.json`, by name."""

    def status(self) -> dict[str, Any]:
        """Its fields of `status.json`, by name; any thread may ask."""

    def close(self) -> None:
        """Stop working ahead and release the networks."""
