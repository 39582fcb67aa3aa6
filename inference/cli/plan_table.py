"""The figures of `hakuna plan` as a table for people."""

from collections.abc import Iterator
from typing import Any

from inference.bundle.passes import EFFORTS_IN_WORDS
from inference.settings.units import duration

GIB = 1 << 30
NAMES = {
    "photo_bytes": "size of the photos",
    "startup_seconds": "start",
    "seconds_per_sequence": "time per sequence",
    "fits": "fits the budget",
}
HUNDREDTHS = 0.01
"""Of a GiB, or of a second: smaller amounts are shown as less than that."""


def plan_rows(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and value of every known figure, with its unit."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _parts(name, value)
        elif value is not None and name != "first_problems":
            yield _row(name, value)


def _parts(name: str, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if name == "projected_seconds":
        yield from ((f"time with {EFFORTS_IN_WORDS[label]}", duration(value)) for label, value in values.items())
    else:
        yield name.replace("_", " "), ", ".join(f"{n:,} {one}" for one, n in values.items()) or "none"


def _row(name: str, value: Any) -> tuple[str, str]:
    words = name.split("_")
    shown = NAMES.get(name, " ".join(word for word in words if word not in ("bytes", "seconds")))
    if isinstance(value, bool):
        return shown, "yes" if value else "no"
    if "bytes" in words:
        return shown, _amount(value / GIB, "GiB")
    if name == "seconds_per_sequence":
        return shown, _amount(value, "s")
    if "seconds" in words:
        return shown, duration(value)
    return shown, f"{value:,}" if isinstance(value, int) else str(value)


def _amount(value: float, unit: str) -> str:
    return f"{value:,.2f} {unit}" if value >= HUNDREDTHS or not value else f"less than {HUNDREDTHS} {unit}"
