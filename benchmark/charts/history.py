"""The committed figures as one self-contained page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmark.charts.plots import stage_plot, throughput_plot
from benchmark.charts.style import svg
from benchmark.report.page import environment
from benchmark.timing.report import read_report
from inference.core.errors import UsageError
from inference.core.files import atomic_writer, read_json

PAGE_NAME, TEMPLATE_NAME = "index.html", "history.html.j2"
COMMAND = "hakuna bench page benchmark/results"
ORIGIN = frozenset({"date", "machine", "command", "what"})
"""Facts about the origin of figures, shown above them."""


def write_page(folder: Path) -> Path:
    """Draw every JSON file of a folder into its index.html. Raises UsageError if there are none."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise UsageError(f"FOLDER {folder}: must hold JSON files, got none")
    template = environment(Path(__file__).parent).get_template(TEMPLATE_NAME)
    page = folder / PAGE_NAME
    with atomic_writer(page) as file:
        file.write(template.render(command=COMMAND, sections=[_section(path) for path in files]) + "\n")
    return page


def _section(path: Path) -> dict[str, Any]:
    """The template's data for a file: the origin of its figures, then plots, or all plain values."""
    try:
        content: dict[str, Any] = read_json(path)
        facts = {"date": content.get("date"), **content.get("machine", {})}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: must be figures of `hakuna bench` or `study`, got: {error}") from error
    machine = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
    plots: list[Figure] = []
    rows: list[tuple[str, str]] = []
    if "schema_version" in content:
        report = read_report(path)
        plots = [stage_plot(report), throughput_plot(report)]
    elif "projections" not in content:  # the template has a table for these
        rows = list(_plain_values(content))
    # Inside the page, a plot does not need the XML header of a separate file.
    figures = [text[text.index("<svg") :] for text in map(svg, plots)]
    return {"name": path.name, "content": content, "machine": machine, "figures": figures, "rows": rows}


def _plain_values(value: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every plain value with the names that lead to it."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name not in ORIGIN:
                yield from _plain_values(one, (*names, name))
    elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
        for number, one in enumerate(value, 1):
            yield from _plain_values(one, (*names, f"{number}"))
    else:
        text = ", ".join(f"{one}" for one in value) if isinstance(value, list) else f"{value}"
        yield " ".join(names).replace("_", " "), text
