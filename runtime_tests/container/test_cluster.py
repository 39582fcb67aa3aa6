"""The image with Ray starts a cluster of its own within the limits of the compose file."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime_tests.container.conftest import BUILD_SECONDS, PROJECT
from runtime_tests.container.engine import Engine
from runtime_tests.container.service import MODELS, SUBMISSION, Mounts, Service

pytestmark = pytest.mark.container
COMPOSE = (
    *("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--init"),
    *("--tmpfs", "/tmp:size=64m,mode=1777", "--memory", "8g", "--memory-swap", "8g", "--pids-limit", "1024"),  # noqa: S108  # the container's
    *("--shm-size", "64m"),
)
"""The limits of its services."""


@pytest.fixture(scope="module")
def cluster_image(engine: Engine) -> str:
    name = "hakuna-runtime:cluster"
    arguments = (
        "--network",
        "host",
        "--build-arg",
        f"BASE_IMAGE={engine.base_image}",
        "--build-arg",
        "FLAVOUR=cluster",
    )
    result = engine.docker("build", "--progress=plain", *arguments, "--tag", name, PROJECT, timeout=BUILD_SECONDS)
    assert result.returncode == 0, result.stderr[-4000:]
    return name


def test_a_cluster_in_a_container_gives_the_same_bytes(
    engine: Engine, cluster_image: str, photos: Path, models: Path, place: Path, expected: dict[str, bytes]
) -> None:
    place.chmod(0o777)
    words = ("predict", "/inference/data", "--bundle", MODELS, "--out", f"{SUBMISSION}/out", "--cluster", "ray")
    done = Service(engine, cluster_image, COMPOSE).run(Mounts(photos, place, models), *words)
    assert done.returncode == 0, done.stderr
    assert {name: (place / "out" / name).read_bytes() for name in expected} == expected


def test_the_image_without_ray_names_the_extra(service: Service, photos: Path, models: Path, place: Path) -> None:
    place.chmod(0o777)
    words = ("predict", "/inference/data", "--bundle", MODELS, "--out", f"{SUBMISSION}/out", "--cluster", "ray")
    done = service.run(Mounts(photos, place, models), *words)
    assert done.returncode == 2, done.stderr
    assert "cluster" in done.stderr
    assert list(place.iterdir()) == []
