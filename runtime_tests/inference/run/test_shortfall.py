"""What a run reports whose budget was too short."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from benchmark.rehearsal.health import why_unhealthy
from benchmark.report.content import Sources, content_of
from benchmark.report.page import render
from inference import api
from inference.bundle.manifest import DEMO_WARNING
from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.errors import DegradedError
from inference.core.labels import CLASS_PRIORS, LABELS
from inference.ensemble.estimator import Estimator, priors_row
from inference.execution.deadline import DeadlinePolicy
from inference.execution.job import RunOptions, Shard
from inference.outputs.finished_run import read_finished_run
from inference.outputs.provisional import Provisional
from inference.process.progress import RunState
from inference.process.stopwatch import Stopwatch
from inference.records.jsonl import read_header, read_records
from inference.records.schema import Record
from inference.run import pipeline
from inference.run.context import RunContext
from inference.run.resume import records_header
from runtime_tests.running import hakuna_here, ignore_progress, job_for, run_job
from runtime_tests.schemas import assert_valid
from runtime_tests.scripted_executor import FACTS, ScriptedExecutor
from runtime_tests.stand_in_engine import StandInEngine
from runtime_tests.tables import submission_rows

BUDGET = 3600.0
TOO_SHORT, PRIORS_ONLY = (
    "the time budget was too short for everything",
    "have only the usual share of each class (priors)",
)
NOTHING_OF_A_SHARD = f"{TOO_SHORT}: of 6 sequences 0 got the full ensemble, 0 only a part of it, 6 {PRIORS_ONLY}"
PREDICTED_NOTHING = f"{TOO_SHORT}: of 12 sequences 0 got the full ensemble, 0 only a part of it, 12 {PRIORS_ONLY}"


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> list[Effort]:
    """Efforts of the batches to come; the last one stays."""
    efforts = [Effort.FULL]
    monkeypatch.setattr(DeadlinePolicy, "effort_for", lambda *_: efforts.pop(0) if len(efforts) > 1 else efforts[0])
    return efforts


def records_of(out: Path) -> list[Record]:
    path = out / "records.jsonl"
    return list(read_records(path, read_header(path)))


def test_a_run_that_predicted_nothing_ends_with_6(
    season: Path, quick_bundle: Bundle, forced: list[Effort], tmp_path: Path
) -> None:
    forced[:] = [Effort.PRIORS]
    with pytest.raises(DegradedError, match=re.escape(PREDICTED_NOTHING)) as error:
        api.predict(season, quick_bundle.folder, tmp_path / "out", budget=BUDGET)
    assert error.value.exit_code == 6
    assert "has failed" in (why_unhealthy(tmp_path / "out") or "")
    assert error.value.hint.endswith("with a larger --budget predicts the sequences that have only the priors")
    assert len(submission_rows(tmp_path / "out" / "submission.csv")) == 12
    assert json.loads((tmp_path / "out" / "run.json").read_text())["counts"]["sequences_with_priors"] == 12
    parts = [tmp_path / "1", tmp_path / "2"]
    for part in parts:
        with pytest.raises(DegradedError, match=re.escape(NOTHING_OF_A_SHARD)):
            api.predict(season, quick_bundle.folder, part, budget=BUDGET, shard=f"{part.name}/2")
    with pytest.raises(DegradedError, match=re.escape(PREDICTED_NOTHING)):
        api.merge(parts, quick_bundle.folder, tmp_path / "merged")
    with pytest.raises(DegradedError, match=re.escape(PREDICTED_NOTHING)):
        api.restack(tmp_path / "merged", quick_bundle.folder, tmp_path / "again")


def test_a_run_that_predicted_a_part_states_so_where_people_look(
    season: Path,
    quick_bundle: Bundle,
    forced: list[Effort],
    tmp_path: Path,
) -> None:
    forced[:] = [Effort.FULL, Effort.FULL, Effort.FULL, Effort.PRIORS]
    with capture_logs() as logs:
        api.predict(season, quick_bundle.folder, tmp_path, budget=BUDGET, batch_size=4)
    n_predicted = sum(record.n_frames > 0 for record in records_of(tmp_path))
    assert 0 < n_predicted <= 4
    sentence = (
        f"of 12 sequences {n_predicted} got the full ensemble, 0 only a part of it, {12 - n_predicted} {PRIORS_ONLY}"
    )
    assert sentence in logs[-1]["event"]
    assert json.loads((tmp_path / "run.json").read_text())["counts"]["sequences_with_priors"] == 12 - n_predicted
    page = render(content_of(read_finished_run(tmp_path), Sources()))
    assert sentence in page[page.index("<header>") : page.index("<h1>")]


def test_shards_and_their_merge_report_that_they_are_degraded(
    season: Path, quick_bundle: Bundle, forced: list[Effort], tmp_path: Path
) -> None:
    forced[:] = [Effort.NO_TTA]
    parts = [tmp_path / "1", tmp_path / "2"]
    for part in parts:
        job = replace(job_for(season, quick_bundle), shard=Shard(int(part.name), 2))
        options = RunOptions(budget=BUDGET, strict=part.name == "2")
        with pytest.raises(DegradedError) if options.strict else nullcontext():
            run_job(job, part, options, executor_for=StandInEngine(()))
        report = json.loads((part / "run.json").read_text())
        assert (report["counts"]["sequences_by_effort"], report["budget"]["seconds"]) == ({"no tta": 6}, BUDGET)
        assert report["counts"]["sequences_in_lower_precision_for_lack_of_time"] == 0
        assert_valid(part)
    api.merge(parts, quick_bundle.folder, tmp_path / "merged")
    assert why_unhealthy(tmp_path / "merged") is None
    assert json.loads((tmp_path / "merged" / "status.json").read_text())["degraded_sequences"] == 12
    with pytest.raises(DegradedError):
        api.merge(parts, quick_bundle.folder, tmp_path / "merged", fail_if_degraded=True)
    assert "has failed" in (why_unhealthy(tmp_path / "merged") or "")


def test_what_got_less_is_counted_and_only_a_restart_computes_it_anew(
    season: Path, quick_bundle: Bundle, forced: list[Effort], tmp_path: Path
) -> None:
    forced[:] = [Effort.FULL, Effort.FIRST_NETWORK]
    words = ("predict", season, "--bundle", quick_bundle.folder, "--out", tmp_path, "--log-format", "console")
    budget = ("--budget", "1000h")  # in this process it counts from the beginning of the tests
    done = hakuna_here(*words, *budget)
    n_full = sum(one.effort is Effort.FULL for one in records_of(tmp_path))
    assert f"{n_full} got the full ensemble, {12 - n_full} only a part of it, 0 {PRIORS_ONLY}" in done.stderr
    *_, hint, following = done.stderr.splitlines()
    assert hint == "hint: the same `hakuna predict` with --restart and a larger --budget computes every sequence anew"
    assert following.startswith("next: hakuna report")
    forced[:] = [Effort.PRIORS]
    nothing = hakuna_here(*words, *budget, "--restart")
    assert nothing.returncode == 6
    assert [line.partition(":")[0] for line in nothing.stderr.splitlines()[-3:]] == ["next", "hakuna", "hint"]
    forced[:] = [Effort.FULL]
    done = hakuna_here(*words, "--restart")
    assert (done.returncode, "budget" in done.stderr) == (0, False)


@pytest.mark.parametrize(("n_records", "strict", "code"), [(0, False, 6), (1, False, 0), (1, True, 6)])
def test_the_last_moment_of_a_budget_ends_with_what_was_predicted(
    n_records: int, strict: bool, code: int, season: Path, quick_bundle: Bundle, quick_prediction: Path, tmp_path: Path
) -> None:
    """Sequences none of whose photos could be used are finished, and have the priors all the same."""
    job, options = job_for(season, quick_bundle), RunOptions(budget=BUDGET, strict=strict)
    records = [replace(one, frame_outputs=one.frame_outputs[:0]) for one in records_of(quick_prediction)[:3]]
    records += [one for one in records_of(quick_prediction)[3:] if one.n_frames][:n_records]
    provisional = Provisional(
        tmp_path, [one.seq_id for one in job.sequences], job.plan.labels, priors_row(CLASS_PRIORS),
        lambda some: np.full((len(some), len(LABELS)), 0.5, np.float32),
    )  # fmt: skip
    provisional.add(records)
    header = records_header(job, FACTS, None)
    shown: list[dict[str, Any]] = []
    state = RunState("photos to records", n_done=len(records), n_all=12, on_deadline=shown.append)
    context = RunContext(
        job, options, tmp_path, header, ScriptedExecutor(), Estimator(quick_bundle), state, Stopwatch(), ignore_progress,
        provisional,
    )  # fmt: skip
    with capture_logs() as logs:
        ended_with, event = pipeline._end_now(context, BUDGET)
    assert ended_with == code
    assert read_finished_run(tmp_path).run["files"].keys() == {"submission.csv", "failures.csv"}  # records or not
    counts = json.loads((tmp_path / "run.json").read_text())["counts"]
    assert (counts["sequences_finished"], counts["sequences_with_priors"]) == (3 + n_records, 12 - n_records)
    assert f"of 12 sequences {n_records} are predicted, {12 - n_records} {PRIORS_ONLY}" in logs[-1]["event"]
    assert logs[-2]["event"] == DEMO_WARNING
    assert [report["counts"] for report in shown] == [counts]
    assert (event["exit_code"], event["counts"]) == (code, counts)
