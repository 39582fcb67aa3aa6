"""The content of a page -> one HTML file."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from benchmark.report.content import Content, Sources, content_of
from inference.bundle.passes import EFFORTS_IN_WORDS
from inference.core.errors import counted
from inference.core.files import atomic_writer
from inference.outputs.finished_run import FinishedRun
from inference.process.progress import Progress
from inference.settings.units import duration

CURVE_SIZE = 100
"""Side of the square in which a reliability curve is drawn."""
WORDS = {
    **EFFORTS_IN_WORDS,
    "load networks": "loading the networks",
    "load stackers": "loading the boosters that correct the networks",
    "photos": "reading the photos",
    "networks": "running the networks",
    "wait for photos": "networks waiting for photos",
    "decode (all workers)": "decoding the photos (all threads)",
    "views (all workers)": "resizing the photos (all threads)",
    "photos to records": "photos to stored answers",
    "aggregate, stack, write": "combining the answers, writing the submission",
}
"""Names of `run.json` in plain words."""
LIMITS = {"curves": 12, "most_groups": 12, "most_failures": 200, "most_doubts": 1000}
"""Most rows shown: curves of the classes that contribute most, sites, unused photos, sequences to check."""


def write_report(run: FinishedRun, sources: Sources, path: Path, on_progress: Progress | None = None) -> Content:
    """Write the page of a run; returns its content. `on_progress` is called with the number of drawn sequences."""
    content = content_of(run, sources, on_progress or (lambda *_: None))
    with atomic_writer(path) as file:
        file.write(render(content))
    return content


def render(content: Content) -> str:
    """The page. Everything that comes from files is escaped, and no script but the page's own may run."""
    pages = environment(Path(__file__).parent)
    pages.filters.update(counted=counted, percent=percent, points=points, duration=duration, csp_hash=csp_hash)
    return pages.get_template("report.html.j2").render(LIMITS, page=content, side=CURVE_SIZE, words=WORDS)


def environment(folder: Path) -> Environment:
    """The templates of a folder; their variables must be defined, and are escaped in HTML."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def csp_hash(script: str) -> str:
    """Name of a permitted script in a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def percent(share: float) -> str:
    """0.0123 as 1.2 %; a share above 0 is never shown as 0."""
    return "< 0.1 %" if 0 < share < 0.0005 else f"{share:.1%}".replace("%", " %")  # noqa: PLR2004  # rounds to nothing


def points(bins: list[tuple[float, float]]) -> str:
    """Points of an SVG line from shares of 0 to 1, y upwards."""
    return " ".join(f"{x * CURVE_SIZE:.1f},{(1 - y) * CURVE_SIZE:.1f}" for x, y in bins)
