"""Schedules: the author's numbers, the order of sizes and phases, what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from inference.core.errors import UsageError
from inference.core.sequences import ImageSize
from models.spec.schedule import cost_of, epochs_of, load_schedule
from runtime_tests.models.seasons import SCHEDULE


def test_the_first_network_is_trained_as_the_author_did() -> None:
    """The author's schedule v1; see docs/explanation/published.md."""
    epochs = epochs_of(load_schedule("v1"))
    assert len(epochs) == (3 + 20) + (3 + 15) + (3 + 15)
    assert [epoch.trainable_layers for epoch in epochs[:4]] == [1, 100, 200, None]
    assert [epoch.learning_rate for epoch in epochs[:3]] == [2e-5] * 3
    full = [epoch for epoch in epochs if epoch.trainable_layers is None]
    starts = {ImageSize(240, 320): 3e-4, ImageSize(360, 480): 3e-5, ImageSize(384, 512): 1e-5}
    for size, start in starts.items():
        rates = [epoch.learning_rate for epoch in full if epoch.size == size]
        assert rates == pytest.approx([start * math.exp(-0.15 * k) for k in range(20 if start == 3e-4 else 15)])
    assert {epoch.size: epoch.batch_size for epoch in epochs} == dict(zip(starts, (32, 16, 16), strict=True))
    assert [epoch.number for epoch in epochs if epoch.ends_size] == [22, 40, 58]


@pytest.mark.parametrize(
    ("name", "sizes", "starts"),
    [
        ("v2", [(224, 224), (299, 299), (360, 480), (384, 512)], None),
        ("background", [(240, 320), (360, 480), (384, 512)], [1e-4, 3e-5, 1e-5]),
        ("two_branch", [(360, 480)], [2e-4]),
    ],
)
def test_the_other_schedules_are_the_authors_where_they_are_known(
    name: str, sizes: list[tuple[int, int]], starts: list[float] | None
) -> None:
    schedule = load_schedule(name)
    assert [(stage.height, stage.width) for stage in schedule.sizes] == sizes
    if starts:
        assert [stage.learning_rate for stage in schedule.sizes] == starts


def test_the_two_branch_schedule_keeps_all_but_the_last_layers_of_the_branches() -> None:
    schedule = load_schedule("two_branch")
    assert schedule.branch_layers == 100
    epochs = epochs_of(schedule)
    assert {epoch.phase for epoch in epochs} == {0}
    assert {epoch.batch_size for epoch in epochs} == {8}
    assert epochs[3].learning_rate == pytest.approx(2e-4 * math.exp(-0.3))


def test_phases_change_with_the_trainable_layers_and_with_the_size(tmp_path: Path) -> None:
    path = tmp_path / "schedule.toml"
    path.write_text(SCHEDULE)
    epochs = epochs_of(load_schedule(str(path)))
    assert [epoch.phase for epoch in epochs] == [0, 1, 1, 2, 3]
    assert [epoch.ends_size for epoch in epochs] == [False, False, True, False, True]


def test_sizes_that_follow_each_other_unchanged_are_phases_of_their_own(tmp_path: Path) -> None:
    text = SCHEDULE.replace("height = 60", "height = 48").replace("width = 80", "width = 64")
    path = tmp_path / "schedule.toml"
    path.write_text(text.replace("warm_up", "# warm_up"))
    assert [epoch.phase for epoch in epochs_of(load_schedule(str(path)))] == [0, 0, 1]


def test_the_cost_of_an_epoch_is_its_passes_times_its_pixels() -> None:
    epoch = epochs_of(load_schedule("two_branch"))[0]
    assert cost_of(epoch, 10, 4) == (3 * 10 + 4) * 360 * 480


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 2", "epochs = 0", "size 1, epochs"),
        ("epochs = 2", "epochs = 2147483648", "size 1, epochs"),
        ("height = 48", "height = 2147483648", "size 1, height"),
        ("batch_size = 4", "batch_size = 2147483648", "size 1, batch_size"),
        ("trainable_layers = [1]", "trainable_layers = [9223372036854775808]", "warm_up.trainable_layers"),
        ("decay = 0.15", "decay = -1", "decay"),
        ("learning_rate = 3e-3", "learning_rate = inf", "size 1, learning_rate"),
        ("trainable_layers = [1]", "trainable_layers = []", "warm_up.trainable_layers"),
        ("format_version = 1", "format_version = 1\nsurprise = 1", "surprise"),
        ("format_version = 1", "format_version =", "must be TOML"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_with_its_place(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert old in SCHEDULE
    path = tmp_path / "schedule.toml"
    path.write_text(SCHEDULE.replace(old, new))
    with pytest.raises(UsageError, match=message):
        load_schedule(str(path))


def test_an_unknown_schedule_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(
        UsageError, match="must be one of background, two_branch, v1, v2 or a readable .toml file, got: No such"
    ):
        load_schedule("v3")
