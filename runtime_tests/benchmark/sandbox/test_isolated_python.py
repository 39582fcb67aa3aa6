"""The interpreter of a participant's program, and what reports write about it."""

import site
from pathlib import Path

import pytest

from benchmark.sandbox.isolated_python import surroundings


def test_the_rest_of_a_package_that_was_removed_is_not_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "removed-1.0.dist-info").mkdir()
    (tmp_path / "whole-2.5.dist-info").mkdir()
    (tmp_path / "whole-2.5.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: Whole\nVersion: 2.5\n")
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path)])
    assert surroundings()["packages"] == {"whole": "2.5"}
