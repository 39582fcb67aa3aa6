"""Studies of calls, precisions and the published program, with small networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmark.selftest.demo import BUNDLE_FOLDER
from benchmark.studies import network_calls
from benchmark.studies.against_published import compare
from benchmark.synthetic.season import SeasonOptions, write_seasons
from inference.bundle.reader import open_bundle
from inference.core.choices import EngineName
from inference.core.sequences import ImageSize
from inference.networks.engine import find_engine, lower_precisions
from inference.networks.engine_openvino import has_bfloat16
from runtime_tests.running import hakuna_here
from runtime_tests.tables import probabilities

OFFERED = [one.value for one in lower_precisions(open_bundle(BUNDLE_FOLDER), find_engine(EngineName.OPENVINO))]


def test_every_way_of_calling_a_network_is_timed_and_gives_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_calls, "CALL_IMAGES", (2, 4))
    figures = network_calls.sweep(BUNDLE_FOLDER, "hakuna bench calls")
    bfloat16 = ["mixed"] if has_bfloat16() else []
    assert [*figures["precisions"]] == list(dict.fromkeys(["float32", *OFFERED, *bfloat16]))
    for one in figures["precisions"].values():
        rates = one["passes_per_second"]
        assert len(rates) == 1 + 2 * 2 * 2
        assert one["best"] == max(rates, key=rates.__getitem__)
        assert one["share_of_best"] == pytest.approx(rates["a run"] / rates[one["best"]], abs=1e-3)
        assert one["largest_difference"] < 0.05


@pytest.mark.e2e
def test_the_cost_of_precisions_is_that_of_the_labels_and_of_the_probabilities(tmp_path: Path) -> None:
    if not OFFERED:
        pytest.skip("needs a processor with VNNI or bfloat16")
    write_seasons(tmp_path / "season", (3,), SeasonOptions(30, 4, ImageSize(240, 320), 7), 2)
    labels = tmp_path / "season" / "test_labels.csv"
    words = ("bench", "precisions", tmp_path / "season", labels, "--bundle", BUNDLE_FOLDER, "--json", tmp_path / "json")
    done = hakuna_here(*words)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "json").read_text())
    assert [*figures["precisions"]] == OFFERED
    truth = probabilities(labels)[1]
    for precision, found in figures["precisions"].items():
        losses, values = [], []
        for one in ("float32", precision):
            predict = ("predict", tmp_path / "season", "--bundle", BUNDLE_FOLDER, "--out", tmp_path / one)
            hakuna_here(*predict, "--precision", one, "--max-loss-increase", "1")
            values.append(np.clip(probabilities(tmp_path / one / "submission.csv")[1], 1e-15, 1 - 1e-15))
            losses.append(-(truth * np.log(values[-1]) + (1 - truth) * np.log1p(-values[-1])).mean())
        p, q = (np.clip(one, 1e-7, 1 - 1e-7) for one in values)
        kl = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
        assert found["log_loss_in_float32"] == pytest.approx(losses[0], rel=1e-6)
        assert found["increase"] == pytest.approx(losses[1] - losses[0], abs=1e-9)
        assert found["interval"]["low"] <= found["increase"] <= found["interval"]["high"]
        assert found["estimated_increase"] == pytest.approx(kl, rel=1e-3)
        assert found["is_accepted"] is (found["relative_increase_in_the_proof"] <= figures["bound"])


@pytest.mark.e2e
def test_both_programs_do_the_same_work_and_are_timed_from_start_to_exit(
    season: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmark.studies.against_published.is_installed", lambda _: False)  # nothing is quantised
    figures = compare(
        season, recipe_name="third_place", application="tiny", work=tmp_path, command="hakuna bench published"
    )
    assert figures["published"]["whole_seconds"] >= figures["published"]["work_seconds"]
    float32 = figures["ours"]["float32"]
    assert [*float32] == ["first", "second"]
    for run in float32.values():
        assert run["largest_difference"] < 1e-5
        assert run["whole_seconds"] >= run["start_seconds"] > 0
        assert run["network_passes"] < figures["published"]["network_passes"]
    assert figures["speedup"].keys() == figures["ours"].keys()
