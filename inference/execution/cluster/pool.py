"""The interface between the executor of a cluster and the library that runs its workers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


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
    tag: int
    result: Any = None
    error: Exception | None = None
    has_died: bool = False


class Pool(Protocol):
    """Workers in other processes, each a `BlockWorker`."""

    def refresh(self) -> Mapping[str, str]:
        """Start workers on nodes that lack them; returns the address of each worker's node by the worker's name."""

    def call(self, worker: str, method: str, tag: int, *arguments: object) -> None:
        """Begin a call of a method."""

    def finished(self, seconds: float) -> list[Done]:
        """Calls that have ended since the last time; waits up to `seconds` for one."""

    def stop(self, worker: str, *, leave_out: bool) -> None:
        """End a worker. Its node gets another one, unless it is left out."""

    def close(self) -> None:
        """End all workers."""
