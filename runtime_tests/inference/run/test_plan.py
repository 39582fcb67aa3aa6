"""What a run would meet and take."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference import api
from inference.bundle.reader import Bundle
from inference.cli.printing import plan_rows
from inference.core.errors import HakunaError, LockedError, TooManyFailuresError, UsageError
from inference.execution.job import Job, RunOptions
from inference.process.lock import locked
from inference.process.progress import RunState
from inference.run.plan import plan, reason_not_to_run
from runtime_tests.running import copy_of, hakuna, job_for, run


def dry_run(season: Path, bundle: Bundle, out: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """`hakuna plan`."""
    done = hakuna("plan", season, "--bundle", bundle.folder, "--out", out, "--json", *options)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def dry_run_here(job: Job, out: Path, options: RunOptions) -> tuple[int, dict[str, Any], str]:
    """The same in this process, counted from now."""
    try:
        found = plan(job, out, options, RunState())
    except HakunaError as error:
        return error.exit_code, {}, str(error)
    refused = reason_not_to_run(found, out, options)
    return (refused.exit_code, found, str(refused)) if refused else (0, found, "")


@pytest.fixture(scope="module")
def figures(season: Path, quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    before = sorted((path, path.stat().st_mtime_ns) for path in season.rglob("*"))
    out = tmp_path_factory.mktemp("dry") / "new" / "out"
    code, found, said = dry_run(season, quick_bundle, out, "--budget", "1h")
    assert code == 0, said
    assert not out.parent.exists(), "a dry run must touch nothing"
    assert sorted((path, path.stat().st_mtime_ns) for path in season.rglob("*")) == before
    return found


def test_it_counts_files_and_their_problems(figures: dict[str, Any], season: Path) -> None:
    photos = list(season.glob("S1/*/*/*.JPG"))
    assert figures["sequences"] == 12
    assert figures["photos"] == len(photos) + 1  # one is missing
    assert figures["photo_bytes"] == sum(path.stat().st_size for path in photos)
    assert figures["problems"] == {"missing": 1}
    assert figures["first_problems"] == ["S1/B01/B01_R1/S1_B01_R1_PICT00001.JPG (missing)"]
    assert figures["measured_photos"] == {"used": len(photos) - 1, "missing": 1, "not a JPEG or PNG": 1}


def test_the_table_has_units_and_only_what_is_known(figures: dict[str, Any]) -> None:
    rows = dict(
        plan_rows(figures | {"fits": None, "problems": {}, "disk_bytes_needed": 3 << 30, "budget_seconds": 3600.0})
    )
    assert (rows["disk needed"], rows["disk is enough"], rows["budget"]) == ("3.00 GiB", "yes", "1 h 0 min")
    assert (rows["problems"], rows["sequences"]) == ("none", "12")
    assert rows["time with no mirror images"].endswith(" s")
    assert rows["time per sequence"].endswith(" s")
    assert "fits" not in rows
    assert not {value for value in rows.values() if "None" in value}


def test_it_projects_the_time_of_every_effort(figures: dict[str, Any]) -> None:
    seconds = list(figures["projected_seconds"].values())
    assert list(figures["projected_seconds"]) == ["full", "no large tta", "no tta", "one size", "first network"]
    assert seconds == sorted(seconds, reverse=True)
    assert figures["startup_seconds"] < seconds[-1] <= seconds[0] < 600  # photos may be slower than tiny networks
    assert figures["fits"] is True


def test_it_knows_disk_and_memory(figures: dict[str, Any], season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    run(season, quick_bundle, tmp_path)
    used = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert used <= figures["disk_bytes_needed"] <= 3 * used
    assert figures["disk_is_enough"] is True
    assert figures["memory_bytes"] < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_budget_that_does_not_fit_is_exit_11(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    options = RunOptions(n_workers=2, budget=0.01)  # no machine can
    code, found, said = dry_run_here(job_for(season, quick_bundle), tmp_path / "out", options)
    assert code == 11
    assert found["fits"] is False
    assert "--budget 0.01 s: must be enough for every sequence at full effort" in said


def test_without_a_budget_it_says_how_long_and_not_whether(season: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    code, found, _ = dry_run_here(job_for(season, quick_bundle), tmp_path / "out", RunOptions(n_workers=2))
    assert (code, found["fits"], found["budget_seconds"]) == (0, None, None)


def test_it_ends_as_the_run_would(season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path) -> None:
    code, found, said = dry_run(season, quick_bundle, tmp_path / "out", "--max-failures", "0%")
    assert (code, found["problems"]) == (9, {"missing": 1})
    assert "photos: at most 0% may fail, 0 of" in said
    assert "the first: S1/B01/B01_R1/S1_B01_R1_PICT00001.JPG (missing)" in said
    job, options = job_for(season, quick_bundle), RunOptions(n_workers=2)
    code, found, said = dry_run_here(replace(job, flip_tta=False), quick_prediction, options)
    assert (code, found) == (8, {})
    assert "must belong to this run, but differs in flip TTA" in said
    code, found, said = dry_run_here(job, quick_prediction, options)
    assert (code, found["sequences_kept_from_earlier_run"]) == (0, 12), said
    (tmp_path / "file").touch()
    code, found, said = dry_run_here(job, tmp_path / "file" / "out", options)
    assert (code, found["output_is_writable"]) == (5, False)
    assert "out must be writable" in said


def test_it_refuses_a_folder_in_use_and_photos_that_are_none(
    season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    job, options = job_for(season, quick_bundle), RunOptions(n_workers=2)
    with locked(tmp_path / "used"), pytest.raises(LockedError, match="another run writes to it"):
        api.plan(season, quick_bundle.folder, tmp_path / "used")
    # One photo is missing, which the folder shows, and one is a text, which only reading shows.
    for n_allowed, expected in ((2, 0), (1, 9)):
        allowing = replace(options, max_failures=(n_allowed + 0.5) / job.n_photos)
        code, _, said = dry_run_here(job, tmp_path / "out", allowing)
        assert code == expected
    assert "got 2 that cannot be used" in said
    with pytest.raises(UsageError, match="--features: must not be given with --shard"):
        api.plan(season, quick_bundle.folder, tmp_path / "out", shard="1/2", features=tmp_path / "x.npz")
    # A finished run reads no photo and writes nothing.
    finished = {"sequences": 12, "sequences_kept_from_earlier_run": 12, "output_is_writable": False}
    assert reason_not_to_run(finished, tmp_path, options) is None
    gone = replace(job, photos=str(tmp_path / "gone"))
    assert dry_run_here(gone, copy_of(quick_prediction, tmp_path / "kept"), options)[0] == 0


def test_refusals_are_told_the_gravest_first() -> None:
    figures = {
        "output_is_writable": True,
        "disk_is_enough": False,
        "disk_bytes_needed": 7,
        "disk_bytes_free": 6,
        "problems": {"missing": 3},
        "measured_photos": {"used": 5, "missing": 1},
        "sequences": 5,
        "sequences_kept_from_earlier_run": 0,
        "first_problems": ["a.jpg (missing)"],
        "photos": 10,
        "fits": False,
        "projected_seconds": {"full": 9.0},
    }
    options = RunOptions(max_failures=0.2, budget=8.0)
    codes = []
    for recovered in ({}, {"disk_is_enough": True}, {"problems": {"missing": 2}}, {"fits": None}):
        figures |= recovered
        error = reason_not_to_run(figures, Path("out"), options)
        codes.append(error.exit_code if error else 0)
    assert codes == [5, 9, 11, 0]
    none = figures | {"problems": {"missing": 4, "empty file": 6}}
    assert isinstance(reason_not_to_run(none, Path("out"), RunOptions()), TooManyFailuresError)
    assert reason_not_to_run(none, Path("out"), RunOptions(), is_shard=True) is None
    assert reason_not_to_run(none | {"problems": {}, "photos": 0}, Path("out"), RunOptions()) is None
