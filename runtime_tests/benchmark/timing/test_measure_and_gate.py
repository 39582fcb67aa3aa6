"""Timing between reference kernels, and what the gate makes of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.cli.bench import stages
from benchmark.cli.bench.request import HarnessRequest
from benchmark.timing import measure, reference_kernels, regression_gate
from benchmark.timing.measure import Spread, Stage, interleave, spread
from benchmark.timing.reference_kernels import Kernel
from benchmark.timing.report import BenchReport, read_report
from inference.core.errors import DoesNotFitError, UsageError
from runtime_tests.running import hakuna_here

LEAST_WORK_SECONDS = 5e-4
QUIET = {"decode": 4.0, "views": 2.0, "networks": 10.0}
"""Ratios to the reference kernel, made up."""


def report(
    ratios: dict[str, float],
    kernel: str = Kernel.MATRIX,
    *,
    load: float = 0.9,
    cpu: dict[str, float] | None = None,
    n_units: int = 1,
) -> BenchReport:
    """A report whose stages have these ratios; `load` is what their kernels got of the cores."""
    one = {"median": 1.0, "low": 1.0, "high": 1.0, "n": 5}
    return BenchReport.model_validate(
        {
            "schema_version": 1,
            "date": "2026-11-25",
            "command": "hakuna bench",
            "machine": {"cpu": "made up", "cores": 2},
            "bundle": {"name": "third_place", "id": "0", "demo": True, "frames": 3},
            "settings": {
                "repeats": 5,
                "workers": 2,
                "batch_size": 8,
                "decoder": "fast",
                "engine": "openvino",
                "device": "CPU",
            },
            "startup_seconds": one,
            "kernels": [{"name": kernel, "seconds": one}],
            "stages": [
                {
                    "name": name,
                    "group": "views",
                    "unit": "sequences",
                    "n_units": n_units,
                    "seconds": one,
                    "per_second": 1.0,
                    "load": 0.5,
                    "kernel": kernel,
                    "ratio": {"median": 1.1 * ratio, "low": ratio, "high": 1.2 * ratio, "n": 5},
                    "cpu_ratio": {"median": 1.0, "low": (cpu or ratios)[name], "high": 9.0, "n": 5},
                    "kernel_load": load,
                }
                for name, ratio in ratios.items()
            ],
        }
    )


def nobody(names: Collection[str]) -> BenchReport:
    raise AssertionError(f"nothing has to be timed again, got {names}")


def test_a_spread_is_median_and_quartiles() -> None:
    assert spread([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(median=3.0, low=2.0, high=4.0, n=5)
    with pytest.raises(ValueError, match="at least one value, got none"):
        spread([])


def processor_seconds(work: Callable[[], object]) -> float:
    """Of all threads of this process, the least of three calls: other processes do not matter."""

    def once() -> float:
        begun = time.process_time()
        work()
        return time.process_time() - begun

    return min(once() for _ in range(3))


def test_every_kernel_works() -> None:
    kernels = reference_kernels.reference_kernels()
    assert list(kernels) == list(Kernel)
    seconds = {kernel: processor_seconds(work) for kernel, work in kernels.items()}
    assert min(seconds.values()) > LEAST_WORK_SECONDS, seconds
    assert seconds[Kernel.JPEG_ALL] > 1.5 * seconds[Kernel.JPEG], "two photos a core"


def test_stages_take_turns_and_warm_up_is_not_counted() -> None:
    order: list[str] = []
    array = np.arange(3_000_000)
    kernels = dict.fromkeys(Kernel, lambda: np.sort(array[:100_000]))

    def work(name: str) -> None:
        order.append(name)
        np.sort(array[::-1])

    stages = [Stage(name, "views", "sequences", 1, Kernel.COPY, partial(work, name)) for name in ("first", "second")]
    times, seconds = interleave(stages, kernels, 3)
    turns = [name for k, name in enumerate(order) if k == 0 or order[k - 1] != name]
    assert turns == ["first", "second"] * 4
    assert all(len(one.seconds) == len(one.ratios) == len(one.loads) == 3 for one in times.values())
    assert len(seconds[Kernel.COPY]) == 2 * 2 * 3


def test_the_same_figures_pass() -> None:
    compared = regression_gate.compare(report(QUIET), report(QUIET), 1.3, nobody)
    regression_gate.check(compared, 1.3)
    assert [one.times_the_baseline for one in compared] == [1.0, 1.0, 1.0]


def test_a_slower_stage_fails_with_its_name_ratio_and_bound() -> None:
    slow = report({**QUIET, "views": 3.0})
    compared = regression_gate.compare(slow, report(QUIET), 1.3, lambda _: slow)
    with pytest.raises(
        DoesNotFitError, match=r"--max-regression 1.3: .* got views: 1.50 times \(2 -> 3 of 'matrix"
    ) as caught:
        regression_gate.check(compared, 1.3)
    assert caught.value.exit_code == 11
    assert "decode" not in str(caught.value)


def test_a_stage_that_seems_slower_is_timed_again_before_that_is_believed() -> None:
    asked: list[Collection[str]] = []

    def time_again(names: Collection[str]) -> BenchReport:
        asked.append(names)
        return report({"views": 2.1})

    compared = regression_gate.compare(report({**QUIET, "views": 3.0}), report(QUIET), 1.3, time_again)
    regression_gate.check(compared, 1.3)
    assert asked == [["views"]]


def test_a_baseline_of_another_kind_of_processor_is_refused_before_anything_is_timed(tmp_path: Path) -> None:
    here = report(QUIET)
    regression_gate.check_processor(here.machine, here)
    message = (
        "--compare: the baseline must come from 2 cores of made up with amx_bf16, as this machine, "
        "got 2 cores of made up with instructions unknown"
    )
    with pytest.raises(UsageError, match=message):
        regression_gate.check_processor({"cpu": "made up", "cores": 2, "instructions": "amx_bf16"}, here)
    (tmp_path / "elsewhere.json").write_text(here.model_dump_json())
    done = CliRunner().invoke(app, ["bench", "stages", "--compare", str(tmp_path / "elsewhere.json")])
    assert isinstance(done.exception, UsageError)
    assert "got 2 cores of made up with instructions unknown" in str(done.exception)


def test_convolutions_are_timed_without_openvino_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_kernels, "find_spec", lambda _: None)
    answer = reference_kernels._convolutions(np.random.default_rng(1))()
    monkeypatch.undo()
    expected = reference_kernels._convolutions(np.random.default_rng(1))()
    assert isinstance(answer, np.ndarray)
    np.testing.assert_allclose(answer.transpose(0, 3, 1, 2), expected[0], rtol=1e-4, atol=1e-5)  # type: ignore[index]


def test_reports_without_a_common_stage_are_refused() -> None:
    for other in (report({"something": 1.0}), report(QUIET, kernel=Kernel.COPY), report(QUIET, n_units=2)):
        with pytest.raises(UsageError, match="--compare: every stage of the baseline must be timed again, got none"):
            regression_gate.compare(report(QUIET), other, 1.3, nobody)


def test_a_baseline_whose_stages_are_not_all_timed_is_refused() -> None:
    fewer = report({"decode": 4.0, "views": 2.0})
    with pytest.raises(
        UsageError, match="every stage of the baseline must be timed again, got none like networks; the"
    ):
        regression_gate.compare(fewer, report(QUIET), 1.3, nobody)
    compared = regression_gate.compare(report(QUIET), fewer, 1.3, nobody)
    assert {one.name for one in compared} == {"decode", "views"}
    assert regression_gate.notes_on(report(QUIET), fewer) == ("not in the baseline, so not compared: networks",)
    assert regression_gate.notes_on(fewer, fewer) == ()
    drawn_anew = fewer.model_copy(update={"bundle": fewer.bundle.model_copy(update={"id": "1"})})
    assert regression_gate.notes_on(drawn_anew, fewer) == ()


def test_on_a_busy_machine_only_work_that_grew_counts() -> None:
    """Twice the time on the clock, while others took half of the cores."""
    slow_clock = {**QUIET, "views": 4.0}
    waits = report(slow_clock, load=0.5, cpu=QUIET)
    regression_gate.check(regression_gate.compare(waits, report(QUIET), 1.3, nobody), 1.3)
    works = report(slow_clock, load=0.5, cpu=slow_clock)
    with pytest.raises(DoesNotFitError, match="views: 2.00 times"):
        regression_gate.check(regression_gate.compare(works, report(QUIET), 1.3, lambda _: works), 1.3)
    sleeps = report(slow_clock, load=0.9, cpu=QUIET)
    with pytest.raises(DoesNotFitError, match="views: 2.00 times"):
        regression_gate.check(regression_gate.compare(sleeps, report(QUIET), 1.3, lambda _: sleeps), 1.3)


@pytest.mark.e2e
def test_a_stage_slowed_on_purpose_is_found_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is this thread's processor time, so that other processes do not matter."""
    clock = SimpleNamespace(perf_counter=time.thread_time, process_time=time.thread_time)
    monkeypatch.setattr(measure, "time", clock)
    array = np.random.default_rng(1).random(400_000)
    kernels = reference_kernels.reference_kernels()
    stage = Stage("sorting", "views", "sequences", 1, Kernel.JPEG, lambda: np.sort(array))

    def time_it(one: Stage) -> BenchReport:
        times, _ = interleave([one], kernels, 7)
        return report({one.name: spread(times[one.name].ratios).low})

    baseline, slow = time_it(stage), replace(stage, work=lambda: [stage.work() for _ in range(3)])
    regression_gate.check(regression_gate.compare(time_it(stage), baseline, 1.5, lambda _: time_it(stage)), 1.5)
    with pytest.raises(DoesNotFitError, match="sorting: "):
        regression_gate.check(regression_gate.compare(time_it(slow), baseline, 1.5, lambda _: time_it(slow)), 1.5)


def test_a_report_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(report(QUIET).model_dump_json(exclude_none=True))
    assert read_report(tmp_path / "report.json") == report(QUIET)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must be a readable report, got: No such file"),
        ("{", "must be a report of `hakuna bench stages` with schema 1"),
        ('{"schema_version": 2}', "schema_version"),
    ],
)
def test_what_is_no_report_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    if content:
        path.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_report(path)


def test_the_best_of_three_further_looks_counts() -> None:
    looks = [3.2, 2.8, 2.9]
    left = [report({"views": look}) for look in looks]
    compared = regression_gate.compare(report({**QUIET, "views": 3.0}), report(QUIET), 1.3, lambda _: left.pop(0))
    assert left == []
    with pytest.raises(DoesNotFitError, match=r"got views: 1.40 times \(2 -> 2.8 of"):
        regression_gate.check(compared, 1.3)


def test_the_bound_itself_is_allowed_and_what_grew_most_comes_first() -> None:
    now = report({"decode": 4.4, "views": 2.0 * 1.3, "networks": 10.0})
    compared = regression_gate.compare(now, report(QUIET), 1.3, nobody)
    regression_gate.check(compared, 1.3)
    assert [one.name for one in compared] == ["views", "decode", "networks"]


@pytest.mark.parametrize(("load", "is_disturbed"), [(0.82, False), (0.80, True)])
def test_a_machine_is_busy_where_the_kernel_gets_less_than_nine_tenths(load: float, is_disturbed: bool) -> None:
    """Of the 0.9 of the baseline: below 0.81 a stage that only waits is not slower."""
    waits = report({**QUIET, "views": 4.0}, load=load, cpu=QUIET)
    slower = [one.name for one in regression_gate.compare_reports(waits, report(QUIET)) if one.times_the_baseline > 1]
    assert slower == ([] if is_disturbed else ["views"])


def test_a_stage_is_compared_with_the_kernel_before_and_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only the works move; the kernel keeps 0.7 of the cores busy, the stage a quarter."""
    now = cpu = 0.0
    n_cores = len(os.sched_getaffinity(0))

    def spend(seconds: float, load: float) -> None:
        nonlocal now, cpu
        now, cpu = now + seconds, cpu + seconds * load * n_cores

    clock = SimpleNamespace(perf_counter=lambda: now, process_time=lambda: cpu)
    monkeypatch.setattr(measure, "time", clock)
    kernel_seconds = iter([0.25, 0.25, 0.1, 0.3, 0.2, 0.4])  # two for warming up, two for each of two rounds
    stage_seconds = iter([5.0] + 9 * [0.006])  # 0.006 s are too short for the clock: four in a row
    stage = Stage("views", "views", "sequences", 1, Kernel.COPY, lambda: spend(next(stage_seconds), 0.25))
    times, kernels = interleave([stage], {Kernel.COPY: lambda: spend(next(kernel_seconds), 0.7)}, 2)
    assert next(stage_seconds, None) is None
    assert kernels == {Kernel.COPY: pytest.approx([0.1, 0.3, 0.2, 0.4])}
    assert vars(times["views"]) == {
        "seconds": pytest.approx([0.006, 0.006]),
        "ratios": pytest.approx([0.006 / 0.2, 0.006 / 0.3]),
        "cpu_ratios": pytest.approx([0.006 * 0.25 / (0.2 * 0.7), 0.006 * 0.25 / (0.3 * 0.7)]),
        "loads": pytest.approx([0.25, 0.25]),
        "kernel_loads": pytest.approx([0.7, 0.7]),
    }


@pytest.mark.parametrize(("again", "verdict"), [(2.0, "not slower"), (3.0, "slower")])
def test_the_figures_hold_the_comparison_and_a_second_timing_is_announced(
    again: float, verdict: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = [report({**QUIET, "views": 3.0}), *3 * [report({"views": again})]]
    harness = SimpleNamespace(scene=SimpleNamespace(bundle=None), time=lambda *_, **__: made.pop(0))
    monkeypatch.setattr(stages, "make_harness", lambda *_: harness)
    monkeypatch.setattr(stages, "time_startup", lambda *_: None)
    facts = report(QUIET).model_dump()
    baseline = BenchReport.model_validate({**facts, "bundle": {**facts["bundle"], "id": "1" * 64, "demo": False}})
    with nullcontext() if verdict == "not slower" else pytest.raises(DoesNotFitError):
        stages.time_stages(HarnessRequest(), None, baseline, 1.3, tmp_path / "bench.json")
    shown = capsys.readouterr()
    assert "slower than 1.3 times the baseline, so timed again: views" in shown.err
    assert "the baseline is of bundle third_place (111111111111), this run of third_place (0)" in shown.out
    comparison = read_report(tmp_path / "bench.json").comparison
    assert comparison
    assert comparison.verdict == verdict
    assert max(one.times_the_baseline for one in comparison.stages) == again / 2.0
    assert len(comparison.stages) == 3


def test_outputs_that_cannot_be_written_are_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stages, "time_stages", lambda *_: pytest.fail("must be refused before"))
    for arguments in (("--json", "/proc/bench.json"), ("--plots", "/proc/plots")):
        result = hakuna_here("bench", "stages", *arguments)
        assert (result.returncode, "must be writable, got:" in result.stderr) == (5, True), result.stderr
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = hakuna_here("bench", "stages", "--plots", tmp_path / "plots")
    assert (result.returncode, "matplotlib: must be installed" in result.stderr) == (2, True)
    assert not (tmp_path / "plots").exists()
