"""Data files: one strict model, one TOML reader, one format for errors."""

import re
import reprlib
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from inference.core.errors import HakunaError, UsageError
from inference.core.files import os_errors

TOML = ".toml"
MOST_BITS_SHOWN = 64
PLAIN_WORDS = {
    "missing": "must be given",
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "model_type"), "must be a table"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    "string_type": "must be text",
}
"""For pydantic's types of errors. Its own messages name types of Python."""
SHOULD = re.compile(r"^\w+ should ")


class Strict(BaseModel):
    """An immutable model that rejects unknown keys, infinities and NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


def load_toml(
    option: str,
    name_or_path: str | Path,
    model: type[Model],
    *,
    folder: Path | None = None,
    error: type[HakunaError] = UsageError,
) -> Model:
    """Read a TOML file by path or, with a `folder` of the project, by the name of one of its files.

    Anything that ends in .toml is a path. Raises UsageError if the file cannot be read or is not TOML, and `error` if
    its content does not fit the model. Each message names the option and the file.
    """
    source, wanted = Path(name_or_path), f"a readable {TOML} file"
    if folder:
        wanted = f"one of {', '.join(sorted(path.stem for path in folder.glob(f'*{TOML}')))} or {wanted}"
        source = source if source.suffix == TOML else folder / f"{source}{TOML}"
    where = f"{option} {name_or_path}"
    try:
        with os_errors(UsageError, f"{where}: must be {wanted}"):
            content = tomllib.loads(source.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as problem:  # invalid TOML, invalid UTF-8, numbers with thousands of digits
        raise UsageError(f"{where}: must be TOML in UTF-8, got: {problem}") from problem
    try:
        return model.model_validate(content)
    except ValidationError as problem:
        raise error(f"{where}: {first_problem(problem, model, content)}") from problem


def first_problem(error: ValidationError, model: type[BaseModel] | None = None, content: object = None) -> str:
    """The first validation error: field, rule, value (unless it is a table) and the number of errors.

    A key that is not known goes first, with the one of the `model` that it may stand for: it explains a missing one.
    Where `content` is given, tables in its lists are counted from 1 and named by their `id` or `name`.
    """
    errors = error.errors()
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    where, given = _place(first["loc"], content), first["input"]
    count = f" ({len(errors)} errors)" if len(errors) > 1 else ""
    if first["type"] == "extra_forbidden":
        missing = [
            str(one["loc"][-1]) for one in errors if one["type"] == "missing" and one["loc"][:-1] == first["loc"][:-1]
        ]
        known = [*missing, *(model.model_fields if model and len(first["loc"]) == 1 else ())]
        meant = get_close_matches(str(first["loc"][-1]), known, 1)
        return f"{where}: unknown key{f'; did you mean {meant[0]}?' if meant else ''}{count}"
    # Our own validators already include the value. Numbers with thousands of digits are not printed.
    is_short = isinstance(given, str | float) or (isinstance(given, int) and given.bit_length() <= MOST_BITS_SHOWN)
    got = f", got {reprlib.repr(given)}" if is_short and first["type"] not in ("value_error", "missing") else ""
    message = PLAIN_WORDS.get(first["type"]) or SHOULD.sub("must ", first["msg"].removeprefix("Value error, "))
    return f"{where}: {message}{got}{count}".removeprefix(": ")


def _place(keys: tuple[int | str, ...], content: object) -> str:
    """`deployment 2 (river), latitude` for `deployments.1.latitude`."""
    place = ""
    for key in keys:
        try:
            content = content[key]  # type: ignore[index]  # else no table or list, or without this key
        except (TypeError, LookupError):
            content = None
        if isinstance(key, int) and isinstance(content, dict):
            name = content.get("id") or content.get("name")
            place = f"{place.removesuffix('s')} {key + 1}{f' ({name})' if isinstance(name, str) else ''}, "
        else:
            place += f"{'.' if place and not place.endswith(', ') else ''}{key}"
    return place.removesuffix(", ")
