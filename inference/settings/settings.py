"""Operational settings: how to run. The science is in the bundle."""

import os
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference.core.choices import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_READ_TIMEOUT,
    GPU_BATCH_SIZE,
    GPU_DRIVER,
    DecoderName,
    Device,
    EngineName,
    LogFormat,
    Precision,
)
from inference.core.config_files import first_problem
from inference.core.errors import UsageError
from inference.settings.packages import is_installed
from inference.settings.units import LONGEST_SECONDS, Seconds, Share

ENVIRONMENT_PREFIX = "HAKUNA_"
TEST_VARIABLES = frozenset(
    {
        *("HAKUNA_REQUIRE_REFERENCE", "HAKUNA_REQUIRE_CONTAINER", "HAKUNA_CONTAINER_CACHE"),
        *("HAKUNA_REQUIRE_TOOLS", "HAKUNA_KEEP_SCREENSHOTS"),
    }
)
FOREIGN_VARIABLES = TEST_VARIABLES | {"HAKUNA_IMAGE", "HAKUNA_RUNNER", "HAKUNA_SCRATCH", "HAKUNA_DEMO_BUNDLE"}
"""Variables of the test suite, and of the container and its rehearsals, which share the prefix."""
Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """Settings of one run; each can come from the environment, e.g. HAKUNA_WORKERS, or the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    workers: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, le=256)
    """Threads that read and decode photos ahead of the networks."""
    batch_size: int | None = Field(default=None, ge=1, le=1024)
    """Sequences that go through the networks together; does not change the result."""
    device: Device = Device.AUTO
    """Where networks run and DALI decodes."""
    decoder: DecoderName = DecoderName.AUTO
    engine: EngineName = EngineName.AUTO
    precision: Precision = Precision.FLOAT32
    max_loss_increase: Share | None = Field(default=None, gt=0)
    """Increase of the expected log loss at which a lower precision is accepted, relative to it, also as a string such as `0.1%`."""
    budget: Seconds | None = Field(default=None, gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)
    """Time limit for a complete submission: seconds, or a string such as `8h`."""
    max_failures: Share = Field(default=1.0, ge=0, le=1)
    """Share of the photos that may fail, also as a string such as `5%`; if more fail, no submission is written."""
    read_timeout: Seconds = Field(default=DEFAULT_READ_TIMEOUT, gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)
    """Time limit in seconds for reading a photo."""
    log_format: LogFormat = LogFormat.AUTO
    """By default console lines on a terminal, JSON lines elsewhere."""

    @property
    def sequences_per_batch(self) -> int:
        """The batch size, by default the one for the device that will run the networks."""
        may_use_gpu = self.device is not Device.CPU and self.engine is not EngineName.OPENVINO
        has_gpu = self.device is Device.GPU or (GPU_DRIVER.exists() and is_installed(EngineName.TENSORFLOW))
        return self.batch_size or (GPU_BATCH_SIZE if may_use_gpu and has_gpu else DEFAULT_BATCH_SIZE)


def load_settings(**given: Any) -> Settings:
    """Settings from the command line (None: not given), else the environment, else the defaults.

    Raises UsageError naming the option or the variable; unknown HAKUNA_* variables are refused too.
    """
    known = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in Settings.model_fields} | FOREIGN_VARIABLES
    unknown = sorted(name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX) and name not in known)
    if unknown:
        offered = ", ".join(sorted(known - TEST_VARIABLES))
        raise UsageError(f"environment: settings must be among {offered}, got {', '.join(unknown)}")
    return settings_of(Settings, given)


def settings_of(model: type[Model], given: dict[str, Any]) -> Model:
    """Settings from the given values (None: not given), else HAKUNA_* variables in any case, not empty, else the defaults.

    Raises UsageError naming the option or the variable. Plain pydantic: pydantic-settings takes 0.26 s to import.
    """
    variables = {name.upper(): value for name, value in os.environ.items()}
    found = {name: variables.get(f"{ENVIRONMENT_PREFIX}{name.upper()}") or None for name in model.model_fields}
    found |= {name: value for name, value in given.items() if value is not None}
    try:
        return model(**{name: value for name, value in found.items() if value is not None})
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        typed = given.get(name) is not None
        source = f"--{name.replace('_', '-')}" if typed else f"{ENVIRONMENT_PREFIX}{name.upper()}"
        problem = first_problem(error).removeprefix(f"{name}: ")
        raise UsageError(f"{source}: {problem}") from error
