"""The published ensemble at full size, with random weights: memory, answers of both engines, health while it loads."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.rehearsal.health import why_unhealthy
from benchmark.timing.harness import predict_command, run_predict
from inference.dataset.label_tables import read_submission
from inference.outputs.submission import SUBMISSION_NAME
from inference.process.progress import STATUS_NAME
from models.spec.recipe import Recipe
from runtime_tests.kept import kept

pytestmark = pytest.mark.slow

CONTAINER_MIB = 6 * 1024
"""Three quarters of what the compose file allows."""


@pytest.fixture(scope="module")
def full_size(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        from models.bundling.untrained import untrained_bundle

        untrained_bundle(folder, recipe, 1, "InceptionResNetV2")

    return kept("full_size", f"1 {recipe.model_dump_json()}", make, tmp_path_factory.mktemp("kept"))


def test_the_published_ensemble_fits_into_the_container_and_both_engines_agree(
    full_size: Path, reference_case: Path, tmp_path: Path
) -> None:
    submissions = []
    for engine in ("tensorflow", "openvino"):
        out = tmp_path / engine
        cost = run_predict(reference_case / "data", full_size, out, "--engine", engine)
        assert cost.peak_mb < CONTAINER_MIB, engine
        submissions.append(read_submission(out / SUBMISSION_NAME).values)
    assert np.abs(submissions[0] - submissions[1]).max() <= 2e-4


def test_a_run_is_healthy_while_large_networks_load(full_size: Path, reference_case: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = predict_command(reference_case / "data", full_size, out, "--engine", "tensorflow")
    looks = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and looks < 600:
            if (out / STATUS_NAME).exists():
                assert why_unhealthy(out) is None
                looks += 1
                if (out / "records.jsonl").exists() and (out / "records.jsonl").read_bytes().count(b"\n") > 1:
                    break
            time.sleep(0.2)
        process.kill()
    assert looks > 5
