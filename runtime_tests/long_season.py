"""A season that takes its time, and the outputs of a run that must be the same everywhere."""

from __future__ import annotations

from pathlib import Path

OUTPUTS = ("records.jsonl", "submission.csv", "failures.csv")


def contents(out: Path) -> dict[str, bytes]:
    """The outputs of a run, by name."""
    return {name: (out / name).read_bytes() for name in OUTPUTS}


def n_records(out: Path) -> int:
    """Records so far."""
    path = out / "records.jsonl"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


def long_tables(season: Path, n_times: int, folder: Path) -> tuple[object, ...]:
    """Options of `hakuna predict` for the photos of a season many times over, under other names of sequences."""
    for name in ("test_metadata.csv", "submission_format.csv"):
        header, *rows = (season / name).read_text().splitlines()
        column = header.split(",").index("seq_id")
        repeated = [header]
        for number in range(n_times):
            for row in rows:
                values = row.split(",")
                values[column] += f"x{number}"
                repeated.append(",".join(values))
        (folder / name).write_text("\n".join(repeated) + "\n")
    return "--metadata", folder / "test_metadata.csv", "--format", folder / "submission_format.csv"
