"""The full check: its parts on this CPU, its verdicts on figures written by hand, and machines without a part of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.capacity.device_profiles import load_profile
from benchmark.selftest import gpu_check
from benchmark.selftest.assumptions import decisions
from benchmark.selftest.gpu_check import FullCheck, complaint_about_pixels, full_check, profile_of
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
case "$1" in
*utilization*) echo "50, 4000"; echo "99, 9999" ;;
*) echo "Tesla V100-SXM2-16GB, 535.1, 7.0, 16384, 1530, 300.00" ;;
esac
"""


def exactly(seconds: float) -> Spread:
    return Spread(median=seconds, low=seconds, high=seconds, n=1)


def stage(group: str, name: str, seconds: float, n_units: int, **facts: Any) -> StageFigures:
    return StageFigures.model_validate(
        {
            "name": name,
            "group": group,
            "unit": "images" if group == "network" else "sequences",
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


def report_of(stages: list[StageFigures], workers: int = 6) -> BenchReport:
    return BenchReport(
        schema_version=1,
        date="2026-11-30",
        command="hakuna doctor",
        machine={},
        bundle=BundleFigures(name="b", id="0", demo=True, frames=3),
        settings=SettingFigures(repeats=1, workers=workers, batch_size=64, decoder="fast", engine="t", device="V100"),
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
    """8 sequences of 3 photos in 0.12 s on 6 cores are 30 ms of a core each; 512 sequences in 0.512 s are 1 ms each."""
    photos = stage("photos", "photos to views x3", 0.12, 8, n_frames=3)
    finish = stage("finish", "records to submission", 0.512, 512)
    found = verdicts([photos, finish], one_network)
    assert found["photo core seconds"] == (0.03, "holds")
    assert found["postprocess seconds per sequence"] == (0.001, "better than assumed")


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


def test_the_first_gpu_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_text(FAKE_NVIDIA_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    facts = gpu_facts()
    assert facts is not None
    assert (facts["name"], facts["driver_version"]) == ("Tesla V100-SXM2-16GB", "535.1")
    begin = time.perf_counter()
    with watched() as load:
        while not load.moments and time.perf_counter() < begin + 20:
            time.sleep(0.01)
    assert set(load.used_mib) == {4000.0}
    assert load.idle_share(begin, time.perf_counter()) == 0.5


def test_idle_time_is_that_of_the_work_alone() -> None:
    load = GpuLoad(moments=[1.0, 2.0, 3.0, 4.0], busy=[0.0, 0.9, 0.7, 0.0], used_mib=[1.0] * 4)
    assert load.idle_share(2.0, 3.0) == pytest.approx(0.2)
    assert load.idle_share(5.0, 6.0) is None


def test_without_nvidia_smi_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert gpu_facts() is None
    with watched() as load:
        pass
    assert load.moments == []


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
    assert "must end with 0, got 10" in figures["failed"]["answers"]
    assert figures["decisions"] == []


@pytest.mark.parametrize(
    ("figures", "complaint"),
    [
        ({"fast": (1.0, 0), "dali": (0.9995, 1)}, None),
        ({"fast": (0.9999, 1)}, "decoder fast: must have the pixels of Pillow"),
        ({"fast": (1.0, 0), "dali": (0.9995, 2)}, "decoder dali: must"),
        ({"fast": (1.0, 0), "dali": (0.99, 1)}, "decoder dali: must"),
    ],
)
def test_pixels_that_differ_too_much_are_a_complaint(
    figures: dict[str, tuple[float, int]], complaint: str | None
) -> None:
    decoders = {
        name: {"values_equal_to_pillow": equal, "largest_difference": largest}
        for name, (equal, largest) in figures.items()
    }
    found = complaint_about_pixels(decoders)
    assert (found or "").startswith(complaint or "")
    assert (found is None) == (complaint is None)


@pytest.mark.parametrize("option", ["--bundle", "--data", "--device-profile"])
def test_options_of_the_full_check_need_it(option: str, tmp_path: Path) -> None:
    result = hakuna_here("doctor", option, tmp_path)
    assert result.returncode == 2
    assert f"{option}: must come with --full" in result.stderr


def test_the_check_of_a_gpu_needs_one() -> None:
    words = ("make", "gpu-check", "GPU_NAME=", "--assume-old=build/gpu/.installed", f"PYTHON={sys.executable}")
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert "gpu-check: needs an NVIDIA GPU and nvidia-smi; make gpu-check DEVICE=cpu rehearses it" in done.stdout
    assert done.returncode != 0


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
    assert resumed["records_kept"]
    assert resumed["same_submission"]
    assert 0 < resumed["records_before_the_kill"] < resumed["records_in_all"] == 12
    n_frozen = 2  # networks of the demo, each at one size
    assert len(parts["networks"]["rates"]) >= n_frozen * 5
    assert abs(parts["projection"]["float32"]["error"]) < 0.5
    settled = {one["assumption"] for one in figures["decisions"] if one["verdict"] != "not settled"}
    assert {"float32 low to high", "photo core seconds", "call seconds", "startup seconds"} <= settled
