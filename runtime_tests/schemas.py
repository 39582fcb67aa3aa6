"""The files of a run under their JSON Schemas, as an independent program understands those."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import inference
from inference.records.jsonl import content_of_line

SCHEMAS = Path(inference.__file__).parent / "schemas"


@cache
def validator(name: str) -> Any:
    """Of jsonschema, which frictionless brings."""
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    kind = import_module("jsonschema").Draft202012Validator
    kind.check_schema(schema)
    return kind(schema)


def contents(folder: Path) -> Iterator[tuple[str, Any]]:
    """Name of the schema and content of each file and line of a run."""
    for name in ("run", "status"):
        if (folder / f"{name}.json").exists():
            yield name, json.loads((folder / f"{name}.json").read_text())
    if (folder / "records.jsonl").exists():
        header, *records = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
        yield "records-header", content_of_line(header)
        yield from (("record", content_of_line(line)) for line in records)


def assert_valid(folder: Path) -> None:
    """Every file of a run fits its schema."""
    if find_spec("jsonschema"):
        for name, content in contents(folder):
            problems = [f"{name}: {one.json_path}: {one.message[:200]}" for one in validator(name).iter_errors(content)]
            assert not problems
