"""State shared by the parts of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.ensemble.estimator import Estimator
from inference.execution.executor import Executor
from inference.execution.job import Job, RunOptions
from inference.outputs.provisional import Provisional
from inference.outputs.run_report import RunMetadata
from inference.process.progress import Progress, RunState
from inference.process.stopwatch import Stopwatch
from inference.records.schema import RECORDS_NAME, RecordsHeader

ExecutorFactory = Callable[[Job, RunOptions, Stopwatch, Callable[[], None]], Executor]
"""Makes the executor of a job, like `local_executor`."""


@dataclass(frozen=True)
class RunContext:
    """A run: its job, its outputs, its executor, and the state that it keeps up to date.

    Attributes
    ----------
    out : folder that only this run writes to
    header : header of the records that this run makes
    provisional : the submission that is complete at any moment; None without a budget, and for a shard
    witnesses : names of photos that existed at the start of the run
    probe_difference : largest difference between the answers to the probe of this run's networks and the header's
    """

    job: Job
    options: RunOptions
    out: Path
    header: RecordsHeader
    executor: Executor
    estimator: Estimator
    state: RunState
    stopwatch: Stopwatch
    on_progress: Progress
    provisional: Provisional | None = None
    witnesses: tuple[str, ...] = ()
    probe_difference: float = 0.0

    @property
    def records_path(self) -> Path:
        """Path of the records."""
        return self.out / RECORDS_NAME

    @property
    def max_loss_increase(self) -> float:
        """Largest accepted increase of the expected log loss by a lower precision, relative to it."""
        return self.job.max_loss_increase or self.job.bundle.manifest.ensemble.max_mixed_loss_increase

    def metadata(self, execution: dict[str, Any] | None = None) -> RunMetadata:
        """The facts about this run that go into `run.json`."""
        return RunMetadata(self.state, self.stopwatch, self.job.plan, self.options.budget, execution or {})
