"""The file of figures."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime_tests.faults.conftest import FIGURES, merged, pytest_sessionfinish, pytest_testnodedown


def test_the_first_process_has_the_figures_of_the_others(pytestconfig: pytest.Config) -> None:
    told = {"figures": '{"a figure of a test": {"n": 1}}'}
    pytest_testnodedown(SimpleNamespace(config=pytestconfig, workeroutput=told))
    assert pytestconfig.stash[FIGURES].pop("a figure of a test") == {"n": 1}


def test_figures_of_a_session_take_the_place_of_their_earlier_ones() -> None:
    earlier = {"leak": {"sequences": 1, "date": "2019-12-16"}, "paths": {"names": 2, "date": "2019-12-16"}}
    both = merged(earlier, {"leak": {"sequences": 3}, "a": {"files": 4}}, "pytest -m faults")
    assert list(both) == ["a", "leak", "paths"]
    assert both["paths"] == earlier["paths"]
    assert both["leak"]["sequences"] == 3
    assert both["leak"]["command"] == "pytest -m faults"
    assert both["leak"]["date"] > "2019-12-16"
    assert both["leak"]["machine"]["cores"] > 0


def test_figures_are_written_only_if_a_file_is_given(
    pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(pytestconfig, "workeroutput", raising=False)  # as the first of several processes

    class Session:
        config = pytestconfig

    path: Path | None = pytestconfig.option.faults_json
    kept = pytestconfig.stash.get(FIGURES, {})
    try:
        pytestconfig.stash[FIGURES] = {"leak": {"sequences": 3}}
        pytestconfig.option.faults_json = None
        pytest_sessionfinish(Session)  # type: ignore[arg-type]
        pytestconfig.option.faults_json = tmp_path / "faults.json"
        pytest_sessionfinish(Session)  # type: ignore[arg-type]
        pytest_sessionfinish(Session)  # type: ignore[arg-type]
    finally:
        pytestconfig.option.faults_json = path
        pytestconfig.stash[FIGURES] = kept
    assert [file.name for file in tmp_path.iterdir()] == ["faults.json"]
    assert json.loads((tmp_path / "faults.json").read_text())["leak"]["sequences"] == 3
