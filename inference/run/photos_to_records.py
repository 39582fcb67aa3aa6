"""Phase 1: reads every photo once, runs every network on the existing frames, writes one record per sequence."""

import math
import time
from contextlib import closing
from dataclasses import replace

import structlog

from inference.bundle.passes import EFFORTS_IN_WORDS, Effort
from inference.core.choices import Precision
from inference.core.errors import InputError, TooManyFailuresError, WorkersLostError, counted
from inference.core.iteration import batched
from inference.core.sequences import MOST_NAMED, FailureReason, FrameFailure, named
from inference.execution.deadline import DeadlinePolicy, Step
from inference.execution.executor import LOAD, PHASE
from inference.execution.job import Job, RunOptions
from inference.execution.throughput import MeasuredThroughput
from inference.execution.worker import priors_record
from inference.process.progress import RunState
from inference.records.jsonl import RecordWriter
from inference.records.schema import Record
from inference.run.context import RunContext
from inference.run.precision import CANNOT_RUN, proven

log = structlog.get_logger()

LOST = frozenset({FailureReason.MISSING, FailureReason.UNREADABLE})
"""Failures of photos whose mount has gone."""
LOADS_OF_A_TRIAL = 3
"""Trying a lower precision takes the time of this many loads: in a child process, in this one, and the proof."""
PRIORS_BLOCK = 1024
"""Sequences whose priors are written together."""


def policy_for(context: RunContext, precision: Precision) -> DeadlinePolicy:
    """The policy of a run whose networks are loaded in the selected precision."""
    budget, facts = context.options.budget or math.inf, context.executor.facts
    is_settled = "audit" in context.header.precision  # which has refused the lower ones
    can_try_lower = facts.lower_precisions and precision is Precision.FLOAT32 and not is_settled
    load_seconds = LOADS_OF_A_TRIAL * context.stopwatch.seconds().get(LOAD, 0.0) if can_try_lower else math.inf
    throughput = MeasuredThroughput(context.job.costs, facts.network_load)
    starts_small = facts.is_cpu and budget < math.inf
    return DeadlinePolicy(budget, throughput, precision, load_seconds=load_seconds, starts_small=starts_small)


def photos_to_records(context: RunContext, policy: DeadlinePolicy, writer: RecordWriter) -> None:
    """Write the record of every sequence after the first `state.n_done`, which already have one.

    Batches are cut by the index of the sequence, so that a resumed run sees the same batches. Raises
    TooManyFailuresError as soon as more photos have failed than allowed, InputError if their mount has gone.
    """
    state, batch_size = context.state, context.options.batch_size
    effort = Effort.FULL
    context.on_progress(state.n_done, state.n_all)
    state.phase_started = time.monotonic()
    with context.stopwatch(PHASE), closing(context.executor):
        while state.n_done < state.n_all:
            state.check()
            n_left = state.n_all - state.n_done
            n_batch = min(batch_size - state.n_done % batch_size, n_left)
            step = policy.next_step(n_left, state.n_all, n_batch, state.seconds())
            if step.effort != effort:
                effort = step.effort
                log.warning(
                    "time budget",
                    effort=EFFORTS_IN_WORDS[effort.label],
                    sequences_left=n_left,
                    seconds=round(state.seconds()),
                )
            if effort is Effort.PRIORS:
                _give_priors(context, writer)
            elif step.tries_lower:
                _try_lower(context, policy)
            else:
                _compute(context, policy, writer, step)
            check_failures(context.job, context.options, state)


def _compute(context: RunContext, policy: DeadlinePolicy, writer: RecordWriter, step: Step) -> None:
    """Compute the records of the next sequences and keep them."""
    block = context.executor.next_records(context.state.n_done, step.n_sequences, step.effort, step.precision)
    _check_photos_are_there(context, block.records)
    difference = context.probe_difference
    _keep(context, writer, [replace(one, is_mixed=step.is_mixed, probe_difference=difference) for one in block.records])
    if block.n_repeated:
        context.state.n_repeated += block.n_repeated
        log.warning("overflow in a lower precision, repeated in float32", calls=block.n_repeated)
    if block.is_warm:
        policy.observe(block.timing, context.provisional.seconds_per_record if context.provisional else 0.0)


def _try_lower(context: RunContext, policy: DeadlinePolicy) -> None:
    """Use the fastest lower precision that the bundle's proof set accepts from now on, if any."""
    for precision in context.executor.facts.lower_precisions:
        try:
            holds = proven(context, precision).holds
        except (*CANNOT_RUN, WorkersLostError) as error:
            log.warning("a lower precision cannot be tried, using float32", precision=precision, error=str(error))
            return
        if holds:
            policy.adopt(precision)
            return


def _check_photos_are_there(context: RunContext, records: list[Record]) -> None:
    """Before accepting that photos are missing, check some that existed at the start.

    Raises InputError if one of those is missing too: continuing would only turn all remaining photos into failures.
    """
    names = context.witnesses
    if not names or LOST.isdisjoint(failure.reason for record in records for failure in record.failures):
        return
    storage = context.job.storage(context.options.read_timeout)
    if gone := [one.file_name for one in storage.entries(names) if isinstance(one, FrameFailure)]:
        raise InputError(
            f"{storage}: must hold the photos until the run ends, but of {len(names)} that existed at its start "
            f"{len(gone)} are missing, the first of them {gone[0]!r}; progress is saved, run again when they are back"
        )


def _keep(context: RunContext, writer: RecordWriter, records: list[Record]) -> None:
    state = context.state
    with context.stopwatch("write records"):
        writer.append(records)
    state.n_done += len(records)
    state.n_failures += sum(len(record.failures) for record in records)
    if len(state.first_failures) < MOST_NAMED:
        state.first_failures += named(failure for record in records for failure in record.failures)
    state.n_degraded += sum(record.is_degraded for record in records)
    state.efforts.update(record.effort.label for record in records if record.effort)
    state.n_lower_precision += sum(record.is_mixed for record in records)
    state.n_predicted += sum(record.n_frames > 0 for record in records)
    state.probe_differences.update(record.probe_difference for record in records if record.probe_difference)
    if context.provisional:
        with context.stopwatch("write provisional submission"):
            context.provisional.add(records)
            context.provisional.write_if_due()
    context.on_progress(state.n_done, state.n_all)


def _give_priors(context: RunContext, writer: RecordWriter) -> None:
    """Give the priors to the remaining sequences, as there is no time to process them."""
    left = context.job.sequences[context.state.n_done :]
    log.warning("time budget: the remaining sequences get the usual share of each class (priors)", sequences=len(left))
    for part in batched(left, PRIORS_BLOCK):
        _keep(context, writer, [priors_record(sequence, context.job.bundle.manifest) for sequence in part])


def check_failures(job: Job, options: RunOptions, state: RunState) -> None:
    """Raise TooManyFailuresError if more photos have failed so far than are allowed in total."""
    n_allowed = options.allowed_failures(job.n_photos)
    if state.n_failures > n_allowed:
        raise TooManyFailuresError(
            f"photos: at most {100 * options.max_failures:g}% may fail, {n_allowed} of {job.n_photos}, got "
            f"{counted(state.n_failures, 'failure')} in {state.n_done:,} of {counted(state.n_all, 'sequence')}, "
            f"the first: {', '.join(state.first_failures[:MOST_NAMED])}; records are kept, no submission is written",
            hint="the same command resumes at the first photo that was repaired; --restart rereads every photo",
        )
