"""Variables that libraries read at import."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.settings import environment
from inference.settings.environment import set_library_defaults

NAMES = ("TF_CPP_MIN_LOG_LEVEL", "OPENBLAS_NUM_THREADS", "TF_ENABLE_ONEDNN_OPTS")


@pytest.mark.parametrize(("has_gpu", "onednn"), [(True, "0"), (False, None)])
def test_onednn_is_off_where_there_is_a_gpu(
    has_gpu: bool, onednn: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variables: dict[str, str] = {}
    monkeypatch.setattr("os.environ", variables)
    monkeypatch.setattr(environment, "GPU_DRIVER", tmp_path if has_gpu else tmp_path / "none")
    set_library_defaults()
    assert [variables.get(name) for name in NAMES] == ["2", "1", onednn]


def test_values_of_the_user_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variables = {"TF_ENABLE_ONEDNN_OPTS": "1", "OPENBLAS_NUM_THREADS": "4"}
    monkeypatch.setattr("os.environ", variables)
    monkeypatch.setattr(environment, "GPU_DRIVER", tmp_path)
    set_library_defaults()
    assert [variables.get(name) for name in NAMES] == ["2", "4", "1"]
