"""`hakuna verify`, and the schemas of the files that it checks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from docs.schemas import KINDS, PAGE, SCHEMAS, schema_of, with_tables
from inference.bundle.reader import Bundle
from inference.core.errors import CheckpointError, InputError
from inference.ensemble.estimator import Estimator
from inference.execution.job import Shard
from inference.outputs import run_report
from inference.outputs.verify import verify_run
from inference.process.lock import locked
from inference.process.progress import RunState
from inference.records.jsonl import checked_line, content_of_line
from inference.run.records_to_submission import records_to_submission
from runtime_tests.running import copy_of, hakuna_here, job_for, run_job
from runtime_tests.schemas import assert_valid, contents, validator

ALL_FILES = ["run.json", "status.json", "submission.csv", "failures.csv", "records.jsonl"]
ODD_VALUES: tuple[Any, ...] = (None, -1, "x", [], {}, [[]], 0.5, 10**20)


@pytest.fixture
def finished(quick_prediction: Path, tmp_path: Path) -> Path:
    return copy_of(quick_prediction, tmp_path / "finished")


@pytest.fixture
def out_of_time(finished: Path, quick_bundle: Bundle) -> Path:
    """Seven records, and an eighth that is torn; the submission has five of them."""
    lines = (finished / "records.jsonl").read_bytes().splitlines(keepends=True)
    (finished / "records.jsonl").write_bytes(b"".join(lines[:8]))
    run_report.write_out_of_time(finished, quick_bundle, 5, 5, RunState(n_all=12, stage="photos to records"), 60.0)
    assert_valid(finished)
    with (finished / "records.jsonl").open("ab") as file:
        file.write(lines[8][:100])
    return finished


@pytest.fixture(scope="module")
def shard(season: Path, quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shard")
    run_job(replace(job_for(season, quick_bundle), shard=Shard(1, 2)), out)
    return out


def edit_json(path: Path, *keys: str, value: Any) -> None:
    content = part = json.loads(path.read_text())
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    path.write_text(json.dumps(content))


def leave_unfinished(folder: Path, stage: str) -> None:
    (folder / "run.json").unlink()
    edit_json(folder / "status.json", "stage", value=stage)


def remove_files(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def edit_lines(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path = folder / "records.jsonl"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def edited(line: bytes, **values: Any) -> bytes:
    return checked_line((content_of_line(line) or {}) | values)


def test_a_finished_run_is_intact(quick_prediction: Path) -> None:
    pytest.importorskip("jsonschema", reason="needs jsonschema")
    assert_valid(quick_prediction)
    assert [name for name, _ in contents(quick_prediction)] == ["run", "status", "records-header", *["record"] * 12]
    done = hakuna_here("verify", quick_prediction)
    line = f"{quick_prediction}: intact, complete, 12 sequences, 12 records; checked {', '.join(ALL_FILES)}\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, line, "")
    done = hakuna_here("verify", quick_prediction, "--json")
    assert json.loads(done.stdout) == {"status": "complete", "sequences": 12, "records": 12, "files": ALL_FILES}


def test_a_run_out_of_time_a_shard_and_a_restacked_run_are_intact(
    out_of_time: Path, shard: Path, quick_prediction: Path, quick_bundle: Bundle, tmp_path: Path
) -> None:
    assert "intact, out of time, 12 sequences, 5 records;" in hakuna_here("verify", out_of_time).stdout
    assert "intact, shard complete, 6 sequences, 6 records;" in hakuna_here("verify", shard).stdout
    exported = hakuna_here("export", shard, "--format", "long-csv", "--out", tmp_path / "results.csv")
    assert (exported.returncode, exported.stderr.splitlines()) == (
        3,
        [
            f"hakuna: {shard}: must be a whole run, got a shard with 6 of 12 sequences",
            "hint: `hakuna merge` joins the shards of a run",
        ],
    )
    records_to_submission(quick_prediction, Estimator(quick_bundle), tmp_path / "restacked")
    assert_valid(tmp_path / "restacked")
    done = hakuna_here("verify", tmp_path / "restacked")
    assert done.returncode == 8
    assert "give the folder of the records with --records" in done.stderr
    done = hakuna_here("verify", tmp_path / "restacked", "--records", quick_prediction)
    assert "intact, complete, 12 sequences, 12 records; checked run.json, submission.csv," in done.stdout


DAMAGE: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "another submission": (lambda run: (run / "submission.csv").write_text(
        (run / "submission.csv").read_text().replace("\n", "\n\n", 1)), 3, "submission.csv: must be the file that run.json"),
    "no list of failures": (lambda run: (run / "failures.csv").unlink(), 3, "failures.csv: must be a readable CSV file"),
    "killed": (lambda run: leave_unfinished(run, "networks"), 3,
               "the run ended in stage 'networks' (killed, or its disk was full), with 12 of 12 sequences done"),
    "an old status": (lambda run: edit_json(run / "status.json", "stage", value="networks"), 8,
                      "status.json: must show the end of the run, as run.json does, got the stage 'networks'"),
    "interrupted": (lambda run: leave_unfinished(run, "interrupted"), 3,
                    "but the run was interrupted, with 12 of 12"),
    "nothing": (remove_files, 3, "run.json: must be there"),
    "no counts": (lambda run: edit_json(run / "run.json", "counts", value={}), 8, "complete.counts.sequences: must be given"),
    "other counts": (lambda run: edit_json(run / "run.json", "counts", "sequences", value=13), 8,
                     "counts.sequences must be that of the other files, 12, got 13"),
    "other checks": (lambda run: edit_json(run / "run.json", "counts", "sequences_to_check", value=99), 8,
                     "counts.sequences_to_check must be that of the other files"),
    "other labels": (lambda run: edit_json(run / "run.json", "counts", "sequences_by_label", value={"zebra": 12}), 8,
                     "counts.sequences_by_label must be that of the other files"),
    "other format": (lambda run: edit_json(run / "run.json", "format_version", value=1), 8, "format_version: must be 2"),
    "another status": (lambda run: edit_json(run / "status.json", "done", value="12"), 8, "status.json: must be as"),
    "a bit": (lambda run: edit_lines(run, lambda lines: [*lines[:3], lines[3].replace(b"A", b"B", 1), *lines[4:]]), 8,
              "line 4: must be a complete record, got: a wrong checksum"),
    "an hour": (lambda run: edit_lines(run, lambda lines: [*lines[:3], edited(lines[3], hour=24), *lines[4:]]), 8,
                "line 4: must be a complete record, got: hour: must be less than or equal to 23"),
    "a shape": (lambda run: edit_lines(run, lambda lines: [*lines[:3], edited(lines[3], n_frames=77), *lines[4:]]), 8,
                "line 4: must be a complete record, got: cannot reshape"),
    "exchanged": (lambda run: edit_lines(run, lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]]), 8,
                  "must have one record per sequence, in the order of the submission, got others"),
    "the last one": (lambda run: edit_lines(run, lambda lines: lines[:-1]), 8, "must have 12 complete records, got 11"),
    "one more": (lambda run: edit_lines(run, lambda lines: [*lines, lines[-1]]), 8, "must have 12 records, got more"),
    "a tail": (lambda run: edit_lines(run, lambda lines: [*lines, b"x"]), 8, "line 14: must be a complete record"),
    "header": (lambda run: edit_lines(run, lambda lines: [edited(lines[0], n_sequences=11), *lines[1:]]), 8, "must have 11 records"),
    "type": (lambda run: edit_lines(run, lambda lines: [edited(lines[0], n_sequences="12"), *lines[1:]]), 8, "line 1: must be the header"),
    "another run": (lambda run: edit_lines(run, lambda lines: [edited(lines[0], fingerprint={}), *lines[1:]]), 8, "got others"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(name: str, finished: Path) -> None:
    damage, code, message = DAMAGE[name]
    damage(finished)
    done = hakuna_here("verify", finished)
    assert message in done.stderr
    assert (done.returncode, done.stdout) == (code, "")


def test_damage_of_a_shard_and_of_final_rows_is_found(shard: Path, out_of_time: Path, tmp_path: Path) -> None:
    cases: list[tuple[Callable[[list[bytes]], list[bytes]], str]] = [
        (lambda lines: lines[:-1], "must have 6 records, got 5"),
        (lambda lines: [*lines, lines[1]], "must have 6 records, got more"),
        (
            lambda lines: [edited(lines[0], first=6), *lines[1:]],
            "must be the records that run.json describes, got others",
        ),
    ]
    for number, (change, message) in enumerate(cases):
        edit_lines(folder := copy_of(shard, tmp_path / str(number)), change)
        with pytest.raises(CheckpointError, match=message):
            verify_run(folder)
    edit_lines(out_of_time, lambda lines: [*lines[:5], lines[5][:-2] + b"\n", *lines[6:]])
    with pytest.raises(CheckpointError, match="line 6: must be a complete record"):
        verify_run(out_of_time)


@pytest.mark.parametrize("name", ["submission.csv", "failures.csv", "records.jsonl"])
def test_any_byte_counts(name: str, finished: Path, random: np.random.Generator) -> None:
    whole = (finished / name).read_bytes()
    for place in random.integers(len(whole), size=20).tolist():
        (finished / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises((InputError, CheckpointError), match=name):
            verify_run(finished)


def test_a_run_that_is_being_written_is_in_use(finished: Path) -> None:
    with locked(finished):
        done = hakuna_here("verify", finished)
    assert done.returncode == 7
    assert "must not be in use, but another run writes to it" in done.stderr


def variants(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Without each of its fields at any depth, and with other values in it."""
    for key, value in content.items():
        yield {name: one for name, one in content.items() if name != key}
        yield from ({**content, key: odd} for odd in ODD_VALUES)
        if isinstance(value, dict):
            yield from ({**content, key: one} for one in variants(value))


@pytest.mark.parametrize("name", KINDS)
def test_what_a_schema_accepts_is_what_we_read(
    name: str, quick_prediction: Path, shard: Path, out_of_time: Path
) -> None:
    pytest.importorskip("jsonschema", reason="needs jsonschema")
    fields: TypeAdapter[Any] = KINDS[name]
    n_refused = 0
    for folder in (quick_prediction, shard, out_of_time) if name == "run" else (quick_prediction,):
        content = next(content for kind, content in contents(folder) if kind == name)
        for one in variants(content):
            try:
                fields.validate_json(json.dumps(one), strict=True)
                is_read = True
            except ValueError:
                is_read = False
            is_valid = validator(name).is_valid(one)
            assert is_read or not is_valid
            # What a header always has may be absent where it is read.
            assert is_read == is_valid or (name == "records-header" and one.keys() != content.keys())
            n_refused += not is_valid
    assert n_refused > 50


def test_schemas_and_tables_are_those_of_the_models() -> None:
    message = "must be made anew with `make commands`"
    assert {path.name for path in SCHEMAS.iterdir()} == {f"{name}.schema.json" for name in KINDS}
    for name in KINDS:
        assert json.loads((SCHEMAS / f"{name}.schema.json").read_text()) == schema_of(name), message
    page = PAGE.read_text()
    assert page == with_tables(page), message
    assert "| `counts.sequences_finished` | out of time |" in page
