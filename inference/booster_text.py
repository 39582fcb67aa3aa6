"""The text of a LightGBM booster: whether it is whole and means one number, told before LightGBM sees it.

LightGBM 4.7 reads a model text without looking: a child that is not there, a circle of splits, a cut line or a size that
does not fit ends in SIGSEGV, SIGABRT, an endless loop or silently fewer trees. Nothing of that can be caught.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from inference.domain import BundleError

if TYPE_CHECKING:
    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]

FIRST_LINE = b"tree"
END_OF_TREES = b"end of trees"
FLAG = b"average_output"
"""The only line of the header without a value."""
HEADER_PATTERNS: dict[bytes, re.Pattern[bytes]] = {
    b"version": re.compile(rb"v[234]"),
    b"num_class": re.compile(rb"1"),
    b"num_tree_per_iteration": re.compile(rb"1"),
    b"label_index": re.compile(rb"\d{1,9}"),
    b"max_feature_idx": re.compile(rb"\d{1,6}"),
    b"objective": re.compile(rb"binary sigmoid:\d{1,9}(\.\d{1,20})?(e[+-]?\d{1,2})?|cross_entropy"),
    b"feature_names": re.compile(rb"[^ ]+( [^ ]+)*"),
    b"feature_infos": re.compile(rb"[^ =]+( [^ =]+)*"),
    b"tree_sizes": re.compile(rb"\d{1,12}( \d{1,12})*"),
}
"""Every booster has these. One class, one tree an iteration and a probability are what a stacker is."""
OPTIONAL_HEADER_PATTERNS: dict[bytes, re.Pattern[bytes]] = {
    b"monotone_constraints": re.compile(rb"-?[01]( -?[01])*"),
}

TREE_PATTERNS: tuple[tuple[bytes, re.Pattern[bytes], str], ...] = (
    (b"num_leaves", re.compile(rb"[1-9]\d{0,8}"), "at least 1"),
    (b"num_cat", re.compile(rb"0"), "0: the features of a bundle are numbers, not categories"),
    (b"is_linear", re.compile(rb"0?"), "0: a leaf must be a number, not a linear model"),
)
NODE_INTEGERS = (b"split_feature", b"decision_type", b"left_child", b"right_child")
LEFT_CHILD, RIGHT_CHILD = b"left_child", b"right_child"
THRESHOLD, LEAF_VALUE = b"threshold", b"leaf_value"
NEEDED_ARRAYS = (*NODE_INTEGERS, THRESHOLD, LEAF_VALUE)
UNUSED_NODE_ARRAYS = (b"split_gain", b"internal_value", b"internal_weight", b"internal_count")
UNUSED_LEAF_ARRAYS = (b"leaf_weight", b"leaf_count")
"""What predictions do not look at, but the reader does."""
LEAF_ARRAYS = frozenset((LEAF_VALUE, *UNUSED_LEAF_ARRAYS))
TREE_KEYS = frozenset(
    (*NEEDED_ARRAYS, *UNUSED_NODE_ARRAYS, *UNUSED_LEAF_ARRAYS, b"num_leaves", b"num_cat", b"is_linear", b"shrinkage")
)
INTEGER_BYTES = b"0123456789- "
NO_INTEGERS = re.compile(rb"[^0-9 -]|-(?![0-9])|[0-9]-")
FLOAT_BYTES = b"0123456789+-.e "
UNUSED_BYTES = FLOAT_BYTES + b"infa"
"""Gains of forced splits may be `inf` or `nan`."""
DECISION_TYPES = (0, 2, 4, 6, 8, 10)
"""Bit 0: categorical, never here. Bit 1: absent values go left. Bits 2 and 3: what is absent: nothing, 0, NaN."""


@dataclass(frozen=True)
class _Text:
    """A booster's text and where it came from."""

    where: str
    data: bytes

    def error(self, offset: int, message: str, tree: int | None = None) -> BundleError:
        """What must hold and what came, with file, line and tree."""
        line = self.data.count(b"\n", 0, offset) + 1
        return BundleError(f"{self.where}, line {line}{'' if tree is None else f' (tree {tree})'}: {message}")


@dataclass(frozen=True)
class _Trees:
    """All trees of a booster, array by array: T trees, values as they are written."""

    text: _Text
    starts: list[int]
    n_leaves: list[int] = field(default_factory=list)
    lines: dict[bytes, list[bytes]] = field(default_factory=lambda: {key: [] for key in TREE_KEYS})
    """The values of each array, a tree at a time; nothing for arrays and trees that have none."""

    def error(self, tree: int, key: bytes, message: str) -> BundleError:
        """The same as `_Text.error` for the line of a tree that starts with `key`."""
        start, stop = [*self.starts, len(self.text.data)][tree : tree + 2]
        line = self.text.data.find(b"\n" + key + b"=", start, stop) + 1
        return self.text.error(line or start, f"{key.decode()} {message}", tree)


def check_booster_text(where: str, data: bytes) -> None:
    """Check every tree of a LightGBM model text.

    Parameters
    ----------
    where : name of the file, for messages
    data : content of the file

    Raises
    ------
    BundleError
        The text is not one that LightGBM writes for a stacker; the message names file, line and tree.
    """
    text = _Text(where, data)
    header, first = _read_header(text)
    starts, end = _tree_starts(text, header[b"tree_sizes"].split(b" "), first)
    trees = _Trees(text, starts)
    for tree, (start, stop) in enumerate(zip(starts, [*starts[1:], end], strict=True)):
        _read_tree(trees, tree, data[start:stop])
    _check_unused(trees)
    _check_nodes(trees, n_features=int(header[b"max_feature_idx"]) + 1)
    _check_leaves(trees)
    try:
        data[:end].decode("utf-8")
    except UnicodeDecodeError as error:
        raise text.error(error.start, f"must be UTF-8, got {error.reason}") from error


def text_of_trees(data: bytes) -> str:
    """What predictions need of a text that was checked, header and trees: nothing after them reaches LightGBM."""
    return data[: data.index(b"\n" + END_OF_TREES) + 1 + len(END_OF_TREES)].decode("utf-8") + "\n"


def feature_names_of(data: bytes) -> list[str]:
    """The feature names in a text that was checked, by position."""
    start = data.index(b"\nfeature_names=") + len(b"\nfeature_names=")
    return data[start : data.index(b"\n", start)].decode("utf-8").split(" ")


def _read_header(text: _Text) -> tuple[dict[bytes, bytes], int]:
    """Every line before the first tree, and where that tree starts."""
    data = text.data
    if data.partition(b"\n")[0] != FIRST_LINE:
        raise text.error(0, f"must be a LightGBM model text, which starts with 'tree', got {data[:20]!r}")
    for unwanted in (b"\r", b"\0"):
        if (offset := data.find(unwanted)) >= 0:
            raise text.error(offset, f"lines must end with a newline only, got {unwanted!r}")
    first = data.find(b"\nTree=0\n") + 1
    if not first:
        raise text.error(0, "must hold trees, got no line Tree=0")
    values = _header_values(text, first)
    missing = [key.decode() for key in HEADER_PATTERNS if key not in values]
    if missing:
        raise text.error(0, f"must have a line {missing[0]}=")
    n_features = int(values[b"max_feature_idx"]) + 1
    for key in (b"feature_names", b"feature_infos", b"monotone_constraints"):
        n_entries = values[key].count(b" ") + 1 if key in values else n_features
        if n_entries != n_features:
            offset = data.find(b"\n" + key + b"=") + 1
            raise text.error(
                offset, f"{key.decode()} must have max_feature_idx + 1 = {n_features} entries, got {n_entries}"
            )
    return values, first


def _header_values(text: _Text, first_tree: int) -> dict[bytes, bytes]:
    """The lines `key=value` before the first tree: known keys, each once, with values that make sense."""
    patterns = HEADER_PATTERNS | OPTIONAL_HEADER_PATTERNS
    values: dict[bytes, bytes] = {}
    offset = len(FIRST_LINE) + 1
    for line in text.data[offset : first_tree - 1].split(b"\n"):
        key, _, value = line.partition(b"=")
        if line and line != FLAG:
            if key not in patterns or key in values:
                raise text.error(offset, f"must be a line of a LightGBM header, each once, got {line[:60]!r}")
            if not patterns[key].fullmatch(value):
                pattern = patterns[key].pattern.decode()
                raise text.error(offset, f"{key.decode()} must match {pattern}, got {value[:60]!r}")
            values[key] = value
        offset += len(line) + 1
    return values


def _tree_starts(text: _Text, sizes: list[bytes], first: int) -> tuple[list[int], int]:
    """Where each tree starts by `tree_sizes`, and where `end of trees` does."""
    starts = [first, *(first + np.cumsum([int(size) for size in sizes])).tolist()]
    for tree, start in enumerate(starts[:-1]):
        if not text.data.startswith(b"Tree=%d\n" % tree, start):
            raise text.error(
                start, f"tree_sizes must lead to a line Tree={tree}, got {text.data[start : start + 20]!r}"
            )
    end = starts.pop()
    if text.data[end : end + len(END_OF_TREES) + 1] not in (END_OF_TREES, END_OF_TREES + b"\n"):
        raise text.error(
            end, f"tree_sizes must lead over {len(starts)} trees to 'end of trees', got {text.data[end : end + 20]!r}"
        )
    return starts, end


def _read_tree(trees: _Trees, tree: int, block: bytes) -> None:
    """Take one tree apart and add its arrays; their lengths must fit its number of leaves."""
    content, _, rest = block.partition(b"\n\n")
    lines = content.split(b"\n")[1:]
    values = {key: value for key, separator, value in (line.partition(b"=") for line in lines) if separator}
    for key, pattern, wanted in TREE_PATTERNS:
        value = values.get(key, b"")
        if not pattern.fullmatch(value):
            raise trees.error(tree, key, f"must be {wanted}, got {value[:20]!r}")
    if len(values) != len(lines) or not values.keys() <= TREE_KEYS or rest.strip(b"\n"):
        raise trees.text.error(
            trees.starts[tree], f"must be known lines, each once, then empty ones, got {_strange(lines, rest)!r}", tree
        )
    if not _is_finite(values.get(b"shrinkage", b"1")):
        raise trees.error(tree, b"shrinkage", f"must be a finite number, got {values[b'shrinkage'][:20]!r}")
    n_leaves = int(values[b"num_leaves"])
    for key in (*NEEDED_ARRAYS, *UNUSED_NODE_ARRAYS, *UNUSED_LEAF_ARRAYS):
        value = values.get(key, b"")
        n_wanted = n_leaves if key in LEAF_ARRAYS else n_leaves - 1
        n_values = value.count(b" ") + 1 if value else 0
        if n_values != n_wanted and (value or key in NEEDED_ARRAYS):
            raise trees.error(tree, key, f"must have {n_wanted} values for {n_leaves} leaves, got {n_values}")
        trees.lines[key].append(value)
    trees.n_leaves.append(n_leaves)


def _strange(lines: list[bytes], rest: bytes) -> bytes:
    """The first line that is not a known one for the first time, shortened."""
    known = set(TREE_KEYS)
    for line in lines:
        key = line.partition(b"=")[0]
        if b"=" not in line or key not in known:
            return line[:40]
        known.remove(key)
    return rest.strip(b"\n")[:40]


def _is_finite(number: bytes) -> bool:
    try:
        return not number.translate(None, FLOAT_BYTES) and math.isfinite(float(number))
    except ValueError:
        return False


def _check_unused(trees: _Trees) -> None:
    """Arrays that predictions do not look at must still be numbers: the reader stops at anything else."""
    for key in (*UNUSED_NODE_ARRAYS, *UNUSED_LEAF_ARRAYS):
        if b" ".join(trees.lines[key]).translate(None, UNUSED_BYTES):
            tree = next(i for i, line in enumerate(trees.lines[key]) if line.translate(None, UNUSED_BYTES))
            raise trees.error(tree, key, f"must be numbers, got {trees.lines[key][tree][:40]!r}")


def _check_nodes(trees: _Trees, n_features: int) -> None:
    """Features and decisions that exist, finite thresholds, and children that make one tree."""
    n_nodes = np.array(trees.n_leaves) - 1
    tree_of_node = np.repeat(np.arange(len(n_nodes)), n_nodes)
    integers = {key: _integers(trees, key) for key in NODE_INTEGERS}
    allowed = {
        b"split_feature": (integers[b"split_feature"] >= 0) & (integers[b"split_feature"] < n_features),
        b"decision_type": np.isin(integers[b"decision_type"], DECISION_TYPES),
    }
    wanted = {b"split_feature": f"0 to {n_features - 1}", b"decision_type": f"one of {DECISION_TYPES}"}
    for key, holds in allowed.items():
        if not holds.all():
            node = int(np.argmin(holds))
            raise trees.error(tree_of_node[node], key, f"must be {wanted[key]}, got {integers[key][node]}")
    _floats(trees, THRESHOLD)
    _check_children(trees, n_nodes, tree_of_node, integers[LEFT_CHILD], integers[RIGHT_CHILD])


def _check_children(trees: _Trees, n_nodes: Integers, tree_of_node: Integers, left: Integers, right: Integers) -> None:
    """Children of every tree: each node but the first and each leaf exactly once, all of them below the first node.

    A child >= 0 is a node of the same tree, a child < 0 is the leaf `-child - 1`.
    """
    first_node = np.repeat(np.cumsum(n_nodes) - n_nodes, n_nodes)
    nodes = np.arange(len(first_node))
    parent, n_parents = nodes.copy(), np.zeros(len(nodes), np.int64)
    first_leaf = np.repeat(np.cumsum(n_nodes + 1) - (n_nodes + 1), n_nodes)
    n_leaf_parents = np.zeros(int((n_nodes + 1).sum()), np.int64)
    for key, child in ((LEFT_CHILD, left), (RIGHT_CHILD, right)):
        inside = (child < n_nodes[tree_of_node]) & (child >= -n_nodes[tree_of_node] - 1) & (child != 0)
        if not inside.all():
            node = int(np.argmin(inside))
            n_leaves = int(n_nodes[tree_of_node[node]]) + 1
            raise trees.error(
                tree_of_node[node], key, f"must be 1 to {n_leaves - 2} or -{n_leaves} to -1, got {child[node]}"
            )
        is_node = child > 0
        children = (first_node + child)[is_node]
        parent[children] = nodes[is_node]
        np.add.at(n_parents, children, 1)
        np.add.at(n_leaf_parents, (first_leaf - child - 1)[~is_node], 1)
    tree_of_leaf = np.repeat(np.arange(len(n_nodes)), n_nodes + 1)
    once = n_parents == (nodes != first_node)
    once_leaf = (n_leaf_parents == 1) | (n_nodes == 0)[tree_of_leaf]
    for _ in range(int(n_nodes.max(initial=0)).bit_length()):
        parent = parent[parent]  # 1, 2, 4, ... generations up: at last the first node of the tree
    for holds, tree_of in ((once, tree_of_node), (once_leaf, tree_of_leaf), (parent == first_node, tree_of_node)):
        if not holds.all():
            tree = int(tree_of[int(np.argmin(holds))])
            raise trees.error(tree, LEFT_CHILD, "and right_child must make one tree, got a node or leaf not once in it")


def _check_leaves(trees: _Trees) -> None:
    """Leaf values must be finite, and so must be the largest sum that the trees can give."""
    values = np.abs(_floats(trees, LEAF_VALUE))
    first_leaf = np.cumsum([0, *trees.n_leaves[:-1]])
    with np.errstate(over="ignore"):
        largest = np.maximum.reduceat(values, first_leaf).sum()
    if not np.isfinite(largest):
        raise trees.error(0, LEAF_VALUE, f"of all trees must have a finite sum, got {largest}")


def _integers(trees: _Trees, key: bytes) -> Integers:
    """One integer array of all trees, one tree after the other."""
    joined = b" ".join(line for line in trees.lines[key] if line)
    # np.fromstring only warns about what it cannot read.
    strange = not joined or NO_INTEGERS.search(joined)
    values = np.empty(0, np.int64) if strange else np.fromstring(joined, np.int64, sep=" ")
    if len(values) != sum(trees.n_leaves) - len(trees.n_leaves):
        tree = next(i for i, line in enumerate(trees.lines[key]) if not _all_numbers(line, int, INTEGER_BYTES))
        raise trees.error(tree, key, f"must be whole numbers, got {trees.lines[key][tree][:40]!r}")
    return values


def _floats(trees: _Trees, key: bytes) -> npt.NDArray[np.float64]:
    """One array of finite numbers of all trees, one tree after the other."""
    joined = b" ".join(line for line in trees.lines[key] if line)
    try:
        values = np.array([] if joined.translate(None, FLOAT_BYTES) else list(map(float, joined.split())))
    except ValueError:
        values = np.empty(0)
    n_wanted = sum(trees.n_leaves) - (0 if key in LEAF_ARRAYS else len(trees.n_leaves))
    if len(values) != n_wanted or not np.isfinite(values).all():
        tree = next(i for i, line in enumerate(trees.lines[key]) if not _all_numbers(line, float, FLOAT_BYTES))
        raise trees.error(tree, key, f"must be finite numbers, got {trees.lines[key][tree][:40]!r}")
    return values


def _all_numbers(line: bytes, kind: type[int | float], allowed: bytes) -> bool:
    """Whether a line holds finite numbers with one space between them."""
    try:
        numbers = [kind(one) for one in line.split(b" ")] if line else []
    except ValueError:
        return False
    return not line.translate(None, allowed) and (kind is int or all(map(math.isfinite, numbers)))
