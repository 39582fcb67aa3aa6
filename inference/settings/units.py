"""Durations and shares in everyday notation."""

import math
import re
from typing import Annotated

from pydantic import BeforeValidator

LONGEST_SECONDS = 366 * 24 * 3600
"""Threads cannot wait longer than a few hundred years; no real limit exceeds a year."""
UNIT_SECONDS = {"h": 3600, "m": 60, "s": 1}
NUMBER = r"(\d+(?:\.\d+)?)"
DURATION = re.compile(rf"(?:{NUMBER}\s*h)?\s*(?:{NUMBER}\s*m)?\s*(?:{NUMBER}\s*s?)?")


def seconds_of(value: object) -> object:
    """`8h`, `1h 30m`, `90s`, `90` -> seconds; anything but a string is returned unchanged."""
    if not isinstance(value, str):
        return value
    match = DURATION.fullmatch(value.strip())
    if not match or not any(match.groups()):
        raise ValueError(f"must be a duration such as 8h, 1h30m, 45m or 90s (a number alone is seconds), got {value!r}")
    return sum(
        float(number) * factor
        for number, factor in zip(match.groups(), UNIT_SECONDS.values(), strict=True)
        if number is not None
    )


def duration(seconds: float) -> str:
    """Seconds in readable units."""
    if seconds < 100:  # noqa: PLR2004  # two digits and one behind the point
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def amount_of_bytes(n_bytes: float) -> str:
    """Bytes in the largest unit that gives at least 0.1.

    >>> amount_of_bytes(200_000), amount_of_bytes(3 << 30)
    ('0.19 MiB', '3.00 GiB')
    """
    amount, unit = n_bytes / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if amount >= 0.1 * 1024:
            amount, unit = amount / 1024, larger
    return f"{amount:,.2f} {unit}"


def share_of(value: object) -> float:
    """`5%` or `0.05` -> 0.05. Raises ValueError if it is not a share; for `5` the message suggests the percent sign."""
    text = str(value).strip()
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    share = number / 100 if text.endswith("%") else number
    if not 0 <= share <= 1:
        meant = f"; did you mean {text}%?" if 1 < share <= 100 and not text.endswith("%") else ""  # noqa: PLR2004
        raise ValueError(f"must be a share such as 5% or 0.05, got {text!r}{meant}")
    return share


Seconds = Annotated[float, BeforeValidator(seconds_of)]
Share = Annotated[float, BeforeValidator(share_of)]
