"""Checks that the text of a LightGBM booster is complete and predicts one number, before LightGBM reads it.

LightGBM 4.7 reads a model text without validation: a missing child, a cycle of splits, a truncated line or a wrong size
ends in SIGSEGV, SIGABRT, an endless loop or silently fewer trees. None of these can be caught.
"""

import re

import numpy as np

from inference.bundle.booster_trees import BoosterText, BoosterTrees, check_leaves, check_nodes, check_unused, read_tree
from inference.bundle.manifest import Manifest
from inference.core.errors import BundleError

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
"""Every booster has these. A stacker has one class, one tree per iteration and a probability as output."""
OPTIONAL_HEADER_PATTERNS: dict[bytes, re.Pattern[bytes]] = {
    b"monotone_constraints": re.compile(rb"-?[01]( -?[01])*"),
}
ANONYMOUS_FEATURE = re.compile(r"Column_\d+")


def booster_path(set_name: str, label: str) -> str:
    """Path of a booster below its bundle."""
    return f"stackers/{set_name}/{label}.txt"


def booster_paths(manifest: Manifest) -> list[str]:
    """Paths of all boosters of a bundle below it."""
    stacking = manifest.ensemble.stacking
    return [booster_path(name, label) for name in stacking.sets for label in stacking.classes] if stacking else []


def check_booster_text(where: str, data: bytes) -> None:
    """Check every tree of a LightGBM model text.

    Parameters
    ----------
    where : name of the file, for messages
    data : content of the file

    Raises
    ------
    BundleError
        LightGBM would not write this text for a stacker; the message names file, line and tree.
    """
    text = BoosterText(where, data)
    header, first = _read_header(text)
    starts, end = _tree_starts(text, header[b"tree_sizes"].split(b" "), first)
    trees = BoosterTrees(text, starts)
    for tree, (start, stop) in enumerate(zip(starts, [*starts[1:], end], strict=True)):
        read_tree(trees, tree, data[start:stop])
    check_unused(trees)
    check_nodes(trees, n_features=int(header[b"max_feature_idx"]) + 1)
    check_leaves(trees)
    try:
        data[:end].decode("utf-8")
    except UnicodeDecodeError as error:
        raise text.error(error.start, f"must be UTF-8, got {error.reason}") from error


def text_of_trees(data: bytes) -> str:
    """The parts of a checked text that predictions need: header and trees. LightGBM never sees the rest."""
    return data[: data.index(b"\n" + END_OF_TREES) + 1 + len(END_OF_TREES)].decode("utf-8") + "\n"


def feature_names_of(data: bytes) -> list[str]:
    """The feature names in a checked text, by position."""
    start = data.index(b"\nfeature_names=") + len(b"\nfeature_names=")
    return data[start : data.index(b"\n", start)].decode("utf-8").split(" ")


def check_feature_names(where: str, got: list[str], expected: tuple[str, ...]) -> None:
    """Reject a booster made for other features. Anonymous names (`Column_0` ...) match by position."""
    if len(got) != len(expected):
        raise BundleError(f"{where}: must expect {len(expected)} features, got {len(got)}")
    for position, (name, wanted) in enumerate(zip(got, expected, strict=True)):
        if name != wanted and not ANONYMOUS_FEATURE.fullmatch(name):
            raise BundleError(f"{where}: feature {position} must be {wanted}, got {name}")


def _read_header(text: BoosterText) -> tuple[dict[bytes, bytes], int]:
    """Every line before the first tree, and the offset of that tree."""
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


def _header_values(text: BoosterText, first_tree: int) -> dict[bytes, bytes]:
    """The lines `key=value` before the first tree: known keys, each once, with valid values."""
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


def _tree_starts(text: BoosterText, sizes: list[bytes], first: int) -> tuple[list[int], int]:
    """The start of each tree according to `tree_sizes`, and that of `end of trees`."""
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
