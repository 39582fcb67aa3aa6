"""The order of things: photos -> records (phase 1), records -> submission (phase 2)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

from inference.core.choices import Precision
from inference.core.errors import DegradedError, InterruptedRunError, TooManyFailuresError
from inference.dataset.input_check import check_any_photo
from inference.ensemble.estimator import Estimator, priors_row
from inference.execution.job import Job, RunOptions
from inference.execution.worker import Worker
from inference.images.decoder import Decoder
from inference.networks.engine import Engine
from inference.outputs import run_report
from inference.outputs.provisional import Provisional, discard_provisional
from inference.outputs.run_report import RunMetadata
from inference.outputs.submission import FAILURES_NAME, SUBMISSION_NAME, write_failures
from inference.process.heartbeat import heartbeat
from inference.process.lock import OutputFolder
from inference.process.progress import RunState
from inference.process.watchdog import log_with_timeout, watchdog
from inference.records.jsonl import RecordWriter, read_records
from inference.records.schema import RECORDS_NAME, RecordsHeader
from inference.run.photos_to_records import (
    DeadlineState,
    Phase1,
    Progress,
    check_failures,
    deadline_policy,
    photos_to_records,
)
from inference.run.precision_selection import select_precision
from inference.run.records_to_submission import check_features_path, records_to_submission
from inference.run.resume import count_completed, resume_point

log = structlog.get_logger()

WRITES_RESERVED = 3
"""Times that writing a whole submission took at the beginning, which the last moment leaves for the last one."""


@dataclass(frozen=True)
class RunContext:
    """What a run was given and found: everything but the job."""

    out: OutputFolder
    options: RunOptions
    state: RunState
    engine: Engine
    decoder: Decoder
    estimator: Estimator
    facts: RunMetadata
    on_progress: Progress

    @property
    def records_path(self) -> Path:
        """Where the records are."""
        return self.out.path / RECORDS_NAME


def predict(
    job: Job, out: OutputFolder, options: RunOptions, on_progress: Progress, state: RunState | None = None
) -> dict[str, Any]:
    """Predict every sequence of the job and write everything into `out`; returns the content of `run.json`.

    Records of the same job that are already there are kept; a finished run is verified and left alone. A shard leaves
    records only: `hakuna merge` makes the submission. With a budget the process may end in here, at the last moment,
    with the best submission so far.
    """
    state = state or RunState()
    check_features_path(options.features_path, job.bundle.manifest)
    start = resume_point(job, out.path, options)
    header, engine, decoder = start.header, start.engine, start.decoder
    kept = count_completed(start, job, options, state)
    check_failures(job.n_photos, options, state)
    if kept.n_recovered and kept.is_complete:
        log.warning("photos that were missing are there by now; --restart predicts them too", count=kept.n_recovered)
    if (
        kept.is_complete
        and options.features_path is None
        and (report := run_report.verify(out.path, job.bundle, header))
    ):
        log.info(
            "already complete, verified, nothing changed",
            out=str(out.path),
            sequences=header.n_sequences,
            degraded=state.n_degraded,
        )
        return report
    if not kept.is_complete:
        check_any_photo(
            job.plan.sequences, job.storage(options.read_timeout), job.bundle.manifest.n_frames, state.check
        )
    facts = RunMetadata(plan=job.plan, state=state, budget=options.budget)
    context = RunContext(out, options, state, engine, decoder, Estimator(job.bundle), facts, on_progress)
    with heartbeat(state, out), ExitStack() as until_the_end:
        hurry = _hurry(job, header, context, until_the_end) if options.budget else None
        _log_job(job, engine, decoder, state.n_kept)
        if not kept.is_complete:
            _phase_1(job, header, context, hurry)
        check_failures(job.n_photos, options, state)
        if job.is_shard:
            return run_report.write_shard(out.path, header, job.bundle, facts)
        state.stage = "records to submission"
        report = records_to_submission(out.path, context.estimator, out.path, options.features_path, facts)
        discard_provisional(out.path)  # an earlier run with a budget may have left one
    return report


def _phase_1(job: Job, header: RecordsHeader, context: RunContext, hurry: DeadlineState | None) -> None:
    state, facts = context.state, context.facts
    work = Worker(job, context.options, context.decoder, facts.stopwatch, state.check)
    state.stage = "loading the networks"
    networks, precision = select_precision(work, context.engine, context.estimator, header.precision)
    with facts.stopwatch("load stackers"):
        context.estimator.load()  # what is wrong with them is told before the photos
    if hurry and precision["used"] == Precision.MIXED.value:
        hurry.can_try_mixed = False
    run_report.forget(context.out.path)
    writer = RecordWriter(context.records_path, replace(header, precision=precision), keep=state.n_kept)
    state.stage = "photos to records"
    try:
        photos_to_records(
            Phase1(work, context.engine, context.estimator, networks, writer, state, context.on_progress, hurry)
        )
    finally:
        writer.close()
        facts.overlap = work.overlap()


def _hurry(job: Job, header: RecordsHeader, context: RunContext, until_the_end: ExitStack) -> DeadlineState:
    """What a time budget adds: a pace, and a submission that is complete from now on and final at the last moment."""
    budget = context.options.budget
    if budget is None:
        raise ValueError("a run without a budget has no hurry")
    pace = deadline_policy(job, budget)
    provisional = None
    if not job.is_shard:
        provisional = Provisional(
            context.out.path,
            [sequence.seq_id for sequence in job.sequences],
            job.plan.labels,
            priors_row(job.bundle.manifest.priors),
            lambda records: context.estimator(records).probabilities,
        )
        provisional.write_if_due()

    def end_now() -> int:
        return _end_now(job, header, context, provisional, budget)

    cutoff = min(pace.cutoff, budget - WRITES_RESERVED * (provisional.write_seconds if provisional else 0.0))
    until_the_end.enter_context(watchdog(context.state, cutoff, end_now))
    if provisional:
        until_the_end.push(_final_if_there_is_none(context.out.path, provisional))
        if context.state.n_kept:
            context.estimator.load()
            for record in islice(read_records(context.records_path, header), context.state.n_kept):
                context.state.check()
                provisional.add([record])
    return DeadlineState(pace, provisional, can_try_mixed=context.engine.supports_mixed)


def _final_if_there_is_none(
    out: Path, provisional: Provisional
) -> Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], bool]:
    """A run with a budget that dies of an error leaves its best submission, unless an older one is there."""

    def on_end(_: object, error: BaseException | None, __: object) -> bool:
        no_submission_wanted = (TooManyFailuresError, InterruptedRunError)
        if error and not isinstance(error, no_submission_wanted) and not (out / SUBMISSION_NAME).exists():
            provisional.make_final()
        return False

    return on_end


def _end_now(
    job: Job, header: RecordsHeader, context: RunContext, provisional: Provisional | None, budget: float
) -> int:
    """The last moment has come: the best submission so far is the submission. Returns the exit code."""
    out, state = context.out.path, context.state
    if provisional is None:
        over = "time budget: over before the shard was complete; its records are kept, run again to go on"
        log_with_timeout(lambda: log.error(over))
        return DegradedError.exit_code
    n_real = provisional.make_final()
    if context.records_path.exists():
        own = islice(
            read_records(context.records_path, header), state.n_done
        )  # with --restart, others may still be there
        write_failures(out / FAILURES_NAME, own)
    run_report.write_out_of_time(out, job.bundle, n_real, state, budget)
    over = "time budget: over, the best submission so far is final"
    figures = {"finished": n_real, "with_priors": state.n_all - n_real, "stage": state.stage}
    log_with_timeout(lambda: log.warning(over, **figures))
    return DegradedError.exit_code if context.options.strict else 0


def _log_job(job: Job, engine: Engine, decoder: Decoder, n_kept: int) -> None:
    plan = job.plan
    log.info(
        "predict",
        sequences=len(plan.sequences),
        kept=n_kept,
        bundle=job.bundle.manifest.name,
        preset=job.preset.value,
        engine=str(engine),
        device=engine.device,
        decoder=decoder.name.value,
    )
    dropped = {
        "without metadata, get the priors": plan.n_without_metadata,
        "in the metadata but not in the submission format, left out": plan.n_not_in_format,
        "duplicate metadata rows, merged": plan.n_duplicate_rows,
    }
    for what, count in dropped.items():
        if count:
            log.warning("metadata", count=count, what=what)
    if plan.unreadable.n_rows:
        log.warning(
            "metadata: datetimes that are not YYYY-MM-DD HH:MM:SS, taken for unknown",
            count=plan.unreadable.n_rows,
            first=plan.unreadable.first,
        )
