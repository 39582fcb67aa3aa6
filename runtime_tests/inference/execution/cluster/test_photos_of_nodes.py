"""Photos of a node that differ from those of the driver: a local run would not have their records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inference.bundle.reader import Bundle
from inference.core.errors import WorkersLostError
from inference.core.sequences import FailureReason, FrameFailure
from inference.execution.cluster import cluster_executor, members
from inference.execution.cluster.block_worker import BlockWorker, WorkerSpec
from inference.images.reading import read_image_file
from inference.storage.interface import PhotoStorage
from runtime_tests.in_process_pool import OPTIONS, InProcessPool, run_on
from runtime_tests.long_season import contents
from runtime_tests.running import job_for

pytestmark = pytest.mark.usefixtures("quick")


def leave(_photo: Path, _copy: Path) -> None:
    """No copy."""


COPIES: dict[str, Callable[[Path, Path], object]] = {
    "missing": leave,
    "cannot be read": lambda _, copy: copy.symlink_to(copy),
    "not a regular file": lambda _, copy: copy.mkdir(),
    "empty file": lambda _, copy: copy.touch(),
    "not a JPEG or PNG": lambda photo, copy: copy.write_bytes(bytes(photo.stat().st_size)),
    "cut short": lambda photo, copy: copy.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2]),
}
"""How a node sees all photos: the problem of each, and what makes its copy."""


def copied(season: Path, folder: Path, make: Callable[[Path, Path], object]) -> Path:
    """A folder with such copies of the photos of a season."""
    for photo in [path for path in season.rglob("*") if path.suffix.lower() in (".jpg", ".png")]:
        copy = folder / photo.relative_to(season)
        copy.parent.mkdir(parents=True, exist_ok=True)
        make(photo, copy)
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("problem", COPIES)
def test_photos_that_only_one_node_cannot_use_are_read_by_another(
    problem: str, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    pool = InProcessPool(blind={"a": copied(season, tmp_path / "copies", COPIES[problem])})
    report = run_on(pool, season, quick_bundle, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(quick_prediction)
    assert report["cluster"]["sequences_by_node"] == {"b": report["counts"]["sequences"]}
    assert set(report["cluster"]["left_out"]) <= {"a"}


@pytest.mark.parametrize(("problem", "seed"), [("cannot be read", 0), ("cut short", 1), ("cut short", 2)])
def test_two_nodes_do_not_confirm_each_other(
    problem: str, seed: int, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    """They answer faster than the third one, whose photos are whole."""
    copies = copied(season, tmp_path / "copies", COPIES[problem])
    pool = InProcessPool(
        nodes={name: lambda facts: facts for name in "abc"}, blind={"a": copies, "b": copies}, seed=seed
    )
    report = run_on(pool, season, quick_bundle, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(quick_prediction)
    assert report["cluster"]["sequences_by_node"] == {"c": report["counts"]["sequences"]}


@pytest.mark.parametrize("problem", COPIES)
def test_a_node_without_the_same_photos_is_left_out_before_it_computes(
    problem: str, season: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    spec = WorkerSpec.of(job_for(season, quick_bundle), OPTIONS, lambda: None)
    assert spec.witnesses
    assert BlockWorker(spec, 1).facts().odd_photo == ""
    copies = copied(season, tmp_path, COPIES[problem])
    facts = BlockWorker(replace(spec, job=replace(spec.job, photos=str(copies))), 1).facts()
    has_same_bytes = problem == "not a JPEG or PNG"
    assert (facts.odd_photo in spec.witnesses) is not has_same_bytes


def test_photos_that_no_node_sees_are_not_taken_for_missing(
    season: Path, quick_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The only node is left out once the same block lacks its photos again."""
    monkeypatch.setattr(members, "START_SECONDS", 2.0)
    monkeypatch.setattr(cluster_executor, "MAX_ODD", 30)
    (tmp_path / "empty").mkdir()
    pool = InProcessPool(nodes={"a": lambda facts: facts}, blind={"a": tmp_path / "empty"})
    with pytest.raises(WorkersLostError, match="a: does not see photo"):
        run_on(pool, season, quick_bundle, tmp_path / "out")
    assert pool.n_run["a", "compute"] < 10
    assert (tmp_path / "out" / "records.jsonl").read_bytes().count(b"\n") == 1


def test_a_photo_that_has_just_arrived_is_read_once_more(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    """It is missing when the only worker looks, but not when the driver looks after that."""
    (tmp_path / "empty").mkdir()
    blind = {"a": tmp_path / "empty"}

    def arrives(_node: str, method: str, number: int) -> None:
        if method == "compute" and number > 1:
            blind.clear()

    pool = InProcessPool(nodes={"a": lambda facts: facts}, blind=blind, fails=arrives)
    report = run_on(pool, season, quick_bundle, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(quick_prediction)
    assert (report["cluster"]["left_out"], report["cluster"]["asked_twice"]) == ({}, 1)


def test_a_node_is_left_out_after_three_blocks_in_a_row(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    """They need not be the same block."""
    pool = InProcessPool(blind={"a": copied(season, tmp_path / "copies", leave)}, seed=1)
    report = run_on(pool, season, quick_bundle, tmp_path / "out", replace(OPTIONS, budget=1000.0))
    [(node, reason)] = report["cluster"]["left_out"].items()
    assert node == "a"
    assert reason.startswith("does not see photo ")
    assert reason.endswith(" (missing) as the driver does")
    assert pool.n_run["a", "compute"] <= cluster_executor.MAX_ODD


def test_a_photo_that_the_driver_waits_for_too_long_confirms_nothing_but_delays(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    delays = iter([True] * 3)

    def slow(storage: PhotoStorage, name: str) -> bytes | FrameFailure:
        return FrameFailure(name, FailureReason.TIMED_OUT) if next(delays, False) else read_image_file(storage, name)

    monkeypatch.setattr("inference.execution.cluster.cluster_executor.read_image_file", slow)
    pool = InProcessPool(blind={"a": copied(season, tmp_path / "copies", leave)})
    run_on(pool, season, quick_bundle, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(quick_prediction)
