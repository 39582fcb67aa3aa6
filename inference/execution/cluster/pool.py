"""The interface between the executor of a cluster and the library that runs its workers."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True)
class Done:
    """The outcome of a call.

    Attributes
    ----------
    method, tag : as in the call
    result : of the method; None after an error
    error : of the method, or the reason for the worker's end
    has_died : whether the worker has ended, with all of its calls
    """

    worker: str
    method: str
    tag: Any
    result: Any = None
    error: Exception | None = None
    has_died: bool = False


class Place(NamedTuple):
    """Where a worker runs: the name of its node, and its own, which differs where a node has several workers."""

    node: str
    name: str


class Pool(Protocol):
    """Workers in other processes, each a `BlockWorker`."""

    def refresh(self, left_out: Container[str]) -> Mapping[str, Place]:
        """Start workers at places that lack them, unless place or node is left out; returns the place of each worker by its name."""

    def call(self, worker: str, method: str, tag: object, *arguments: object) -> None:
        """Begin a call of a method."""

    def finished(self, seconds: float) -> list[Done]:
        """Calls that have ended since the last time; waits up to `seconds` for one."""

    def stop(self, worker: str) -> None:
        """End a worker."""

    def close(self) -> None:
        """End all workers."""
