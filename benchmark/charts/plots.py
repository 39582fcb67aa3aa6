"""Plots of a timing run. Black on white, so that they are readable in print and as a card on a dark page.

Lines differ by marker and dash as well as by colour (Okabe and Ito's, which are distinct for colour-blind people).
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.capacity.projection import ENSEMBLES, LABEL, MEASURED, project
from benchmark.capacity.rates import measured_rates
from benchmark.capacity.workloads import load_workload
from benchmark.charts.style import COLOURS, DASHES, LINE_HEIGHT, MARKERS, PLOT_HEIGHT, STYLE, WIDTH, svg
from benchmark.timing.report import BenchReport, StageFigures
from inference.bundle.manifest import Manifest
from inference.core.choices import Precision
from inference.core.files import atomic_writer, make_folder
from models.spec.contract import SERENGETI_2019

SEQUENCE_COUNTS = (100, 1_000, 10_000, 100_000, 1_000_000)
HOUR = 3600.0
COMPETITION_HOURS = round(SERENGETI_2019.time_limit / HOUR)
WORKLOAD = "season11"


def write_plots(report: BenchReport, manifest: Manifest, folder: Path) -> list[Path]:
    """Write every plot that the report has figures for; returns their files."""
    make_folder(folder)
    figures = {"stages": stage_plot(report), "throughput": throughput_plot(report)}
    if report.startup_seconds:
        figures["cost"] = cost_plot(report, manifest)
    for name, figure in figures.items():
        with atomic_writer(folder / f"{name}.svg") as file:
            file.write(svg(figure))
    return [folder / f"{name}.svg" for name in figures]


def stage_plot(report: BenchReport) -> Figure:
    """Milliseconds of every stage for one photo, sequence or image, with its quartiles."""
    largest = max((one.n_units for one in report.of_group("network")), default=0)
    shown = [one for one in report.stages if one.group != "network" or one.n_units == largest]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.2 + LINE_HEIGHT * len(shown)), layout="constrained")
        axes = figure.subplots()
        groups = list(dict.fromkeys(one.group for one in shown))
        for row, one in enumerate(shown):
            ms = one.seconds.times(1000 / one.n_units)
            axes.barh(row, ms.median, color=COLOURS[groups.index(one.group)], height=0.7)
            axes.errorbar(ms.median, row, xerr=[[ms.median - ms.low], [ms.high - ms.median]], color="black", capsize=2)
            _annotate(axes, f"{ms.median:.3g}", (ms.high, row), (4, 0), va="center")
        axes.set_yticks(range(len(shown)), [f"{one.name}, per {one.unit.rstrip('s')}" for one in shown])
        axes.invert_yaxis()
        axes.set(xscale="log", xlabel="milliseconds (median; whiskers: quartiles)", title=f"Stages, {_where(report)}")
        axes.set_xlim(right=2 * axes.get_xlim()[1])  # room for the last number
    return figure


def _annotate(axes: Axes, text: str, at: tuple[float, float], offset: tuple[int, int], **style: Any) -> None:
    """Small text beside a point, `offset` in points."""
    axes.annotate(text, at, xytext=offset, textcoords="offset points", fontsize=8, **style)


def throughput_plot(report: BenchReport) -> Figure:
    """Images per second of every network against the number of images in a call."""
    lines: dict[tuple[str, str, str], list[StageFigures]] = {}
    for one in report.of_group("network"):
        lines.setdefault((f"{one.network}", f"{one.height}x{one.width}", f"{one.precision}"), []).append(one)
    networks = list(dict.fromkeys(name for name, _, _ in lines))
    kinds = list(dict.fromkeys((size, precision) for _, size, precision in lines))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, PLOT_HEIGHT), layout="constrained")
        axes = figure.subplots()
        for (name, size, precision), stages in lines.items():
            k, kind = networks.index(name), kinds.index((size, precision))
            axes.plot(
                [one.n_units for one in stages],
                [one.per_second for one in stages],
                color=COLOURS[k % len(COLOURS)],
                marker=MARKERS[k % len(MARKERS)],
                linestyle=DASHES[kind % len(DASHES)],
                label=f"{name} {size} {precision}",
            )
        counts = sorted({one.n_units for one in report.of_group("network")})
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(one) for one in counts])
        axes.set_ylim(bottom=0)
        axes.set(xlabel="images in a call, mirror images included", ylabel="images a second")
        axes.set_title(f"Networks, {_where(report)}")
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=4)
    return figure


def cost_plot(report: BenchReport, manifest: Manifest) -> Figure:
    """Projected hours against the number of sequences, one line per ensemble."""
    rates = measured_rates(report, Precision.FLOAT32)
    season = load_workload(WORKLOAD)
    projected = [
        project(season, manifest, rates, ensemble=one, precision=Precision.FLOAT32, level=MEASURED) for one in ENSEMBLES
    ]
    hours = np.array([[replace(one, sequences=n).seconds / HOUR for one in projected] for n in SEQUENCE_COUNTS])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, PLOT_HEIGHT), layout="constrained")
        axes = figure.subplots()
        for k, ensemble in enumerate(ENSEMBLES):
            axes.plot(SEQUENCE_COUNTS, hours[:, k], color=COLOURS[k], marker=MARKERS[k], label=ensemble.label)
        axes.axhline(COMPETITION_HOURS, color="black", linestyle="--", linewidth=1)
        _annotate(axes, f"{COMPETITION_HOURS} hours", (SEQUENCE_COUNTS[0], COMPETITION_HOURS), (0, 3))
        axes.axvline(season.sequences, color="black", linestyle=":", linewidth=1)
        _annotate(axes, season.name, (season.sequences, hours.min()), (3, 0))
        axes.set(xscale="log", yscale="log", xlabel="sequences", ylabel="hours")
        axes.set_title(f"{LABEL.capitalize()} in float32, {_where(report)}")
        axes.legend(fontsize=8)
    return figure


def _where(report: BenchReport) -> str:
    return f"{report.machine['cores']} cores of {report.machine['cpu']}, {report.settings.engine}"
