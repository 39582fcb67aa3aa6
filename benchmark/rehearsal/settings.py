"""Operational settings of the contract's runner: the container's environment, or the command line of a rehearsal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from benchmark.sandbox.contract import TIME_LIMIT_SECONDS
from inference.core.errors import UsageError
from inference.settings.settings import ENVIRONMENT_PREFIX, load_settings
from inference.settings.units import Seconds


class ContractSettings(BaseSettings):
    """Settings that come from the environment, e.g. HAKUNA_SCRATCH, or the command line."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="ignore", frozen=True)

    budget: Seconds = Field(default=TIME_LIMIT_SECONDS, gt=0)
    """Seconds, or a text such as `8h`, after which a participant's program is stopped."""
    scratch: Path | None = None
    """Folder on a disk with room for an unpacked archive; default: that for temporary files."""
    demo_bundle: Path | None = None
    """Bundle for predictions where none is mounted."""
    image: str = "hakuna-runtime:cpu"
    """Docker image of a rehearsal."""


def load_contract_settings(**given: Any) -> ContractSettings:
    """Settings from the command line (None: not given), else the environment, else the defaults.

    Raises UsageError naming the setting; unknown HAKUNA_* variables are refused too, and those of a prediction checked.
    """
    load_settings()
    try:
        return ContractSettings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"setting {name}: {first['msg']}, got {first['input']!r}") from error
