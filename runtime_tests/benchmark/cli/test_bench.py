"""`hakuna bench` as users call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.capacity.projection import ENSEMBLES
from benchmark.cli.bench import planning, timing
from benchmark.cli.bench import request as request_module
from benchmark.cli.bench.planning import project_workload
from benchmark.cli.bench.request import BenchRequest
from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.errors import DoesNotFitError
from runtime_tests.running import hakuna, hakuna_here


def request(tmp_path: Path, bundle: Bundle | None = None, application: str | None = "tiny") -> BenchRequest:
    return BenchRequest(
        data=None,
        bundle=bundle.folder if bundle else None,
        application=application,
        recipe="third_place",
        short=True,
        repeats=1,
        work=None,
        json_file=tmp_path / "new" / "figures.json",
        command="hakuna bench",
    )


def test_a_profile_projects_every_ensemble_in_both_precisions(tmp_path: Path, tiny_bundle: Bundle) -> None:
    project_workload(request(tmp_path, tiny_bundle), "season11", 8 * 3600.0, "v100", Effort.FULL, Precision.FLOAT32)
    figures = json.loads((tmp_path / "new" / "figures.json").read_text())
    assert figures["what"] == "projection of season11 on v100: not measured"
    assert len(figures["projections"]) == 2 * 3 * len(ENSEMBLES)
    assert all(one["fits"] for one in figures["projections"])


def test_a_budget_that_is_too_short_is_exit_11_and_names_what_would_fit(tmp_path: Path, tiny_bundle: Bundle) -> None:
    with pytest.raises(
        DoesNotFitError,
        match=r"--budget 60.0 s: .* season11, full in float32 on v100 \(low\), got .* nothing would fit",
    ) as caught:
        project_workload(request(tmp_path, tiny_bundle), "season11", 60.0, "v100", Effort.FULL, Precision.FLOAT32)
    assert caught.value.exit_code == 11


def test_this_machine_is_timed_and_projected(
    tmp_path: Path, quick_bundle: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.timing.measure import Spread
    from inference.core.sequences import ImageSize

    monkeypatch.setattr(request_module, "default_sizes", lambda *, short: [(ImageSize(480, 640), 3)] * (1 + short))
    monkeypatch.setattr(timing, "time_startup", lambda *_: Spread(median=2.0, low=2.0, high=2.0, n=1))
    monkeypatch.setattr(planning, "manifest_of", lambda _: quick_bundle.manifest)
    project_workload(request(tmp_path, quick_bundle), "minutes", None, None, Effort.FULL, Precision.FLOAT32)
    told = capsys.readouterr().out
    assert "end to end" in told
    assert "projection: minutes, 300 sequences, on this machine" in told


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--budget", "8h"), 2, "--budget, --device-profile: must come with --workload"),
        (("--workload", "season11", "--budget", "soon"), 2, "must be a duration such as 8h"),
        (("--against", "pillow"), 2, "DATA: must be given with --against"),
        (("--history", "/nowhere"), 2, "must hold JSON files"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: tuple[str, ...], code: int, message: str) -> None:
    result = hakuna_here("bench", *arguments)
    assert result.returncode == code, result.stderr
    assert message in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "budget", "code"), [("float32", "8h", 11), ("mixed", "1h", 11), ("mixed", "10h", 0)]
)
def test_season_11_on_a_v100_with_the_published_networks(precision: str, budget: str, code: int) -> None:
    result = hakuna(
        "bench", "--workload", "season11", "--budget", budget, "--device-profile", "v100", "--precision", precision
    )
    assert result.returncode == code, result.stderr
    assert "projection: season11, 187,419 sequences, on v100 (not measured)" in result.stdout
