"""What a hostile author can do: change a file of a bundle, and the manifest with it."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np


def rewrite_manifest(folder: Path) -> None:
    """List every file of a bundle as it is now."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {
        file.relative_to(folder).as_posix(): {
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "n_bytes": file.stat().st_size,
        }
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != path
    }
    path.write_text(json.dumps(manifest))


def spoil_int8(folder: Path, files: tuple[str, str]) -> None:
    """Halve the weights of the largest layer of a network in int8 below a bundle."""
    graph, weights = (folder / name for name in files)
    constants = re.findall(r'element_type="i8" shape="[^"]*" offset="(\d+)" size="(\d+)"', graph.read_text())
    first, size = max(((int(one), int(n)) for one, n in constants), key=lambda one: one[1])
    values = np.frombuffer(weights.read_bytes(), np.int8).copy()
    values[first : first + size] //= 2
    weights.write_bytes(values.tobytes())
    rewrite_manifest(folder)


KINDS = {
    "cut tree_sizes": True,
    "cut the file": True,
    "delete a line": True,
    "double a line": True,
    "wrong number of values": True,
    "child elsewhere": True,
    "feature elsewhere": True,
    "number is huge": True,
    "number is no number": True,
    "swap digits": False,
    "flip a byte": False,
    "insert bytes": False,
}
"""Mutations of a LightGBM text, and whether each of them hurts its structure."""
ARRAYS = (b"split_feature", b"threshold", b"decision_type", b"left_child", b"right_child", b"leaf_value")


HUGE = (b"1e999", b"-1e400", b"9" * 400, b"inf", b"-inf")
NO_NUMBERS = (b"nan", b"", b"-", b"x", b"0x10", b"1_0", b"1e", b"--1", b"\xd9\xa1", b"1,5")
NO_CHILDREN = (0, 1, 2, 7, 100, -1, -2, -9, -(2**31), 2**31 - 1)
NO_FEATURES = (-1, 5, 6, 10**6, 2**31 - 1, -(2**31), 2**40)
SOME_BYTES = b"0123456789 -+.e=\n\0xT"


def mutated(data: bytes, seed: int) -> tuple[str, bytes]:
    """One mutation of a LightGBM text, the same for the same seed; sizes fit where an author could see to that."""
    random = Random(seed)  # noqa: S311  # reproducible, not secret
    kind = list(KINDS)[seed % len(KINDS)]
    first, end = data.index(b"Tree=0"), data.index(b"end of trees")
    if kind == "cut tree_sizes":
        sizes = data[data.index(b"tree_sizes=") + len(b"tree_sizes=") : first].strip().split(b" ")
        kept = sizes[: random.randrange(1, len(sizes))]
        return kind, data.replace(b" ".join(sizes), b" ".join(kept), 1)
    if kind == "cut the file":
        return kind, data[: random.randrange(end)]
    if kind in ("flip a byte", "insert bytes"):
        where = random.randrange(end)
        some = bytes(random.choice(SOME_BYTES) for _ in range(random.randrange(1, 4)))
        return kind, data[:where] + (some + data[where:] if kind == "insert bytes" else some[:1] + data[where + 1 :])
    keys = {"child elsewhere": ARRAYS[3:5], "feature elsewhere": ARRAYS[:1]}.get(kind, ARRAYS)
    lines = data[first:end].split(b"\n")
    position = random.choice([i for i, line in enumerate(lines) if line.partition(b"=")[0] in keys])
    key, _, line = lines[position].partition(b"=")
    if kind == "delete a line":
        del lines[position]
    elif kind == "double a line":
        lines.insert(position, lines[position])
    else:
        lines[position] = key + b"=" + b" ".join(_other_values(kind, line.split(b" "), random))
    return kind, with_tree_sizes(data[:first] + b"\n".join(lines) + data[end:])


def _other_values(kind: str, values: list[bytes], random: Random) -> list[bytes]:
    """Another line of an array."""
    if kind == "wrong number of values":
        return values[:-1] if random.random() < 0.5 else [*values, values[0]]
    if kind == "swap digits":
        digits = bytearray(b" ".join(values))
        for _ in range(random.randrange(1, 4)):
            a, b = (random.randrange(len(digits)) for _ in range(2))
            digits[a], digits[b] = digits[b], digits[a]
        return [bytes(digits)]
    chosen = random.randrange(len(values))
    if kind == "child elsewhere":
        other = random.choice(NO_CHILDREN)
        new = b"%d" % (other if other != int(values[chosen]) else 50)
    elif kind == "feature elsewhere":
        new = b"%d" % random.choice(NO_FEATURES)
    else:
        new = random.choice(HUGE if kind == "number is huge" else NO_NUMBERS)
    return [*values[:chosen], new, *values[chosen + 1 :]]


def with_tree_sizes(data: bytes) -> bytes:
    """The same text with sizes that fit, as a careful author would write them."""
    first, end = data.index(b"Tree=0"), data.index(b"end of trees")
    starts = [match.start() for match in re.finditer(rb"^Tree=", data, re.MULTILINE)] + [end]
    sizes = b" ".join(b"%d" % (stop - start) for start, stop in pairwise(starts))
    return re.sub(rb"tree_sizes=.*", b"tree_sizes=" + sizes, data[:first]) + data[first:]


PREDICT_MANY = """
import sys
from pathlib import Path
import lightgbm
import numpy as np
rows = np.array([[0.0] * 5, [np.nan] * 5, [0.3] * 5, [1e300, -1e300, 0, 3, 1]])
folder = Path(sys.argv[1])
paths = sorted(folder.glob("*.txt"))
untouched = lightgbm.Booster(model_str=(folder / "good").read_text()).predict(rows)
n_same = 0
for path in paths:
    print(path, flush=True)
    booster = lightgbm.Booster(model_str=path.read_text())
    assert booster.num_trees() == 6
    answers = booster.predict(rows)
    assert np.all((answers >= 0) & (answers <= 1)), answers
    n_same += np.array_equal(answers, untouched)
print(len(paths), "answered with probabilities,", n_same, "of them like the untouched one")
"""
"""A child that loads every text of a folder: dies if one of them kills LightGBM."""
