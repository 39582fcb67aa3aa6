"""JSON Schemas of the files of a run, and the tables of their fields on a page: `make commands`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from inference.outputs.run_file import RUN, STATUS
from inference.records.jsonl import HEADER
from inference.records.schema import RecordLine

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = ROOT / "inference" / "schemas"
PAGE = ROOT / "docs" / "reference" / "run-json.md"
KINDS: dict[str, TypeAdapter[Any]] = {
    "run": RUN,
    "status": STATUS,
    "records-header": HEADER,
    "record": TypeAdapter(RecordLine),
}
TABLE = re.compile(r"(<!-- made by `make commands`: (\S+) -->\n\n).*?(?=\n\n|\n\Z)", re.DOTALL)
"""A comment with the name of a schema, and the table below it."""


class _WithoutTitles(GenerateJsonSchema):
    """Titles would repeat the names."""

    def field_title_should_be_set(self, _: Any) -> bool:
        return False


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema of a file, or of a line of the records."""
    fields = KINDS[name]
    # All fields of a header are written, and only unusual ones of a record.
    mode: Any = "serialization" if name == "records-header" else "validation"
    content = fields.json_schema(schema_generator=_WithoutTitles, mode=mode)
    content.pop("discriminator", None)  # OpenAPI has it, JSON Schema does not
    return {"$schema": GenerateJsonSchema.schema_dialect, **content}


def table_of(schema: dict[str, Any]) -> str:
    """The fields as a table; with a column for the `status` of the runs that have them, if there are several kinds."""
    kinds = [_resolved(one, schema) for one in schema.get("oneOf", [schema])]
    found: dict[tuple[str, str], dict[str, bool]] = {}
    for kind in kinds:
        for name, meaning, is_required in _fields(kind, schema):
            status = kind["properties"].get("status", {}).get("const", "")
            found.setdefault((name, meaning), {})[status] = is_required
    rows = [("field", "status", "meaning"), ("---",) * 3]
    names = [name for name, _ in found]
    for (name, meaning), where in sorted(found.items(), key=lambda one: names.index(re.split(r"[.[]", one[0][0])[0])):
        is_everywhere = len(where) == len(kinds) and len({*where.values()}) == 1
        shown = {"all": where.popitem()[1]} if is_everywhere else where
        runs = ", ".join(status + " (optional)" * (not is_required) for status, is_required in shown.items())
        rows.append((f"`{name}`", runs, meaning))
    if len(kinds) == 1:
        rows = [(name + " (optional)" * runs.endswith("(optional)"), meaning) for name, runs, meaning in rows]  # type: ignore[misc]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def with_tables(page: str) -> str:
    """The page with the tables of today."""
    return TABLE.sub(lambda match: match[1] + table_of(schema_of(match[2])), page)


def _resolved(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A part of a schema with the definition that it refers to."""
    name = part.get("$ref", "").removeprefix("#/$defs/")
    return {**schema["$defs"][name], **part} if name else part


def _fields(part: dict[str, Any], schema: dict[str, Any], above: str = "") -> Iterator[tuple[str, str, bool]]:
    """Name, meaning and whether it is required, of every field at any depth."""
    for name, one in part["properties"].items():
        content = _resolved(one, schema)
        yield above + name, content["description"].removesuffix("."), name in part.get("required", ())
        inner = _resolved(content.get("items", content), schema)
        if "properties" in inner:
            yield from _fields(inner, schema, f"{above}{name}{'[]' * ('items' in content)}.")


if __name__ == "__main__":
    for name in KINDS:
        (SCHEMAS / f"{name}.schema.json").write_text(json.dumps(schema_of(name), indent=1) + "\n")
    PAGE.write_text(with_tables(PAGE.read_text()))
