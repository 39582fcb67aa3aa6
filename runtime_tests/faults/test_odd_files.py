"""Odd files through every decoder, each decoder in a child process: nobody dies, all agree, with Pillow too."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from inference.core.choices import DecoderName
from inference.core.sequences import FailureReason
from runtime_tests.faults.conftest import Figures
from runtime_tests.faults.damage import Twin, chunk, drawn_png, photos, saved, scene, segment, twins, with_scans
from runtime_tests.faults.decoding_child import DIED, OVER_THE_LIMIT, PLAIN_PILLOW, USED, Outcome, decode_in_child

DECODERS = (DecoderName.PILLOW, DecoderName.FAST, DecoderName.DALI)
DAMAGED_EXIF = "used: damaged EXIF, which nobody needs, does not lose an image whose pixels are fine"
EXPLAINED = {
    "Pillow__invalid-exif.jpg": DAMAGED_EXIF,
    "Pillow__truncated_exif_dpi.jpg": DAMAGED_EXIF,
    "image-rs-jpeg-decoder__crashtest__images__imagetestsuite__c3018ebe53d0046eecb58858ca869a99.jpg": DAMAGED_EXIF,
}
"""Files of `odd_jpegs/` of which we make something else than its INDEX.tsv, and why."""

Outcomes = dict[str, dict[str, Outcome]]
"""By decoder, by file."""


def decode_everywhere(folder: Path, names: list[str]) -> Outcomes:
    """What every decoder of ours and plain Pillow make of some files."""
    return {decoder: decode_in_child(decoder, folder, names) for decoder in (*DECODERS, PLAIN_PILLOW)}


def deaths(outcomes: Outcomes) -> list[tuple[str, str, str]]:
    """Decoder, file and what happened."""
    return [
        (decoder, name, outcome.detail)
        for decoder, by_name in outcomes.items()
        for name, outcome in by_name.items()
        if outcome.status == DIED
    ]


def disagreements(outcomes: Outcomes) -> list[tuple[str, list[Outcome]]]:
    """Files whose status or pixels depend on the decoder; DALI's pixels may differ by a grey level."""
    found = []
    for name in outcomes[DecoderName.PILLOW]:
        pillow, fast, dali = (outcomes[decoder][name] for decoder in DECODERS)
        if pillow != fast or (pillow.status, pillow.detail) != (dali.status, dali.detail):
            found.append((name, [pillow, fast, dali]))
    return found


def lost_or_let_through(outcomes: Outcomes) -> list[tuple[str, Outcome, Outcome]]:
    """Files that Pillow decodes within the limits and we do not, or that are over the limit and are decoded."""
    found = []
    for name, ours in outcomes[DecoderName.PILLOW].items():
        plain = outcomes[PLAIN_PILLOW][name]
        lost = plain.status == USED and ours.status != USED
        let_through = plain.status == OVER_THE_LIMIT and ours.status == USED
        if lost or let_through:
            found.append((name, ours, plain))
    return found


def unlike_index(ours: dict[str, Outcome], index: dict[str, str]) -> set[str]:
    """Files that we use where Pillow, as INDEX.tsv has it, does not, or the other way round."""
    return {name for name, outcome in ours.items() if (outcome.status == USED) != index[name].startswith("ok ")}


@pytest.fixture(scope="module")
def index(shared: Path) -> dict[str, str]:
    """Pillow's outcome by file, as INDEX.tsv has it."""
    with (shared / "odd_jpegs" / "INDEX.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["file"]: row["pillow_load_truncated"] for row in rows}


def test_every_odd_file_has_one_outcome_whatever_the_decoder(
    shared: Path, index: dict[str, str], figures: Figures
) -> None:
    assert len(index) == 103
    outcomes = decode_everywhere(shared / "odd_jpegs", sorted(index))
    ours = outcomes[DecoderName.PILLOW]
    unlike = unlike_index(ours, index)
    figures["odd files: the 103 of odd_jpegs"] = {
        "files": len(index),
        "decoders": list(DECODERS),
        "deaths": len(deaths(outcomes)),
        "different_statuses": len(disagreements(outcomes)),
        "statuses": dict(Counter(outcome.status for outcome in ours.values())),
        "unlike_index_and_explained": len(unlike & set(EXPLAINED)),
        "unlike_index_and_not_explained": len(unlike - set(EXPLAINED)),
    }
    assert deaths(outcomes) == []
    assert disagreements(outcomes) == []
    assert lost_or_let_through(outcomes) == []
    assert unlike == set(EXPLAINED)


@pytest.mark.parametrize("n_files", [300, pytest.param(20_000, marks=pytest.mark.faults)])
def test_every_damaged_twin_has_one_outcome_whatever_the_decoder(
    n_files: int, seed: int, tmp_path: Path, figures: Figures
) -> None:
    names = []
    for twin in twins(n_files, seed):
        (tmp_path / twin.name).write_bytes(twin.data)
        names.append(twin.name)
    outcomes = decode_everywhere(tmp_path, names)
    figures["odd files: generated twins"] = {
        "files": n_files,
        "seed": seed,
        "decoders": list(DECODERS),
        "deaths": len(deaths(outcomes)),
        "different_statuses": len(disagreements(outcomes)),
        "lost_or_let_through": len(lost_or_let_through(outcomes)),
        "statuses": dict(Counter(outcome.status for outcome in outcomes[DecoderName.PILLOW].values())),
    }
    assert deaths(outcomes) == []
    assert disagreements(outcomes) == []
    assert lost_or_let_through(outcomes) == []


def test_whole_photos_of_every_kind_are_used(tmp_path: Path) -> None:
    for name, data in photos().items():
        (tmp_path / name).write_bytes(data)
    outcomes = decode_everywhere(tmp_path, sorted(photos()))
    assert disagreements(outcomes) == []
    assert {name: outcome.status for name, outcome in outcomes[DecoderName.FAST].items()} == dict.fromkeys(
        photos(), USED
    )


def test_a_palette_image_without_a_palette_is_one_failure(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(drawn_png(3, 8, (b"tRNS", b"\xff\0")))
    outcomes = decode_everywhere(tmp_path, ["a.png"])
    failed = Outcome(FailureReason.CANNOT_DECODE, "AssertionError")
    assert [outcomes[decoder]["a.png"] for decoder in DECODERS] == [failed] * 3
    assert outcomes[PLAIN_PILLOW]["a.png"].detail == "AssertionError: "


def announcing(width: int, height: int) -> bytes:
    """A PNG of 42 bytes that announces a size and has no pixels, which Pillow completes."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"\0\0\0\x01IDAT\0"


def test_the_limits_are_met_exactly(tmp_path: Path) -> None:
    # A progressive photo that Pillow writes has 10 scans; 246 more are 256.
    progressive = saved(scene((64, 48)), "JPEG", progressive=True)
    assert progressive.count(b"\xff\xda") == 10
    frame = segment(0xC0, b"\x08" + (7072).to_bytes(2, "big") + (7071).to_bytes(2, "big") + b"\x03" + bytes(9))
    files = {
        "256 scans": (with_scans(progressive, 246), USED),
        "257 scans": (with_scans(progressive, 247), FailureReason.TOO_MANY_SCANS),
        "a film behind the photo": (progressive + b"\xff\xda" * 300, USED),
        "50 MP": (b"\xff\xd8" + frame, FailureReason.TOO_MANY_PIXELS),
        "65,535 wide": (announcing(65_535, 3), USED),
        "65,536 wide": (announcing(65_536, 3), FailureReason.TOO_LONG),
        "15.6 million wide": (announcing(15_597_571, 3), FailureReason.TOO_LONG),
        "15.6 million high": (announcing(3, 15_597_571), FailureReason.TOO_LONG),
    }
    for name, (data, _) in files.items():
        (tmp_path / name).write_bytes(data)
    outcomes = decode_everywhere(tmp_path, sorted(files))
    for decoder in DECODERS:
        for name, (_, status) in files.items():
            assert (name, outcomes[decoder][name].status) == (name, status)


def test_a_child_that_dies_is_counted_and_the_next_one_goes_on(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(photos()["plain"])
    outcomes = decode_in_child(DecoderName.FAST, tmp_path, ["a", "b", "c"], abort_at="b")
    assert [outcome.status for outcome in outcomes.values()] == [USED, DIED, USED]
    assert outcomes["b"].detail.startswith("exit code -6")
    assert deaths({DecoderName.FAST: outcomes}) == [(DecoderName.FAST, "b", outcomes["b"].detail)]


def test_a_different_outcome_would_be_seen() -> None:
    used, other, refused = Outcome(USED, digest="1"), Outcome(USED, digest="2"), Outcome("missing")

    def outcomes(pillow: Outcome, fast: Outcome, dali: Outcome, plain: Outcome) -> Outcomes:
        return {
            name: {"a": one} for name, one in zip((*DECODERS, PLAIN_PILLOW), (pillow, fast, dali, plain), strict=True)
        }

    same = outcomes(used, used, other, used)
    assert (disagreements(same), lost_or_let_through(same)) == ([], [])
    assert disagreements(outcomes(used, other, used, used))
    assert disagreements(outcomes(used, used, refused, used))
    assert lost_or_let_through(outcomes(refused, refused, refused, used))
    assert lost_or_let_through(outcomes(used, used, used, Outcome(OVER_THE_LIMIT)))
    assert (
        unlike_index({"a": used}, {"a": "OSError: broken"}) == unlike_index({"a": refused}, {"a": "ok JPEG"}) == {"a"}
    )


def test_twins_are_the_same_in_every_run_and_damaged() -> None:
    first, second = list(twins(40, seed=1)), list(twins(40, seed=1))
    assert first == second
    assert isinstance(first[0], Twin)
    originals = set(photos().values())
    assert sum(twin.data in originals for twin in first) < 10
