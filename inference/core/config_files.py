"""Workloads and device profiles are data: TOML files beside the code, or anywhere else."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from inference.core.errors import UsageError

SUFFIX = ".toml"


class Strict(BaseModel):
    """What is read from files is checked, and unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


def load_data_file(option: str, name_or_path: str, folder: Path, model: type[Model]) -> Model:
    """Read a file of the project by name, or any file by path (ending in .toml). Raises UsageError."""
    source = Path(name_or_path) if name_or_path.endswith(SUFFIX) else folder / f"{name_or_path}{SUFFIX}"
    known = ", ".join(sorted(path.stem for path in folder.glob(f"*{SUFFIX}")))
    try:
        content = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{option} {name_or_path}: must be one of {known}, or a readable {SUFFIX} file, "
            f"got: {error.strerror or error}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{source}: must be TOML, got: {error}") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise UsageError(f"{source}: {where}: {first['msg']}") from error
