"""The full check: its parts on this CPU, its verdicts on figures written by hand, and machines without a part of it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.capacity.device_profiles import load_profile
from benchmark.selftest import complaints, doctor, gpu_check
from benchmark.selftest.assumptions import decisions
from benchmark.selftest.gpu_check import FullCheck, full_check, profile_of
from benchmark.selftest.gpu_watch import GpuLoad, gpu_facts, watched
from benchmark.timing.harness import PredictError
from benchmark.timing.measure import Spread
from benchmark.timing.report import BenchReport, BundleFigures, SettingFigures, StageFigures
from inference.bundle.manifest import Manifest
from inference.bundle.reader import Bundle
from inference.core.errors import UnusableGpuError
from inference.core.sequences import ImageSize
from runtime_tests.running import hakuna_here

PROJECT = Path(__file__).parents[3]

FAKE_NVIDIA_SMI = """#!/bin/sh
test "$1" = "--id=$WANTED" || exit 1
case "$2" in
*utilization*) echo "$LOAD" ;;
*) echo "Tesla V100-SXM2-16GB, 535.1, 7.0, 16384, 1530, 300.00" ;;
esac
"""


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    (tmp_path / "nvidia-smi").write_text(FAKE_NVIDIA_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    for name, value in {"PATH": f"{tmp_path}:{os.environ['PATH']}", "WANTED": "0", "LOAD": "50, 4000"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return monkeypatch


def watch(n_samples: int) -> GpuLoad:
    begin = time.perf_counter()
    with watched() as load:
        while max(len(load.busy), len(load.used_mib)) < n_samples and time.perf_counter() < begin + 20:
            time.sleep(0.01)
    return load


UNITS = {"network": "images", "photos": "photos"}


def exactly(seconds: float) -> Spread:
    return Spread(median=seconds, low=seconds, high=seconds, n=1)


def stage(group: str, name: str, seconds: float, n_units: int, **facts: Any) -> StageFigures:
    return StageFigures.model_validate(
        {
            "name": name,
            "group": group,
            "unit": UNITS.get(group, "sequences"),
            "n_units": n_units,
            "seconds": exactly(seconds),
            "per_second": n_units / seconds,
            "load": 1.0,
            "kernel": "none",
            "ratio": exactly(1.0),
            "cpu_ratio": exactly(1.0),
            "kernel_load": 1.0,
            **facts,
        }
    )


def report_of(stages: list[StageFigures]) -> BenchReport:
    return BenchReport(
        schema_version=1,
        date="2026-11-30",
        command="hakuna doctor",
        machine={"cores": 6},
        bundle=BundleFigures(name="b", id="0", demo=True, frames=3),
        settings=SettingFigures(repeats=1, workers=1, batch_size=64, decoder="dali", engine="t", device="V100"),
        startup_seconds=exactly(100.0),
        kernels=(),
        stages=tuple(stages),
    )


def verdicts(stages: list[StageFigures], manifest: Manifest) -> dict[str, tuple[float | None, str]]:
    decided = decisions(report_of(stages), manifest, load_profile("v100"))
    return {one["assumption"]: (one["measured"], one["verdict"]) for one in decided}


@pytest.fixture
def one_network(tiny_bundle: Bundle) -> Manifest:
    """One network at one size, of a tera of operations an image."""
    network = tiny_bundle.manifest.networks[0]
    counted = network.model_copy(update={"sizes": network.sizes[:1], "operations": (10**12,)})
    return tiny_bundle.manifest.model_copy(update={"networks": (counted,)})


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.5, "holds"), (0.3, "worse than assumed"), (0.8, "better than assumed")]
)
def test_a_share_of_the_peak_is_judged_by_the_profile(share: float, verdict: str, one_network: Manifest) -> None:
    """Calls of 10 ms and n images at a share of 15.7 TFLOP/s; the fixed time is twice the assumed one."""
    network = {"network": "v1", "precision": "float32", "height": 360, "width": 480}
    second_per_image = 1 / (share * 15.7)
    calls = [stage("network", f"x{n}", 0.01 + n * second_per_image, n, **network) for n in (2, 8, 32)]
    found = verdicts(calls, one_network)
    measured, decided = found["float32 low to high"]
    assert decided == verdict
    assert measured == pytest.approx(share * 32 * second_per_image / (0.01 + 32 * second_per_image), rel=0.01)
    assert found["call seconds"] == (0.01, "worse than assumed")
    assert found["mixed low to high"] == (None, "not settled")
    assert found["bus gb per second"] == (None, "not settled")
    assert found["cores"] == (6.0, "holds")
    assert found["startup seconds"] == (100.0, "holds")


def test_photos_and_the_last_step_are_judged(one_network: Manifest) -> None:
    """On one core, whatever decodes in a run: 3 photos in 30 and 45 ms, views of 3 in 6; 512 sequences in 0.512 s."""
    stages = [
        stage("photos", "decode", 0.030, 3),
        stage("photos", "resample", 0.045, 3),
        stage("views", "views x1", 0.1, 1, n_frames=1),
        stage("views", "views x3", 0.006, 1, n_frames=3),
        stage("finish", "records to submission", 0.512, 512),
    ]
    found = verdicts(stages, one_network)
    assert found["photo core seconds"] == (0.027, "holds")
    assert found["postprocess seconds per sequence"] == (0.001, "better than assumed")


def test_calls_without_a_fixed_time_are_better_than_assumed(one_network: Manifest) -> None:
    """Larger calls may take longer than in proportion, so that a line through them begins below 0."""
    network = {"network": "v1", "precision": "float32", "height": 360, "width": 480}
    calls = [stage("network", f"x{n}", seconds, n, **network) for n, seconds in ((2, 0.1), (8, 0.41), (32, 1.7))]
    assert verdicts(calls, one_network)["call seconds"] == (0.0, "better than assumed")


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        ("Tesla V100-SXM2-16GB", "v100"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA H200", "h100"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", None),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_a_gpu_has_the_profile_of_its_name(gpu: str, name: str | None) -> None:
    profile = profile_of(gpu)
    assert (profile.name if profile else None) == name


def test_a_gpu_is_watched(nvidia_smi: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    facts, begin = gpu_facts(), time.perf_counter()
    assert facts is not None
    assert (facts["name"], facts["driver_version"]) == ("Tesla V100-SXM2-16GB", "535.1")
    load = watch(1)
    assert set(load.used_mib) == {4000.0}
    assert load.idle_share(begin, time.perf_counter()) == 0.5


def test_the_visible_gpu_is_the_one_that_is_watched(nvidia_smi: pytest.MonkeyPatch) -> None:
    nvidia_smi.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert gpu_facts() is None
    nvidia_smi.setenv("WANTED", "3")
    assert gpu_facts() is not None


def test_a_gpu_that_does_not_report_its_load_still_reports_its_memory(nvidia_smi: pytest.MonkeyPatch) -> None:
    nvidia_smi.setenv("LOAD", "[N/A], 4000")
    load = watch(2)
    assert set(load.used_mib) == {4000.0}
    assert load.idle_share(0, time.perf_counter()) is None


def test_idle_time_is_that_of_the_work_alone() -> None:
    load = GpuLoad(busy={1.0: 0.0, 2.0: 0.9, 3.0: 0.7, 4.0: 0.0})
    assert load.idle_share(2.0, 3.0) == pytest.approx(0.2)
    assert load.idle_share(5.0, 6.0) is None


def test_without_nvidia_smi_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert gpu_facts() is None
    with watched() as load:
        pass
    assert load == GpuLoad()


@pytest.mark.e2e
def test_a_machine_with_a_decoder_alone_gives_what_it_can(
    season: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_run(*_: object, **__: object) -> None:
        raise PredictError("hakuna predict: must end with 0, got 10: no GPU")

    def no_engine(*_: object, **__: object) -> None:
        raise UnusableGpuError("--device gpu: must be usable by TensorFlow")

    monkeypatch.setattr(gpu_check, "run_predict", no_run)
    monkeypatch.setattr(gpu_check, "set_up", no_engine)
    monkeypatch.setattr(gpu_check, "PHOTO", ImageSize(480, 640))
    check = FullCheck(gpu=True, bundle=tiny_bundle, profile=load_profile("v100"), data=season, work=tmp_path)
    figures = full_check(check, "hakuna doctor --gpu --full")
    assert figures["parts"]["decoders"]["decoders"]["fast"]["values_equal_to_pillow"] == 1
    assert set(figures["failed"]) == {"answers", "kill and resume", "speed", "networks", "projection"}
    assert "must end with 0, got 10" in figures["failed"]["answers"]["message"]
    assert figures["failed"]["networks"]["exit_code"] == 10
    assert figures["decisions"] == []


@pytest.mark.e2e
def test_a_part_that_breaks_keeps_the_others(
    season: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise ZeroDivisionError("no images")

    monkeypatch.setattr(gpu_check, "run_predict", breaks)
    monkeypatch.setattr(gpu_check, "set_up", breaks)
    monkeypatch.setattr(gpu_check, "PHOTO", ImageSize(480, 640))
    figures = full_check(FullCheck(gpu=False, bundle=tiny_bundle, profile=None, data=season, work=tmp_path), "")
    assert figures["failed"]["answers"] == {"message": "ZeroDivisionError: no images", "exit_code": 1}
    assert list(figures["parts"]) == ["decoders"]


def decoder(equal: float, largest: int, left: int = 0) -> dict[str, float]:
    return {
        "values_equal_to_pillow": equal,
        "largest_difference": largest,
        "photos_left_to_another_decoder": left,
    }


@pytest.mark.parametrize(
    ("decoders", "complaint"),
    [
        ({"fast": decoder(1.0, 0), "dali": decoder(0.95, 1)}, None),
        ({"fast": decoder(0.9999, 1)}, "decoder fast: must have the pixels of Pillow"),
        ({"fast": decoder(1.0, 0), "dali": decoder(0.95, 2)}, "decoder dali: must have the pixels"),
        ({"fast": decoder(1.0, 0), "dali": decoder(0.8, 1)}, "decoder dali: must have the pixels"),
        ({"dali": decoder(1.0, 0, left=48)}, "decoder dali: must decode each photo itself, got 48 left"),
    ],
)
def test_pixels_are_judged(decoders: dict[str, Any], complaint: str | None) -> None:
    assert (complaints.about_pixels(decoders) or "").startswith(complaint or "nothing") == (complaint is not None)


ANSWERS = {
    "largest_difference_in_float32": 1e-4,
    "relative_loss_increase_in_mixed_precision": 5e-4,
    "precision": {"used": "mixed"},
    "bound": 1e-3,
}


@pytest.mark.parametrize(
    ("changes", "supports_mixed", "complaint"),
    [
        ({}, True, None),
        ({"largest_difference_in_float32": 3e-4}, True, "float32: must differ by at most 0.0002"),
        ({"largest_difference_in_float32": math.nan}, True, "float32: must differ"),
        ({"precision": {"used": "float32"}}, True, "mixed precision: must hold"),
        ({"precision": {"used": "float32"}}, False, None),
        ({"relative_loss_increase_in_mixed_precision": 2e-3}, True, "mixed precision: must increase the loss"),
        ({"relative_loss_increase_in_mixed_precision": math.nan}, True, "mixed precision: must increase the loss"),
    ],
)
def test_answers_are_judged(changes: dict[str, Any], supports_mixed: bool, complaint: str | None) -> None:
    found = complaints.about_answers(ANSWERS | changes, supports_mixed=supports_mixed)
    assert (found or "").startswith(complaint or "nothing") == (complaint is not None)


RESUMED = {
    "was_killed": True,
    "records_before_the_kill": 4,
    "records_in_all": 12,
    "records_kept": True,
    "largest_difference": 0.0,
}


@pytest.mark.parametrize(
    ("changes", "is_exact", "complaint"),
    [
        ({}, True, None),
        ({"was_killed": False}, True, "kill: must come between"),
        ({"records_before_the_kill": 0}, True, "kill: must come between the records of a run, got 0 of 12"),
        ({"records_before_the_kill": 12}, True, "kill: must come between"),
        ({"records_kept": False}, True, "records: must be kept"),
        ({"largest_difference": 1e-7}, True, "submission: must differ by at most 0 from"),
        ({"largest_difference": 1e-7}, False, None),
        ({"largest_difference": 1e-2}, False, "submission: must differ by at most 0.0002"),
    ],
)
def test_a_resumed_run_is_judged(changes: dict[str, Any], is_exact: bool, complaint: str | None) -> None:
    found = complaints.about_resuming(RESUMED | changes, is_exact=is_exact)
    assert (found or "").startswith(complaint or "nothing") == (complaint is not None)


@pytest.mark.parametrize(
    ("idle", "memory", "complaint"),
    [
        (0.2, 900.0, None),
        (None, 900.0, "float32: nvidia-smi must report"),
        (0.2, None, "float32: nvidia-smi must report"),
        (1.0, 900.0, "float32: the GPU must work during the run"),
    ],
)
def test_the_work_of_a_gpu_is_judged(idle: float | None, memory: float | None, complaint: str | None) -> None:
    found = complaints.about_speed({"float32": {"gpu_idle_share": idle, "gpu_memory_mib": memory}})
    assert (found or "").startswith(complaint or "nothing") == (complaint is not None)


def test_a_projection_is_judged() -> None:
    assert complaints.about_projection({"float32": {"error": -0.2}, "mixed": {"error": 0.2}}) is None
    found = complaints.about_projection({"float32": {"error": -0.2}, "mixed": {"error": 0.3}})
    assert found == "mixed: must be projected within 25%, got an error of +30%"


@pytest.mark.e2e
@pytest.mark.parametrize("has_driver", [False, True])
def test_only_decoders_are_measured_where_networks_cannot_use_the_gpu(
    has_driver: bool, season: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing at all without a driver."""
    monkeypatch.setattr(doctor, "GPU_DRIVER", tmp_path if has_driver else tmp_path / "none")
    checks = [doctor.Check("GPU", doctor.CheckResult.FAILED, "no card", UnusableGpuError.exit_code)]
    figures = doctor.examine_fully(
        checks, gpu=True, bundle=None, data=season, profile=None, scratch=tmp_path, command="hakuna doctor"
    )
    assert list(figures.get("parts", {})) == (["decoders"] if has_driver else [])
    wanted = ("full: decoders", doctor.CheckResult.OK) if has_driver else ("full", doctor.CheckResult.SKIPPED)
    assert (checks[-1].name, checks[-1].outcome) == wanted
    assert doctor.exit_code(checks) == 10


@pytest.mark.parametrize("option", ["--bundle", "--data", "--device-profile"])
def test_options_of_the_full_check_need_it(option: str, tmp_path: Path) -> None:
    result = hakuna_here("doctor", option, tmp_path)
    assert result.returncode == 2
    assert f"{option}: must come with --full" in result.stderr


def test_the_check_of_a_gpu_installs_nothing_without_one(tmp_path: Path) -> None:
    """Not even where nvidia-smi is there, and prints why there is no GPU."""
    (tmp_path / "nvidia-smi").write_text('#!/bin/sh\necho "couldn\'t communicate with the driver"\nexit 9\n')
    (tmp_path / "nvidia-smi").chmod(0o755)
    words = ("make", "gpu-check", f"GPU={tmp_path / 'gpu'}")
    variables = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False, env=variables)
    assert "gpu-check: needs an NVIDIA GPU and nvidia-smi; make gpu-check DEVICE=cpu rehearses it" in done.stdout
    assert done.returncode != 0
    assert not (tmp_path / "gpu").exists()


@pytest.mark.e2e
def test_the_rehearsal_runs_every_part_of_the_check() -> None:
    venv = Path(sys.executable).parents[1]
    words = ("make", "gpu-check", "DEVICE=cpu", f"VENV={venv}")
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((PROJECT / "build" / "gpu-rehearsal.json").read_text())
    assert figures["failed"] == {}
    parts = figures["parts"]
    assert list(parts) == ["decoders", "answers", "kill and resume", "speed", "networks", "projection"]
    assert figures["what"] == "a rehearsal on the CPU: not a measurement of a GPU"
    assert parts["answers"]["largest_difference_in_float32"] <= 2e-4
    resumed = parts["kill and resume"]
    assert 0 < resumed["records_before_the_kill"] < resumed["records_in_all"] == 12
    n_networks = 2  # of the demo, each at one size
    assert sum(one["group"] == "network" for one in parts["networks"]["stages"]) >= 5 * n_networks
    assert abs(parts["projection"]["float32"]["error"]) < 0.5
    settled = {one["assumption"] for one in figures["decisions"] if one["verdict"] != "not settled"}
    assert {"float32 low to high", "photo core seconds", "call seconds", "startup seconds"} <= settled
