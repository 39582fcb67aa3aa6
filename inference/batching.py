"""Many items, some at a time."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Item = TypeVar("Item")


def in_parts(items: Iterable[Item], n_items: int) -> Iterator[list[Item]]:
    """Lists of `n_items` items, in order; the last one may be shorter."""
    source = iter(items)
    while part := list(islice(source, n_items)):
        yield part
