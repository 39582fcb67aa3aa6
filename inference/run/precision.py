"""Selects the networks' precision: the requested one, if the bundle's proof set accepts it. Audits it at the end."""

import math
import time
from contextlib import closing
from dataclasses import asdict
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from inference.core.choices import Precision
from inference.core.errors import BundleError, CheckpointError, OutOfMemoryError
from inference.core.iteration import batched
from inference.ensemble.audit import audit_header, n_audited, sample_of
from inference.execution.executor import LOAD, PHASE
from inference.execution.proof import float32_records
from inference.execution.throughput import MARGIN_SHARE
from inference.networks.engine import has_int8
from inference.precision.comparison import PrecisionComparison, compare_precisions
from inference.records.jsonl import RecordWriter
from inference.records.schema import AUDIT_NAME
from inference.run.context import RunContext
from inference.settings.cache import read_cached, write_cached

log = structlog.get_logger()

PROVE = "prove precision"
"""Stage on the stopwatch."""
AUDIT = "audit"
"""Stage on the stopwatch."""
CANNOT_RUN = (OutOfMemoryError, BundleError, RuntimeError, MemoryError)
"""Errors of networks in another precision; those of a library are RuntimeError."""
FLOAT32_FACTOR = 8.0
"""Float32 takes at most this multiple of the time of a lower precision."""
MIN_SLACK = 2.0
"""Under a budget, the audit needs this multiple of the time of its next step to be left."""
COMPARISON = TypeAdapter(PrecisionComparison)
PROOF = "proof"
"""Kind of the cached comparisons."""


def select_precision(context: RunContext) -> dict[str, Any]:
    """Load the networks in the precision chosen when the records began, or choose it now.

    Returns the figures behind the choice: `asked`, `used`, and those of the comparison. Raises BundleError if int8 was
    requested and the bundle does not have it, and CheckpointError if the records are in a precision that is not offered.
    """
    executor, asked, bundle = context.executor, context.job.precision, context.job.bundle
    if context.header.precision:
        used = Precision(context.header.precision["used"])
        if used not in (Precision.FLOAT32, *executor.facts.lower_precisions):
            raise CheckpointError(
                f"{context.records_path}: were begun in {used}, which must be offered by this machine, but is not",
                hint="use a machine that offers it, or --restart to start over",
            )
        executor.load(used)
        return context.header.precision
    if asked is Precision.INT8 and not has_int8(bundle):
        raise BundleError(
            f"{bundle.folder}: must have networks in int8, got none", hint="`hakuna bundle quantize` adds them"
        )
    figures: dict[str, Any] = {"asked": asked.value, "used": Precision.FLOAT32.value}
    offered = executor.facts.lower_precisions
    wanted = [one for one in offered if asked in (one, Precision.AUTO)]
    if asked is not Precision.FLOAT32 and not wanted:
        facts = executor.facts
        log.warning(
            "not offered by this device, using float32", precision=asked, engine=facts.engine, device=facts.device
        )
        figures["reason"] = "not offered by the device"
    for precision in wanted:
        comparison = proven(context, precision)
        figures |= comparison_figures(comparison)
        if comparison.holds:
            return figures | {"used": precision.value}
    executor.load(Precision.FLOAT32)
    return figures


def proven(context: RunContext, precision: Precision) -> PrecisionComparison:
    """Compare a lower precision, which stays loaded, with float32 on the bundle's proof set.

    The outcome is remembered by the bundle, the engine and the networks' answers to the probe: another kind of processor
    has others.
    """
    executor, bundle = context.executor, context.job.bundle
    answers = executor.load(precision)
    key = bundle.id, executor.facts.engine, executor.facts.device, precision, answers.tobytes().hex()
    with context.stopwatch(PROVE):
        comparison = _as_comparison(read_cached(PROOF, *key), context.max_loss_increase)
        if comparison is None:
            block = executor.prove(precision)
            comparison = compare_precisions(
                context.estimator(float32_records(bundle)).probabilities,
                context.estimator(block.records).probabilities,
                context.max_loss_increase,
                block.n_repeated,
            )
            write_cached(asdict(comparison), PROOF, *key)
    if comparison.holds:
        log.info("precision holds", precision=precision, **comparison_figures(comparison))
    else:
        log.warning("precision does not hold, not used", precision=precision, **comparison_figures(comparison))
    return comparison


def comparison_figures(comparison: PrecisionComparison) -> dict[str, Any]:
    """The figures of a comparison for `run.json` and the log."""
    return {"relative_loss_increase": comparison.relative_increase, **asdict(comparison)}


def _as_comparison(content: dict[str, Any] | None, bound: float) -> PrecisionComparison | None:
    """A remembered comparison, for the bound of this run; None unless all its figures are there."""
    try:
        return COMPARISON.validate_python({**(content or {}), "bound": bound})
    except ValidationError:
        return None


def audit(context: RunContext) -> None:
    """Compute the run's part of the sample in float32, unless it is there.

    Under a budget it stops in time, and the verdict rests on fewer. The same where float32 cannot run.
    """
    plan, header = context.job.plan, context.header
    sample = sample_of((one.seq_id for one in plan.sequences if one.images), header.n_all)
    own = {one.seq_id: one for one in context.job.sequences}
    sequences = [own[seq_id] for seq_id in sample if seq_id in own]
    header = audit_header(header, [one.seq_id for one in sequences])
    path = context.out / AUDIT_NAME
    n_kept = n_audited(context.out, header)
    if n_kept == len(sequences):
        return
    context.state.stage = "auditing the precision"
    n_done, executor = n_kept, context.executor
    with context.stopwatch(AUDIT), closing(RecordWriter(path, header, keep=n_kept)) as writer, closing(executor):
        needed = _first_step_seconds(context)
        for batch in batched(sequences[n_kept:], executor.n_batches_at_once * context.options.batch_size):
            context.state.check()
            if not _has_time(context, needed):
                log.warning("time budget: the audit of the precision stops early", sequences=n_done)
                break
            begun = time.monotonic()
            try:
                writer.append(executor.sample(batch, Precision.FLOAT32).records)
            except CANNOT_RUN as error:
                log.warning("the precision cannot be audited: float32 does not run", error=str(error))
                break
            needed, n_done = time.monotonic() - begun, n_done + len(batch)


def _first_step_seconds(context: RunContext) -> float:
    """The time of the first step of the audit: trying and loading the networks, and a batch in float32."""
    seconds, n_new = context.stopwatch.seconds(), context.state.n_done - context.state.n_kept
    if PHASE not in seconds or not n_new:
        return math.inf  # nothing was measured
    n_sequences = context.executor.n_batches_at_once * context.options.batch_size
    return 2 * seconds.get(LOAD, 0.0) + FLOAT32_FACTOR * seconds[PHASE] / n_new * n_sequences


def _has_time(context: RunContext, needed: float) -> bool:
    budget, state, provisional = context.options.budget, context.state, context.provisional
    if not budget:
        return True
    finish = state.n_all * provisional.seconds_per_record if provisional else 0.0
    return budget * (1 - MARGIN_SHARE) - state.seconds() - finish >= MIN_SLACK * needed
