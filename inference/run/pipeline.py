"""The order of the stages: photos -> records (phase 1), records -> submission (phase 2)."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any

import structlog

from inference.core.choices import Precision
from inference.core.errors import DegradedError, InterruptedRunError, TooManyFailuresError
from inference.core.files import output_errors
from inference.dataset.input_check import check_any_photo
from inference.ensemble.audit import verdict
from inference.ensemble.estimator import Estimator, priors_row
from inference.execution.deadline import CUTOFF_SHARE
from inference.execution.job import Job, RunOptions
from inference.execution.local_executor import local_executor
from inference.outputs import run_report
from inference.outputs.provisional import Provisional
from inference.outputs.submission import FAILURES_NAME, PARTIAL_NAME, SUBMISSION_NAME, failures_file
from inference.outputs.verify import intact_report
from inference.precision.betting import is_broken
from inference.process.heartbeat import heartbeat
from inference.process.lock import OutputFolder
from inference.process.progress import Progress, RunState
from inference.process.stopwatch import Stopwatch
from inference.process.watchdog import log_with_timeout, watchdog
from inference.records.jsonl import RecordWriter, read_header, read_records
from inference.records.schema import AUDIT_NAME
from inference.run.context import ExecutorFactory, RunContext
from inference.run.photos_to_records import check_failures, photos_to_records, policy_for
from inference.run.precision import audit, select_precision
from inference.run.records_to_submission import check_features_path, records_to_submission
from inference.run.resume import ResumePoint, resume_point, with_networks

log = structlog.get_logger()

REFUSED = "the audit found it too expensive"
WRITES_RESERVED = 3
"""Time reserved for the last submission before the deadline, as a multiple of the time of the first complete one."""


def predict(
    job: Job,
    out: OutputFolder,
    options: RunOptions,
    on_progress: Progress | None = None,
    state: RunState | None = None,
    executor_for: ExecutorFactory = local_executor,
) -> dict[str, Any]:
    """Predict every sequence of the job and write all outputs into `out`; returns the content of `run.json`.

    Existing records of the same job are kept; a finished run is verified and left unchanged. A shard leaves only
    records: `hakuna merge` makes the submission. With a budget this call may end the process just before the deadline,
    with the best submission so far. Raises DegradedError, with all files written, if only the priors are left, or, if
    the options are strict, anything less than the full effort.
    """
    state, stopwatch = state or RunState(), Stopwatch()
    check_features_path(options.features_path, job.bundle.manifest)
    start = resume_point(job, out, options, state, stopwatch, executor_for)
    state.executor_status = start.executor.status
    with closing(start.executor):
        return _continued(start, job, out, options, state, stopwatch, on_progress or (lambda *_: None))


def _continued(
    start: ResumePoint,
    job: Job,
    out: OutputFolder,
    options: RunOptions,
    state: RunState,
    stopwatch: Stopwatch,
    on_progress: Progress,
) -> dict[str, Any]:
    """Complete the run and its outputs; returns the content of `run.json`."""
    check_failures(job, options, state)
    witnesses: tuple[str, ...] = ()
    if start.is_complete:
        if start.n_recovered:
            log.warning(
                "bad photos of the earlier run were repaired; --restart predicts them anew", count=start.n_recovered
            )
        if options.features_path is None and (report := intact_report(out, job.bundle, start.header)):
            figures = {"sequences": state.n_all, "degraded": state.n_degraded}
            log.info("already complete, verified, nothing changed", out=str(out), **figures)
            for sentence in filter(None, (report.get("warning"), run_report.shortfall(report))):
                log.warning(sentence)
            if n_cut_short := report["counts"]["photos_cut_short"]:
                log.warning(run_report.CUT_SHORT, count=n_cut_short)
            return run_report.check_degraded(report, out, strict=options.strict)
    else:
        n_frames = job.bundle.manifest.n_frames
        witnesses = check_any_photo(job.plan.sequences, job.storage(options.read_timeout), n_frames, state.check)
    stopwatch.restart()  # finding the engine and checking an earlier run's outputs do not count as this run's time
    context = RunContext(
        job,
        options,
        out,
        start.header,
        start.executor,
        Estimator(job.bundle),
        state,
        stopwatch,
        on_progress,
        witnesses=witnesses,
    )
    with heartbeat(state, out) as last_beat:
        with _within_budget(context, options.budget, last_beat) if options.budget else nullcontext(context) as context:
            report = _both_phases(context, start.is_complete)
        return run_report.check_degraded(report, out, strict=options.strict)


def _both_phases(context: RunContext, is_complete: bool) -> dict[str, Any]:
    """Returns the content of `run.json`."""
    job, options, out, state = context.job, context.options, context.out, context.state
    _log_job(context)
    execution = None
    if not is_complete:
        context, execution = _phase_1(context)
    if context.header.is_lower_precision:
        execution = _audited(context) or execution
    check_failures(job, options, state)
    if job.is_shard:
        return run_report.write_shard(out, read_header(context.records_path), job.bundle, context.metadata())
    state.stage = "records to submission"
    report = records_to_submission(out, context.estimator, out, options.features_path, context.metadata(execution))
    (out / PARTIAL_NAME).unlink(missing_ok=True)  # possibly left by an earlier run with a budget
    return report


def _phase_1(context: RunContext) -> tuple[RunContext, dict[str, Any]]:
    """Returns the run with its networks, and the figures of its executor."""
    context.state.stage = "loading the networks"
    precision = select_precision(context)
    context = with_networks(context, precision)
    with context.stopwatch("load stackers"):
        context.estimator.load()  # reports unusable stackers before any photo is read
    policy = policy_for(context, Precision(precision["used"]))
    run_report.invalidate(context.out)
    with output_errors(context.out / AUDIT_NAME):
        (context.out / AUDIT_NAME).unlink(missing_ok=True)  # of records that now change
    with closing(RecordWriter(context.records_path, context.header, keep=context.state.n_kept)) as writer:
        context.state.stage = "photos to records"
        photos_to_records(context, policy, writer)
    return context, context.executor.figures()


def _audited(context: RunContext) -> dict[str, Any] | None:
    """Audit the lower precision of the records. Where it costs too much, compute them anew in float32.

    A run with a budget keeps them: they are complete. A shard leaves the verdict to `hakuna merge`. Returns the second
    result of `_phase_1` if the records were computed anew. Raises InputError, before they change, if the photos are gone.
    """
    audit(context)
    if context.job.is_shard:
        return None
    found = verdict(context.out, context.header, context.estimator, context.state.check)
    if not is_broken(found):
        return None
    state, job, options = context.state, context.job, context.options
    log.warning("precision: too expensive on this season", **(found or {}))
    if options.budget:
        log.warning("time budget: keeping the lower precision; without a budget everything is computed in float32")
        return None
    n_frames = job.bundle.manifest.n_frames
    witnesses = check_any_photo(job.plan.sequences, job.storage(options.read_timeout), n_frames, state.check)
    log.warning("computing every sequence anew in float32", sequences=state.n_all)
    state.begin_again()
    settled = {**context.header.precision, "used": Precision.FLOAT32.value, "reason": REFUSED, "audit": found}
    header = replace(context.header, precision=settled)
    return _phase_1(replace(context, header=header, witnesses=witnesses))[1]


@contextmanager
def _within_budget(context: RunContext, budget: float, last_beat: Callable[[str], None]) -> Iterator[RunContext]:
    """Keep a submission that is complete from now on and becomes final at the deadline; yields the context with it.

    A run that fails leaves it in place, unless an older submission exists.
    """
    job, provisional, write_seconds = context.job, None, 0.0
    if not job.is_shard:
        seq_ids = [sequence.seq_id for sequence in job.sequences]
        priors, estimator = priors_row(job.bundle.manifest.priors), context.estimator
        provisional = Provisional(
            context.out, seq_ids, job.plan.labels, priors, lambda records: estimator(records).probabilities
        )
        provisional.write_if_due()
        write_seconds = provisional.write_seconds
        context = replace(context, provisional=provisional)
    cutoff = min(CUTOFF_SHARE * budget, budget - WRITES_RESERVED * write_seconds)
    with watchdog(context.state, cutoff, lambda: _end_now(context, budget), last_beat):
        try:
            if provisional and context.state.n_kept:
                context.estimator.load()
                for record in islice(read_records(context.records_path, context.header), context.state.n_kept):
                    context.state.check()
                    provisional.add([record])
            yield context
        except (TooManyFailuresError, InterruptedRunError):
            raise
        except BaseException:
            if provisional and not (context.out / SUBMISSION_NAME).exists():
                provisional.make_final()
            raise


def _end_now(context: RunContext, budget: float) -> tuple[int, dict[str, Any]]:
    """At the deadline, make the best submission so far the final one. Raises DegradedError for a shard.

    Returns the exit code and the facts of the event `complete`.
    """
    state = context.state
    if context.provisional is None:
        raise DegradedError(
            "time budget: exhausted before the shard was complete; its records are kept, run again to resume"
        )
    n_finished = context.provisional.make_final()
    # A separate name: the run may be writing its failures at this moment.
    failures = context.out / f".late.{FAILURES_NAME}"
    with failures_file(failures) as append:
        if context.records_path.exists():
            # With --restart, records of an earlier run may still follow.
            append(islice(read_records(context.records_path, context.header), state.n_done))
    with output_errors(failures):
        failures.replace(context.out / FAILURES_NAME)
    n_predicted = context.provisional.n_predicted
    report = run_report.write_out_of_time(context.out, context.job.bundle, n_finished, n_predicted, state, budget)
    if report.get("warning"):
        log_with_timeout(log.warning, report["warning"], bundle=context.job.bundle.manifest.name)
    log_with_timeout(log.warning, run_report.shortfall(report), stage=state.stage)
    code = DegradedError.exit_code if context.options.strict or not n_predicted else 0
    log_with_timeout(state.on_deadline, report)
    return code, run_report.completion(report, context.out, code)


def _log_job(context: RunContext) -> None:
    job, facts, plan = context.job, context.executor.facts, context.job.plan
    log.info(
        "predict",
        sequences=len(plan.sequences),
        kept=context.state.n_kept,
        bundle=job.bundle.manifest.name,
        preset=job.preset.value,
        engine=facts.engine,
        device=facts.device,
        decoder=facts.decoder,
        precision=job.precision.value,
        auto_precision=facts.auto_precision.value,
    )
    dropped = {
        "sequences without metadata, get the usual share of each class (priors)": plan.n_without_metadata,
        "sequences of the metadata that are not in the submission format: not predicted": plan.n_not_in_format,
        "duplicate metadata rows, merged": plan.n_duplicate_rows,
    }
    for what, count in dropped.items():
        if count:
            log.warning(what, count=count)
    fallbacks = {
        "metadata: datetimes that are not YYYY-MM-DD HH:MM:SS, treated as unknown; make the table again with hakuna metadata, "
        "or give the column this format in the spreadsheet": plan.unreadable,
        "metadata: dates without a time, taken as midnight": plan.without_time,
    }
    for what, odd in fallbacks.items():
        if odd.n_rows:
            log.warning(what, count=odd.n_rows, first=odd.first)
