"""A timing run on tiny networks: what it times, keeps, draws and projects."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.capacity.projection import project
from benchmark.capacity.rates import measured_rates
from benchmark.capacity.validation import TRIALS, trial_workload, validate
from benchmark.capacity.workloads import load_workload
from benchmark.charts.history import write_page
from benchmark.charts.plots import write_plots
from benchmark.timing.harness import Harness, PredictError, run_predict, time_startup
from benchmark.timing.measure import Spread, Stage
from benchmark.timing.regression_gate import compare
from benchmark.timing.repeated_season import write_repeated_season
from benchmark.timing.report import BenchReport
from benchmark.timing.stages import all_stages, set_up
from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.errors import UsageError
from inference.core.sequences import ImageSize
from inference.dataset.metadata import METADATA_NAME, read_metadata
from inference.execution.job import RunOptions

pytestmark = pytest.mark.e2e  # they time whole runs

PHOTO = ImageSize(480, 640)
STARTUP = Spread(median=2.0, low=1.9, high=2.1, n=3)


def slowed_harness(harness: Harness, name: str, times: int) -> Harness:
    """The same harness with one stage that repeats its work."""

    def slowed(one: Stage) -> Stage:
        return replace(one, work=lambda: [one.work() for _ in range(times)])

    return replace(harness, stages=[slowed(one) if one.name == name else one for one in harness.stages])


@contextmanager
def busy_process() -> Iterator[None]:
    """Another process that keeps one core fully busy during the block."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "photos"
    write_repeated_season(folder, [(PHOTO, 3)] * 2, seed=1)
    return folder


@pytest.fixture(scope="module")
def harness(photos: Path, quick_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    folder = tmp_path_factory.mktemp("stages")
    scene = set_up(photos, quick_bundle, RunOptions(n_workers=2), folder, (Precision.FLOAT32,))
    return Harness(scene, all_stages(scene, (2, 4)), "hakuna bench")


@pytest.fixture(scope="module")
def timed(harness: Harness) -> BenchReport:
    return harness.time(2, STARTUP)


def test_a_season_repeats_a_few_photos_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    big = ImageSize(600, 800)
    write_repeated_season(tmp_path, [(PHOTO, 1), (big, 3), (PHOTO, 2)], seed=1)
    sequences = read_metadata(tmp_path / METADATA_NAME).sequences
    assert [len(one.images) for one in sequences.values()] == [1, 3, 2]
    assert sequences["T000001"].images[0].file_name.startswith("600x800_")
    assert len(list(tmp_path.glob("*.JPG"))) == 2 * 2 * 3


def test_every_part_of_a_run_is_timed(timed: BenchReport) -> None:
    names = [one.name for one in timed.stages]
    assert names[:4] == [
        "decode 480x640",
        "resample 480x640",
        "photos to views 480x640 x1",
        "photos to views 480x640 x3",
    ]
    assert len([one for one in timed.stages if one.group == "network"]) == 9 * 2
    assert "v1 48x64 float32 x4" in names
    assert names[-4:] == ["stackers", "write records", "records to submission", "end to end"]
    assert all(one.seconds.n == one.ratio.n == 2 and 0 <= one.load <= 1 for one in timed.stages)


def test_a_report_says_nothing_about_whose_machine_it_was(timed: BenchReport) -> None:
    text = timed.model_dump_json()
    assert not re.search(rf"(?<!\w){re.escape(socket.gethostname())}(?!\w)", text)
    assert f"{Path.home()}/" not in text


def test_measured_rates_project_a_season(timed: BenchReport, quick_bundle: Bundle) -> None:
    rates = measured_rates(timed, Precision.FLOAT32)
    one = project(
        load_workload("season11"),
        quick_bundle.manifest,
        rates,
        ensemble=Effort.FULL,
        precision=Precision.FLOAT32,
        level="measured",
    )
    two_images, four_images = (timed.stage(f"v1 48x64 float32 x{n}") for n in (2, 4))
    assert two_images
    assert four_images
    halfway = (two_images.seconds.median + four_images.seconds.median) / 2
    assert rates.call("v1", ImageSize(48, 64), 3) == pytest.approx(halfway)
    assert rates.call("v1", ImageSize(48, 64), 8) == pytest.approx(2 * four_images.seconds.median)
    assert rates.photos(ImageSize(960, 1280), 3) == pytest.approx(4 * rates.photos(PHOTO, 3))
    assert one.seconds > 187_419 * max(one.networks, one.photos)


def test_rates_of_a_precision_that_was_not_timed_are_refused(timed: BenchReport) -> None:
    with pytest.raises(UsageError, match="must have start-up and networks in mixed timed"):
        measured_rates(timed, Precision.MIXED)


def test_photos_that_cannot_be_timed_are_refused(tmp_path: Path, quick_bundle: Bundle) -> None:
    write_repeated_season(tmp_path / "photos", [(PHOTO, 1)], seed=1)
    with pytest.raises(UsageError, match="must have a sequence of 3 photos"):
        set_up(tmp_path / "photos", quick_bundle, RunOptions(), tmp_path, (Precision.FLOAT32,))


def test_plots_and_the_page_need_nothing_but_themselves(
    timed: BenchReport, quick_bundle: Bundle, tmp_path: Path
) -> None:
    files = write_plots(timed, quick_bundle.manifest, tmp_path)
    assert [path.name for path in files] == ["stages.svg", "throughput.svg", "cost.svg"]
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in write_plots(timed, quick_bundle.manifest, tmp_path)] == before
    (tmp_path / "bench.json").write_text(timed.model_dump_json())
    (tmp_path / "other.json").write_text('{"speedup": 3.5, "machine": {"cores": 2}, "command": "hakuna <x>"}')
    page = write_page(tmp_path).read_text()
    assert page.count("<svg") == 2
    assert "<code>hakuna &lt;x&gt;</code>" in page
    assert page.count("<!DOCTYPE") == 1
    for loads in ("src=", "<script", "<link", "@import", "url(http"):
        assert loads not in page


def test_a_page_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must hold JSON files, got none"):
        write_page(tmp_path)


def test_a_trial_is_the_workload_that_is_projected() -> None:
    sequences = list(TRIALS["mixed, a third big"]) * 10
    workload = trial_workload("mixed", sequences)
    assert sum(n * share for n, share in workload.frame_shares.items()) == pytest.approx(
        sum(n for _, n in sequences) / 60
    )
    assert workload.photo_sizes[1].share == pytest.approx(2 / 6)


def test_a_run_that_fails_is_no_timing(tmp_path: Path, quick_bundle: Bundle) -> None:
    with pytest.raises(PredictError, match="must end with 0, got 3"):
        run_predict(tmp_path, quick_bundle.folder, tmp_path / "out")


@pytest.mark.slow
def test_a_slowed_stage_fails_and_a_busy_second_process_passes(harness: Harness) -> None:
    only = ["decode 480x640", "views x3", "stackers"]
    baseline = harness.time(15, only=only)
    slow = slowed_harness(harness, "views x3", 2)
    failed = [
        one.name
        for one in compare(slow.time(15, only=only), baseline, 1.3, lambda names: slow.time(15, only=names))
        if one.times_the_baseline > 1.3
    ]
    assert failed == ["views x3"]
    with busy_process():
        compared = compare(harness.time(15, only=only), baseline, 1.3, lambda names: harness.time(30, only=names))
    assert not [one for one in compared if one.times_the_baseline > 1.3]


@pytest.mark.slow
def test_a_validation_compares_projections_with_runs(harness: Harness, quick_bundle: Bundle, tmp_path: Path) -> None:
    startup = time_startup(quick_bundle, tmp_path / "startup", 1)
    figures = validate(harness, quick_bundle, tmp_path, n_sequences=12, repeats=2, time_startup=lambda: startup)
    assert len(figures["trials"]) == 3
    for trial in figures["trials"]:
        assert trial["error"] == pytest.approx(trial["predicted_seconds"] / trial["real_seconds"] - 1, abs=0.01)


def test_calls_on_a_gpu_cost_as_much_as_padded_ones(timed: BenchReport) -> None:
    """Networks were timed with up to 4 images a call; a run on a GPU would pad each call."""
    on_gpu = timed.model_copy(
        update={"settings": timed.settings.model_copy(update={"device": "a GPU", "images_per_call": 4})}
    )
    network = timed.of_group("network")[0]
    size = ImageSize(int(network.height or 0), int(network.width or 0))
    cpu, gpu = (measured_rates(one, Precision.FLOAT32).call for one in (timed, on_gpu))
    name = str(network.network)
    assert gpu(name, size, 1) == gpu(name, size, 4) == cpu(name, size, 4)
    assert cpu(name, size, 2) != cpu(name, size, 4)
    assert gpu(name, size, 8) == 2 * gpu(name, size, 4)


def test_a_run_that_does_not_end_is_an_error(photos: Path, quick_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(PredictError, match=r"must end within 0\.01 s, got no end"):
        run_predict(photos, quick_bundle.folder, tmp_path / "out", most_seconds=0.01)
