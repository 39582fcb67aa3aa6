"""Progress on a terminal: one line with the phase, and a bar if the number of items is known."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from inference.process.progress import Progress


@contextmanager
def live_progress(phase: Callable[[], str]) -> Iterator[Progress]:
    """Show a line on standard error until the block ends; yields the callback for progress. 0 items: number unknown."""
    counted = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    columns = (SpinnerColumn(), _Phase(phase), *map(_WhenKnown, counted))
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("", total=None, rate="", start=False)

    def on_progress(n_done: int, n_all: int) -> None:
        bar.start_task(task)
        speed = bar.tasks[task].speed
        bar.update(task, completed=n_done, total=n_all or None, rate=f"{speed:.2f}/s" if speed else "")

    with suppress(OSError):
        bar.start()
        bar.console.show_cursor(show=True)  # a second Ctrl-C ends the process while the bar is shown
    _shown.append(bar)
    try:
        yield on_progress
    finally:
        remove_line()


def remove_line() -> None:
    """Remove the line, if one is shown; any thread may do so."""
    with suppress(OSError, IndexError):  # the terminal may be closed; the work is done anyway
        _shown.pop().stop()


_shown: list[Bar] = []


class _Phase(ProgressColumn):
    """The phase, and the number of finished items if their total is unknown."""

    def __init__(self, phase: Callable[[], str]) -> None:
        super().__init__()
        self._phase = phase

    def render(self, task: Task) -> Text:
        is_counted = task.completed and not task.total
        return Text(f"{self._phase()} {int(task.completed):,}" if is_counted else self._phase())


class _WhenKnown(ProgressColumn):
    """A column that is blank while the number of items is unknown."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__()
        self._column = column

    def render(self, task: Task) -> RenderableType:
        return self._column.render(task) if task.total else Text()
