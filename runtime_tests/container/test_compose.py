"""docker-compose.yml: the same containers under names."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime_tests.container.conftest import BUILD_SECONDS, IMAGE, PROJECT
from runtime_tests.container.engine import Engine
from runtime_tests.container.service import until, writable_folder
from runtime_tests.container.test_entries import READ_AND_ANSWER, entry

pytestmark = pytest.mark.container

FILE = PROJECT / "docker-compose.yml"
SERVICES = {"predict", "rehearse", "score", "benchmark", "runtime-tests"}
GPU_SERVICES = {"predict-gpu", "rehearse-gpu", "benchmark-gpu"}


class Compose:
    """`docker compose` with folders of a test."""

    def __init__(self, engine: Engine, photos: Path, models: Path, place: Path) -> None:
        self.out = writable_folder(place / "out")
        mounts = {"DATA": photos, "SUBMISSION": self.out, "MODELS": models, "LABELS": photos / "test_labels.csv"}
        given = {**{name: str(path) for name, path in mounts.items()}, "MEMORY": "3g", "BASE_IMAGE": engine.base_image}
        self.engine = Engine({**engine.environment, **given}, engine.work, engine.base_image)

    def __call__(self, *arguments: object, file: Path = FILE, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return self.engine.docker("compose", "--file", file, *arguments, timeout=timeout, cwd=PROJECT)


@pytest.fixture
def compose(engine: Engine, image: str, photos: Path, models: Path, place: Path) -> Compose:
    assert image == IMAGE
    return Compose(engine, photos, models, place)


@pytest.fixture
def services(compose: Compose) -> dict[str, dict[str, Any]]:
    result = compose("--profile", "*", "config", "--format", "json")
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout)["services"])


def test_compose_file_has_the_services_and_every_one_of_them_is_contained(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == SERVICES | GPU_SERVICES
    for name, one in services.items():
        assert one["network_mode"] == "none", name
        assert one["read_only"] is True, name
        assert one["init"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["user"] == "1000:1000", name
        assert one["pids_limit"] > 0, name
        assert int(one["mem_limit"]) == int(one["memswap_limit"]) == 3 << 30, name
        assert one["stop_grace_period"] == "15s", name
        assert [path.partition(":")[0] for path in one["tmpfs"]] == ["/tmp"], name  # noqa: S108  # the container's
        readable = [one["target"] for one in one.get("volumes", []) if not one.get("read_only")]
        assert set(readable) <= {"/inference/submission", "/cache"}, name


def test_variables_set_the_time_limit_and_the_precision(compose: Compose) -> None:
    given = {**compose.engine.environment, "BUDGET": "2h", "PRECISION": "auto"}
    for engine, expected in (
        (compose.engine, ("8h", "float32")),
        (replace(compose.engine, environment=given), ("2h", "auto")),
    ):
        text = engine.docker(
            "compose", "--file", FILE, "--profile", "*", "config", "--format", "json", cwd=PROJECT
        ).stdout
        for name in ("predict", "predict-gpu"):
            found = json.loads(text)["services"][name]["environment"]
            assert (found["HAKUNA_BUDGET"], found["HAKUNA_PRECISION"]) == expected


def test_gpu_services_reserve_one_gpu_and_use_the_gpu_flavour(services: dict[str, dict[str, Any]]) -> None:
    for name in GPU_SERVICES:
        one = services[name]
        assert one["profiles"] == ["gpu"]
        assert one["build"]["args"]["FLAVOUR"] == "gpu"
        [device] = one["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["capabilities"], device["count"]) == ("nvidia", ["gpu"], 1)
    assert not any("deploy" in services[name] for name in SERVICES)


def test_compose_file_without_profile_starts_the_prediction_alone(compose: Compose) -> None:
    assert compose("config", "--services").stdout.split() == ["predict"]


def test_unknown_key_is_refused(compose: Compose, tmp_path: Path) -> None:
    damaged = tmp_path / "docker-compose.yml"
    text = FILE.read_text(encoding="utf-8")
    damaged.write_text(text.replace("  predict:\n", "  predict:\n    nonsense: 1\n", 1), encoding="utf-8")
    result = compose("config", "--quiet", file=damaged)
    assert result.returncode != 0
    assert "nonsense" in result.stderr


def test_compose_file_follows_the_schema_of_compose(linters: Path) -> None:
    command = (linters / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", FILE)
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_compose_up_predicts_and_down_leaves_nothing(compose: Compose, expected: dict[str, bytes]) -> None:
    result = compose("up", "--detach", "--pull", "never", "--no-build")
    assert result.returncode == 0, result.stderr
    name = compose("ps", "--all", "--quiet").stdout.strip()
    limits = compose.engine.query("inspect", "--format", "{{json .HostConfig}}", name)
    in_force = json.loads(limits)
    assert (in_force["Memory"], in_force["ReadonlyRootfs"], in_force["NetworkMode"]) == (3 << 30, True, "none")
    assert (in_force["CapDrop"], in_force["PidsLimit"], in_force["ShmSize"]) == (["ALL"], 1024, 64 << 20)
    until(lambda: compose.engine.query("inspect", "--format", "{{.State.Status}}", name) == "exited", 120, "its end")
    assert compose.engine.query("inspect", "--format", "{{.State.ExitCode}}", name) == "0"
    assert {file: (compose.out / file).read_bytes() for file in expected} == expected
    assert compose("down", "--volumes").returncode == 0
    assert compose("ps", "--all", "--quiet").stdout.strip() == ""


def test_tests_run_in_the_image_too(compose: Compose) -> None:
    # Built beforehand: this engine has no network but the host's, which Compose does not give to builds.
    options = ("--network", "host", "--file", "runtime_tests/Dockerfile", "--tag", "hakuna-runtime:tests")
    built = compose.engine.docker("build", *options, ".", cwd=PROJECT, timeout=BUILD_SECONDS)
    assert built.returncode == 0, built.stderr[-3000:]
    few = ("runtime_tests/inference/outputs/test_submission.py", "runtime_tests/test_requirements.py")
    result = compose("run", "--rm", "--no-deps", "runtime-tests", "--quiet", *few)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
    assert "skipped" not in result.stdout


def test_rehearsal_score_and_benchmark_run_by_their_names(
    compose: Compose, services: dict[str, dict[str, Any]], photos: Path
) -> None:
    shutil.copy(photos / "submission_format.csv", compose.out / "submission.csv")
    result = compose("run", "--rm", "--no-deps", "score")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "mean log loss" in result.stdout
    result = compose("run", "--rm", "--no-deps", "rehearse")
    assert result.returncode == 3, result.stdout + result.stderr
    assert "submission.zip: must be an archive (.zip)" in result.stderr
    for name in ("/inference/labels.csv", "data/test_labels.csv"):  # the same file, mounted twice
        steal = f"try: print('stolen', open({name!r}).read())\nexcept OSError as error: print('refused', error.errno)\n"
        entry(compose.out, main_py=steal + READ_AND_ANSWER.format(path="data/submission_format.csv"))
        result = compose("run", "--rm", "--no-deps", "rehearse")
        assert result.returncode == 0, result.stdout + result.stderr
        assert "refused 13" in (compose.out / "rehearsal" / "log.txt").read_text().splitlines()
    report = json.loads((compose.out / "rehearsal" / "rehearsal.json").read_text())
    assert (report["verdict"], report["runner"]) == ("valid", "process")
    assert 0 < report["log_loss"] < 1
    assert "labels are hidden" in report["enforced"]
    # The container is the sandbox: what it enforces cannot be seen from inside, so nothing of it is claimed.
    assert {"no network", "no privileges", "memory limit"} <= set(report["not_enforced"])
    assert "memory limit" in result.stdout
    # The command of the file itself, without the minutes that it takes.
    words = services["benchmark"]["command"]
    result = compose("run", "--rm", "--no-deps", "benchmark", *words, "--help")
    assert result.returncode == 0, result.stdout + result.stderr
    [bundle] = [word.removeprefix("--bundle=") for word in words if word.startswith("--bundle=")]
    result = compose("run", "--rm", "--no-deps", "benchmark", "bundle", "show", bundle)
    assert result.returncode == 0, result.stdout + result.stderr
    compose("down", "--volumes")
