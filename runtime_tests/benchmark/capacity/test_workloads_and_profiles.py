"""Workloads and device profiles are data."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.capacity.device_profiles import HIGH, LOW, MID, PROFILES_FOLDER, Basis, load_profile
from benchmark.capacity.workloads import WORKLOADS_FOLDER, load_workload
from inference.core.errors import UsageError


def test_the_seasons_have_the_published_numbers() -> None:
    """Counted in the public metadata."""
    for name, sequences, images in (("season11", 187_419, 497_050), ("season10", 252_015, 682_736)):
        workload = load_workload(name)
        assert (workload.sequences, workload.images) == (sequences, images)
        assert sum(n * share for n, share in workload.frame_shares.items()) == pytest.approx(
            images / sequences, abs=0.001
        )


@pytest.mark.parametrize("path", sorted(WORKLOADS_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_workload_is_named_like_its_file(path: Path) -> None:
    assert load_workload(path.stem).name == path.stem


@pytest.mark.parametrize("path", sorted(PROFILES_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_profile_is_named_like_its_file_and_gives_the_source_of_each_number(path: Path) -> None:
    profile = load_profile(path.stem)
    assert profile.name == path.stem
    numbers = dict(profile.assumptions())
    assert len(numbers) == 6 + 2 * 4
    for name, one in numbers.items():
        assert len(one.source.split()) > 2, name
        assert (one.basis is Basis.SPECIFIED) == (name[-1] == "peak_tflops")


def test_the_shares_of_a_v100_are_those_found_reasonable() -> None:
    profile = load_profile("v100")
    shares = [[getattr(one, level).value for level in (LOW, MID, HIGH)] for one in (profile.float32, profile.mixed)]
    assert shares == [[0.45, 0.57, 0.69], [0.12, 0.18, 0.22]]
    assert profile.float32.operations_per_second(LOW) == pytest.approx(0.45 * 15.7e12)


def test_a_profile_with_another_number_differs_in_it_alone() -> None:
    profile = load_profile("v100")
    for path, number in profile.assumptions():
        changed = dict(profile.with_value(path, 2 * number.value).assumptions())
        assert {name for name, one in profile.assumptions() if changed[name] != one} == {path}
        assert changed[path].value == 2 * number.value


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sequences = 300", "sequences = 0", "sequences: "),
        ("3 = 0.73", "3 = 0.5", "frames: shares must add up to 1, got 0.77"),
        ("share = 1.0", "share = 0.9", "photo_sizes: shares must add up to 1"),
        ("3 = 0.73", "4 = 0.73", "frames"),
        ('name = "minutes"', 'name = "minutes"\nsurprise = 1', "surprise"),
        ("[frames]", "[frames", "must be TOML"),
    ],
)
def test_a_workload_that_makes_no_sense_is_refused_with_its_place(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    text = (WORKLOADS_FOLDER / "minutes.toml").read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new))
    with pytest.raises(UsageError, match=message):
        load_workload(str(tmp_path / "mine.toml"))


def test_a_profile_whose_shares_are_not_in_order_is_refused(tmp_path: Path) -> None:
    text = (PROFILES_FOLDER / "v100.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("value = 0.45", "value = 0.6", 1))
    with pytest.raises(UsageError, match="low, mid and high: must be in this order"):
        load_profile(str(tmp_path / "mine.toml"))


def test_an_unknown_profile_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(
        UsageError, match="--device-profile tpu: must be one of a100, h100, l4, t4, v100 or a readable .toml file"
    ):
        load_profile("tpu")
