"""The committed figures as one page that needs nothing but itself."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmark.charts.plots import stage_plot, throughput_plot
from benchmark.charts.style import COLOURS, LINE_HEIGHT, STYLE, WIDTH, svg
from benchmark.timing.report import BenchReport, read_report
from inference.core.errors import UsageError
from inference.core.files import atomic_writer

PAGE_NAME = "index.html"
COMMAND = "hakuna bench page benchmark/results"
ORIGIN = frozenset({"date", "machine", "command", "what"})
"""Facts about where figures come from, which are shown above them."""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Hakuna Runtime: committed figures</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  background: Canvas; color: CanvasText; }}
svg {{ background: white; max-width: 100%; height: auto; border-radius: 6px; }}
table {{ border-collapse: collapse; }}
td, th {{ border: 1px solid GrayText; padding: 0.2rem 0.6rem; text-align: left; }}
code {{ font-size: 0.9em; }}
@media print {{ section {{ break-inside: avoid; }} }}
</style></head><body>
<h1>Committed figures</h1>
<p>Every JSON file of this folder, drawn by <code>{command}</code>. Compare figures of the same machine only.</p>
{sections}
</body></html>
"""


def write_page(folder: Path) -> Path:
    """Draw every JSON file of a folder into its index.html. Raises UsageError where there is none."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise UsageError(f"FOLDER {folder}: must hold JSON files, got none")
    sections = "\n".join(_section(path) for path in files)
    page = folder / PAGE_NAME
    with atomic_writer(page) as file:
        file.write(PAGE.format(command=COMMAND, sections=sections))
    return page


def _section(path: Path) -> str:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    parts = [f"<section><h2>{html.escape(path.name)}</h2>"]
    if "what" in content:
        parts.append(f"<p>{html.escape(str(content['what']))}</p>")
    if "command" in content:
        parts.append(f"<p><code>{html.escape(str(content['command']))}</code></p>")
    parts.append(_machine({"date": content.get("date"), **content.get("machine", {})}))
    if "schema_version" in content:
        parts += _report_plots(read_report(path))
    elif "trials" in content:
        parts.append(_inline(trials_plot(content["trials"])))
    elif "experiments" in content:
        parts.append(_experiments(content["experiments"], content["max_regression"]))
    elif "projections" in content:
        parts.append(_projections(content["projections"]))
    else:
        parts.append(_facts(content))
    return "\n".join([*parts, "</section>"])


def _report_plots(report: BenchReport) -> list[str]:
    return [_inline(stage_plot(report)), _inline(throughput_plot(report))]


def _inline(figure: Figure) -> str:
    """A figure without what only a file of its own needs."""
    text = svg(figure)
    return text[text.index("<svg") :]


def trials_plot(trials: list[dict[str, Any]]) -> Figure:
    """Predicted beside real seconds of each workload."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.2 + 3 * LINE_HEIGHT * len(trials)), layout="constrained")
        axes = figure.subplots()
        for row, trial in enumerate(trials):
            axes.barh(row - 0.2, trial["real_seconds"], 0.38, color=COLOURS[0], label="real" if not row else None)
            axes.barh(
                row + 0.2,
                trial["predicted_seconds"],
                0.38,
                color="white",
                edgecolor=COLOURS[1],
                hatch="///",
                label="predicted" if not row else None,
            )
            axes.annotate(
                f"{trial['error']:+.1%}",
                (trial["predicted_seconds"], row + 0.2),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(range(len(trials)), [f"{trial['workload']} ({trial['sequences']})" for trial in trials])
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel("seconds")
        axes.legend(loc="best")
    return figure


def _experiments(experiments: list[dict[str, Any]], max_regression: float) -> str:
    rows = [
        (
            one["experiment"],
            ", ".join(one["must_fail"]) or "nothing",
            ", ".join(one["failed"]) or "nothing",
            f"{max(one['largest_regressions'].values()):.2f}",
            f"{one['largest_slow_down_on_the_clock']:.2f}",
            "yes" if one["as_expected"] else "no",
        )
        for one in experiments
    ]
    head = (
        "experiment",
        "must fail",
        "failed",
        f"largest regression (bound {max_regression:g})",
        "largest slow-down on the clock",
        "as expected",
    )
    return _table(head, rows)


def _projections(projections: list[dict[str, Any]]) -> str:
    kinds = list(dict.fromkeys((one["precision"], one["level"]) for one in projections))
    ensembles = list(dict.fromkeys(one["ensemble"] for one in projections))
    hours = {(one["ensemble"], one["precision"], one["level"]): one for one in projections}
    rows = [
        (name, *(f"{hours[name, *kind]['hours']:.1f} h{' *' if hours[name, *kind]['fits'] else ''}" for kind in kinds))
        for name in ensembles
    ]
    return _table(("ensemble", *(" ".join(kind) for kind in kinds)), rows) + "<p>* fits the budget</p>"


def _machine(facts: dict[str, Any]) -> str:
    return f"<p>{html.escape(', '.join(f'{name} {value}' for name, value in facts.items() if value is not None))}</p>"


def _facts(content: dict[str, Any]) -> str:
    """Anything else: every plain value with the names that lead to it."""
    shown = {name: value for name, value in content.items() if name not in ORIGIN}
    return _table(("figure", "value"), list(_plain_values(shown)))


def _plain_values(value: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name not in ORIGIN:
                yield from _plain_values(one, (*names, name))
    elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
        for number, one in enumerate(value, 1):
            yield from _plain_values(one, (*names, f"{number}"))
    else:
        told = ", ".join(f"{one}" for one in value) if isinstance(value, list) else f"{value}"
        yield " ".join(names).replace("_", " "), told


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
