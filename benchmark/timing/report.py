"""The schema of `hakuna bench stages --json`, and a reader for it."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from benchmark.timing.measure import Group, Spread, Unit
from inference.core.config_files import Strict, first_problem
from inference.core.errors import UsageError
from inference.networks.forward import MAX_CALL_IMAGES

SCHEMA_VERSION = 1


class StageFigures(Strict):
    """One stage."""

    name: str
    group: Group
    unit: Unit
    n_units: int
    """Number of units that one call handles."""
    seconds: Spread
    """Seconds of one call."""
    per_second: float
    """Units per second, at the median."""
    load: float
    """Share of all cores that it kept busy, 0-1."""
    kernel: str
    ratio: Spread
    """Its time divided by that of the reference kernel just before and after, for comparisons."""
    cpu_ratio: Spread
    """The same in processor time, for comparisons while other processes take the cores."""
    kernel_load: float
    """Share of all cores that the kernel got; less than in another run means that other processes took cores."""
    height: int | None = None
    width: int | None = None
    n_frames: int | None = None
    network: str | None = None
    precision: str | None = None


class KernelFigures(Strict):
    """One reference kernel."""

    name: str
    seconds: Spread


class BundleFigures(Strict):
    """The networks that were timed."""

    name: str
    id: str
    demo: bool
    frames: int
    """Number of frames of a sequence that take part."""


class SettingFigures(Strict):
    """The settings of the timing run."""

    repeats: int
    workers: int
    batch_size: int
    """Number of sequences."""
    decoder: str
    engine: str
    device: str
    images_per_call: int = MAX_CALL_IMAGES
    """Most images in one call of a network; missing in reports of earlier versions."""


class ComparedFigures(Strict):
    """A stage beside the same stage of the baseline."""

    name: str
    kernel: str
    times_the_baseline: float
    ratio: float
    """First quartile of its time divided by the kernel's."""
    baseline_ratio: float
    is_disturbed: bool
    """Whether other processes took cores, so that its processor time counts too."""


class ComparisonFigures(Strict):
    """The result of `--compare`."""

    verdict: Literal["not slower", "slower"]
    max_regression: float
    baseline_date: str
    stages: tuple[ComparedFigures, ...]
    """The largest growth first."""
    notes: tuple[str, ...]


class BenchReport(Strict):
    """A whole timing run."""

    schema_version: Literal[1]
    date: str
    command: str
    machine: dict[str, str | int | None]
    bundle: BundleFigures
    settings: SettingFigures
    startup_seconds: Spread | None
    """Wall time of `hakuna predict` on a single photo: imports, networks, stackers, files. None: not timed."""
    kernels: tuple[KernelFigures, ...]
    stages: tuple[StageFigures, ...]
    comparison: ComparisonFigures | None = None
    """Only with `--compare`."""

    def stage(self, name: str) -> StageFigures | None:
        """A stage by name."""
        return next((one for one in self.stages if one.name == name), None)

    def of_group(self, group: Group) -> list[StageFigures]:
        """The stages of a group, in order."""
        return [one for one in self.stages if one.group == group]


def read_report(path: Path) -> BenchReport:
    """Read a report back. Raises UsageError."""
    try:
        return BenchReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: must be a readable report, got: {error.strerror or error}") from error
    except ValidationError as error:
        raise UsageError(
            f"{path}: must be a report of `hakuna bench stages` with schema {SCHEMA_VERSION}, got: {first_problem(error)}"
        ) from error
