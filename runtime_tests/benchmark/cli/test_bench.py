"""`hakuna bench` as users call it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmark.capacity.device_profiles import load_profile
from benchmark.capacity.projection import ENSEMBLES
from benchmark.capacity.workloads import load_workload
from benchmark.cli.bench import projection, stages
from benchmark.cli.bench.projection import project_workload
from benchmark.cli.bench.request import HarnessRequest
from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.errors import DoesNotFitError
from runtime_tests.running import hakuna_here


def request(bundle: Bundle) -> HarnessRequest:
    return HarnessRequest(bundle=bundle.folder, quick=True, repeats=1)


def project_season_11(bundle: Bundle, budget: float, json: Path | None = None) -> None:
    workload, profile = load_workload("season11"), load_profile("v100")
    project_workload(request(bundle), workload, profile, budget, Effort.FULL, Precision.FLOAT32, json)


def test_a_profile_projects_every_ensemble_in_both_precisions(tmp_path: Path, tiny_bundle: Bundle) -> None:
    path = tmp_path / "new" / "figures.json"
    project_season_11(tiny_bundle, 8 * 3600.0, path)
    figures = json.loads(path.read_text())
    assert figures["what"] == "projection of season11 on v100: not measured"
    assert len(figures["projections"]) == 2 * 3 * len(ENSEMBLES)
    assert all(one["fits"] for one in figures["projections"])


def test_a_budget_that_is_too_short_is_exit_11_and_names_what_would_fit(tiny_bundle: Bundle) -> None:
    with pytest.raises(
        DoesNotFitError,
        match=r"--budget 60.0 s: .* season11, full in float32 on v100 \(low\), got .*; nothing would fit",
    ) as caught:
        project_season_11(tiny_bundle, 60.0)
    assert caught.value.exit_code == 11


@pytest.mark.e2e
def test_this_machine_is_timed_and_projected(
    quick_bundle: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.timing.measure import Spread
    from inference.core.sequences import ImageSize

    monkeypatch.setattr(stages, "default_sizes", lambda *, short: [(ImageSize(480, 640), 3)] * (1 + short))
    monkeypatch.setattr(stages, "time_startup", lambda *_: Spread(median=2.0, low=2.0, high=2.0, n=1))
    monkeypatch.setattr(projection, "manifest_of", lambda _: quick_bundle.manifest)
    project_workload(request(quick_bundle), load_workload("minutes"), None, None, Effort.FULL, Precision.FLOAT32)
    shown = capsys.readouterr().out
    assert "end to end" in shown
    assert "projection: minutes, 300 sequences, on this machine" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("project", "--budget", "8h"), 2, "Missing argument 'workload'"),
        (("project", "season11", "--budget", "soon"), 2, "must be a duration such as 8h"),
        (("project", "season11", "--ensemble", "half"), 2, "--ensemble: must be one of full, no-large-tta"),
        (("project", "season11", "--device-profile", "abacus"), 2, "--device-profile abacus: must be"),
        (("decoders",), 2, "Missing argument 'data'"),
        (("published", "/nowhere"), 2, "does not exist"),
        (("page", "/nowhere"), 2, "does not exist"),
        (("page", str(Path(__file__).parent)), 2, "must hold JSON files"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: tuple[str, ...], code: int, message: str) -> None:
    result = hakuna_here("bench", *arguments)
    assert result.returncode == code, result.stderr
    assert message in result.stderr


def test_the_published_networks_are_projected_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither TensorFlow nor a bundle is needed: the operations of the published networks are known."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    for workload, precision, budget, code in (
        ("season11", "float32", "8h", 11),
        ("season11", "mixed", "1h", 11),
        ("season11", "mixed", "8h", 0),
        ("test_set", "float32", "8h", 0),
    ):
        result = hakuna_here(
            "bench", "project", workload, "--budget", budget, "--device-profile", "v100", "--precision", precision
        )
        assert result.returncode == code, result.stderr
        assert f"projection: {workload}, " in result.stdout
        assert "64 sequences a batch, as a run on a GPU has; each call is padded to 32 images" in result.stdout


def test_a_verdict_and_its_figures_name_what_they_hang_on(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    words = ("bench", "project", "season11", "--budget", "7h", "--device-profile", "v100", "--precision", "mixed")
    failed = hakuna_here(*words)
    assert failed.returncode == 11
    assert ", which hangs on mixed low" in failed.stderr
    assert "the verdict on full in mixed (low) hangs on mixed low: 0.12 (assumed); it turns at 0.1" in failed.stdout
    hakuna_here(*words, "--json", path)
    [hangs_on] = json.loads(path.read_text())["hangs_on"]
    assert (hangs_on["name"], hangs_on["value"], hangs_on["basis"]) == ("mixed low", 0.12, "assumed")
    easy = hakuna_here("bench", "project", "minutes", "--budget", "8h", "--device-profile", "v100")
    assert "stays the same if any one number is half or twice as large" in easy.stdout
