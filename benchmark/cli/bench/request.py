"""Shared parts of the `hakuna bench` and `study` commands; importing it loads nothing heavy."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.cli.printing import show_or_write
from inference.core.errors import UsageError
from inference.core.files import make_folder
from inference.settings.packages import how_to_install, is_installed

QUICK_REPEATS, REPEATS = 7, 9
STARTUP_REPEATS = 2
QUICK_IMAGES = (2, 16)
BACKBONE = "InceptionResNetV2"


@dataclass(frozen=True)
class HarnessRequest:
    """Options of the command line: networks and photos to time, and repeats."""

    data: Path | None = None
    bundle: Path | None = None
    backbone: str | None = None
    recipe: str = "third_place"
    quick: bool = False
    repeats: int | None = None
    cache_dir: Path | None = None

    @property
    def n_repeats(self) -> int:
        """Repeats of every stage."""
        return self.repeats or (QUICK_REPEATS if self.quick else REPEATS)


def check_tensorflow(option: str, purpose: str, instead: str = "") -> None:
    """Raise UsageError where TensorFlow is missing and an option needs it for this purpose; `instead` avoids it."""
    if not is_installed("tensorflow"):
        raise UsageError(
            f"{option}: must run where TensorFlow is installed, which {purpose}, got an environment without it",
            hint=f"{instead}{how_to_install('train')}",
        )


def command_line() -> str:
    """The command in a form that a reader can repeat: without folders of this machine."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return " ".join(["hakuna", *words])


def show_figures(figures: dict[str, Any], target: Path | None) -> None:
    """Print figures as JSON, and keep them where `--json` names a file."""
    from rich.console import Console

    show_or_write(figures, target, lambda: Console().print_json(data=figures))


@contextmanager
def working_in(cache_dir: Path | None) -> Iterator[Path]:
    """Begin to log; the folder that was given, or a temporary one."""
    from inference.settings.logs import configure_logging

    configure_logging("auto")
    with nullcontext(cache_dir) if cache_dir else tempfile.TemporaryDirectory(prefix="hakuna-bench-") as folder:
        make_folder(Path(folder))
        yield Path(folder)


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Log errors only: other lines of a single run would be repeated a thousand times."""
    import logging

    import structlog

    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)
