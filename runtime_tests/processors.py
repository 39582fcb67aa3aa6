"""Other processors than the one at hand, as far as their description goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def with_processor(monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]) -> None:
    """Change the description of the processor."""
    real = Path.read_text

    def changed(path: Path, encoding: str | None = None) -> str:
        text = real(path, encoding)
        return change(text) if path == Path("/proc/cpuinfo") else text

    monkeypatch.setattr(Path, "read_text", changed)


def with_fast_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer mixed precision on every processor that has bfloat16, fast or not."""
    with_processor(monkeypatch, lambda text: f"{text} amx_bf16" if "avx512_bf16" in text else text)
