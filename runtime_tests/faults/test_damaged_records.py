"""Damaged records: the same submission, or refused with 8; never another submission, never another error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inference import api
from inference.core.errors import CheckpointError
from inference.outputs.submission import SUBMISSION_NAME
from inference.records.jsonl import checked_line, content_of_line
from inference.records.schema import RECORDS_NAME
from runtime_tests.faults.commands import Season
from runtime_tests.faults.conftest import Figures
from runtime_tests.faults.damage import Mutation, Random, cut, flip_bits, replace_range
from runtime_tests.running import copy_of

ODD_VALUES: tuple[object, ...] = (None, -1, 0, 10**18, 1e300, "", "A" * 1000, "////", [], [[]], {}, True)
RESUMES_AMONG = 20
"""One damaged file of so many is gone on with, too: that takes longer."""


def lose_line(data: bytes, random: Random) -> bytes:
    """A line is gone."""
    lines = data.splitlines(keepends=True)
    del lines[random.integers(len(lines))]
    return b"".join(lines)


def tear_line(data: bytes, random: Random) -> bytes:
    """A line lacks its end, and the next one follows at once."""
    lines = data.splitlines(keepends=True)
    place = random.integers(len(lines))
    lines[place] = lines[place][: int(random.integers(len(lines[place])))]
    return b"".join(lines)


def change_value(data: bytes, random: Random) -> bytes:
    """A value of the header or of a record is an odd one, with the right checksum: somebody edited the file."""
    lines = data.splitlines(keepends=True)
    place = int(random.integers(len(lines))) if random.random() < 0.5 else 0
    content = content_of_line(lines[place])
    assert content is not None
    name = list(content)[random.integers(len(content))]
    lines[place] = checked_line(content | {name: ODD_VALUES[random.integers(len(ODD_VALUES))]})
    return b"".join(lines)


ACCIDENTS: tuple[Mutation, ...] = (cut, flip_bits, replace_range, lose_line, tear_line)


def outcome(read: Callable[[], object], out: Path, expected: bytes) -> str:
    """What became of damaged records; an error other than CheckpointError passes through."""
    try:
        read()
    except CheckpointError as error:
        assert RECORDS_NAME in str(error)  # noqa: PT017
        return "refused"
    return "same bytes" if (out / SUBMISSION_NAME).read_bytes() == expected else "other bytes"


@pytest.mark.parametrize("n_files", [20, pytest.param(2_000, marks=pytest.mark.faults)])
def test_accidents_of_records_are_repaired_or_refused(
    n_files: int, quick: Season, quick_prediction: Path, seed: int, tmp_path: Path, figures: Figures
) -> None:
    valid, expected = (quick_prediction / RECORDS_NAME).read_bytes(), (quick_prediction / SUBMISSION_NAME).read_bytes()
    run = copy_of(quick_prediction, tmp_path / "run")
    outcomes: dict[str, Counter[str]] = {"restack": Counter(), "resume": Counter()}
    for number in range(n_files):
        random = np.random.default_rng((seed, number))
        accident = ACCIDENTS[number % len(ACCIDENTS)]
        damaged = accident(valid, random)
        (run / RECORDS_NAME).write_bytes(damaged)
        outcomes["restack"][outcome(lambda: api.restack(run, quick.bundle, tmp_path), tmp_path, expected)] += 1
        if number % RESUMES_AMONG == number // RESUMES_AMONG % len(ACCIDENTS):  # each accident in turn
            (run / RECORDS_NAME).write_bytes(damaged)
            outcomes["resume"][outcome(lambda: api.predict(quick.data, quick.bundle, run), run, expected)] += 1
    figures["damaged records"] = {
        "seed": seed,
        "files": n_files,
        **{name: dict(sorted(counts.items())) for name, counts in outcomes.items()},
    }
    assert outcomes["restack"].total() == n_files
    assert not any(counts["other bytes"] for counts in outcomes.values())
    assert outcomes["restack"]["refused"]
    assert outcomes["resume"]["same bytes"] or outcomes["resume"].total() == 1  # the seed chose a header


@pytest.mark.parametrize("n_files", [20, pytest.param(1_000, marks=pytest.mark.faults)])
def test_edited_records_are_read_or_refused(
    n_files: int, quick: Season, quick_prediction: Path, seed: int, tmp_path: Path, figures: Figures
) -> None:
    valid = (quick_prediction / RECORDS_NAME).read_bytes()
    run = copy_of(quick_prediction, tmp_path / "run")
    outcomes: Counter[str] = Counter()
    for number in range(n_files):
        (run / RECORDS_NAME).write_bytes(change_value(valid, np.random.default_rng((seed, number))))
        outcomes[outcome(lambda: api.restack(run, quick.bundle, tmp_path), tmp_path, b"")] += 1
    figures["edited records"] = {"seed": seed, "files": n_files, **dict(sorted(outcomes.items()))}
    assert outcomes["refused"]


def test_other_bytes_would_be_seen(quick: Season, quick_prediction: Path, tmp_path: Path) -> None:
    run = copy_of(quick_prediction, tmp_path / "run")
    header, *lines = (run / RECORDS_NAME).read_bytes().splitlines(keepends=True)
    contents = [content_of_line(line) or {} for line in lines]
    one, other = [content for content in contents if content["n_frames"] == 3][:2]
    one["frame_outputs"] = other["frame_outputs"]
    (run / RECORDS_NAME).write_bytes(header + b"".join(map(checked_line, contents)))
    expected = (quick_prediction / SUBMISSION_NAME).read_bytes()
    assert outcome(lambda: api.restack(run, quick.bundle, tmp_path), tmp_path, expected) == "other bytes"
