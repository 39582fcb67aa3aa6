"""Phase 1: every photo is read once, every network sees what exists, every sequence leaves one record."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import cast

import structlog

from inference.bundle.passes import Effort, passes_for, relative_cost
from inference.core.choices import Precision
from inference.core.errors import OutOfMemoryError, TooManyFailuresError
from inference.core.iteration import batched
from inference.core.sequences import ViewedSequence
from inference.ensemble.estimator import Estimator
from inference.execution.deadline import Batch, DeadlinePolicy
from inference.execution.job import Job, RunOptions
from inference.execution.worker import PHASE, WAIT, Worker, priors_record
from inference.networks.engine import Engine, load_networks
from inference.networks.forward import LoadedNetworks
from inference.networks.precision_check import COMPARED_SEQUENCES
from inference.outputs.provisional import Provisional
from inference.process.progress import RunState
from inference.records.jsonl import RecordWriter
from inference.records.schema import Record
from inference.run.precision_selection import LOAD, PROVE, try_mixed

log = structlog.get_logger()

Progress = Callable[[int, int], None]
"""Called with the number of sequences done and of all."""

PRIORS_BLOCK = 1024
MIXED_LOAD_SHARE = 0.1
"""Largest share of the time left that loading the networks in mixed precision may take."""


@dataclass
class DeadlineState:
    """What a run with a time budget has in addition.

    Attributes
    ----------
    can_try_mixed : whether mixed precision can still be tried
    is_mixed : whether it was turned on to save time
    is_warmed_up : whether the networks have answered before
    """

    pace: DeadlinePolicy
    provisional: Provisional | None
    can_try_mixed: bool
    is_mixed: bool = False
    is_warmed_up: bool = False


@dataclass
class Phase1:
    """Phase 1 at work. `networks` changes when mixed precision is turned on."""

    work: Worker
    engine: Engine
    estimator: Estimator
    networks: LoadedNetworks
    writer: RecordWriter
    state: RunState
    on_progress: Progress
    hurry: DeadlineState | None = None


def deadline_policy(job: Job, budget: float) -> DeadlinePolicy:
    """The pace of a job within a budget in seconds, with what its efforts cost."""
    manifest = job.bundle.manifest
    costs = {
        effort: relative_cost(passes_for(manifest, effort, flip_tta=job.flip_tta), manifest.n_frames)
        for effort in Effort
    }
    return DeadlinePolicy(budget, costs)


def photos_to_records(phase: Phase1) -> None:
    """Write the record of every sequence that has none yet; the first `state.n_done` have one.

    Raises TooManyFailuresError as soon as more photos failed than allowed.
    """
    work, state = phase.work, phase.state
    sequences, n_photos = work.job.sequences, work.job.n_photos
    viewed = cast("Generator[ViewedSequence]", work.viewed(sequences[state.n_done :], work.prefetch_depth))
    phase.on_progress(state.n_done, len(sequences))
    state.phase_started = time.monotonic()
    with work.stopwatch(PHASE), closing(viewed):
        while state.n_done < len(sequences):
            state.check()
            effort = _effort(phase, phase.hurry) if phase.hurry else Effort.FULL
            if effort is Effort.PRIORS:
                _give_priors(phase)
            elif phase.hurry and effort > Effort.FULL and _is_mixing_worth_it(phase, phase.hurry):
                _try_mixed(phase, phase.hurry, viewed)
            else:
                _ask(phase, _next(phase, viewed), effort)
            check_failures(n_photos, work.options, state)


def _next(phase: Phase1, viewed: Generator[ViewedSequence]) -> list[ViewedSequence]:
    """The next batch, cut by the index of the sequence, so that a run that goes on sees the same batches.

    The first ones of a run in a hurry are single sequences: a whole batch might take all the time there is. Not where
    every call is padded to the same shape: there a single one takes as long.
    """
    batch_size = phase.work.options.batch_size
    n_next = batch_size - phase.state.n_done % batch_size
    if phase.hurry and not phase.hurry.pace.is_measured and not phase.networks.fixed_shapes:
        n_next = 1
    with phase.work.stopwatch(WAIT):
        return list(islice(viewed, n_next))


def _ask(phase: Phase1, batch: list[ViewedSequence], effort: Effort) -> list[Record]:
    """Ask the networks about a batch and keep its records."""
    work, hurry = phase.work, phase.hurry
    start = time.perf_counter()
    with work.stopwatch("networks"):
        records = work.ask(phase.networks, batch, effort, is_mixed=bool(hurry and hurry.is_mixed))
    seconds = time.perf_counter() - start
    _keep(phase, records)
    if hurry and not hurry.is_warmed_up:
        # Its shapes were new to the networks, which costs time once.
        hurry.is_warmed_up = any(record.n_frames for record in records)
    elif hurry:
        hurry.pace.observe(
            Batch(
                n_sequences=len(batch),
                cost=_cost(work.job, batch, effort),
                full_cost=_cost(work.job, batch, Effort.FULL),
                network_seconds=seconds,
                photo_seconds=len(batch) * work.photo_seconds_per_sequence(),
            )
        )
    if hurry and hurry.provisional:
        hurry.pace.postprocess_seconds_per_sequence = hurry.provisional.seconds_per_record
    return records


def _is_mixing_worth_it(phase: Phase1, hurry: DeadlineState) -> bool:
    """Whether mixed precision is there and not tried, and loading the networks again does not take too long."""
    if not hurry.can_try_mixed:
        return False
    load_seconds = phase.work.stopwatch.seconds().get(LOAD, 0.0)
    return load_seconds <= MIXED_LOAD_SHARE * (hurry.pace.budget - phase.state.seconds())


def _try_mixed(phase: Phase1, hurry: DeadlineState, viewed: Generator[ViewedSequence]) -> None:
    """Turn mixed precision on, if it proves itself on the next sequences, which get float32 at full effort once more."""
    work, hurry.can_try_mixed = phase.work, False
    batch = list(islice(viewed, COMPARED_SEQUENCES))
    float32 = _ask(phase, batch, Effort.FULL)
    if not any(record.n_frames for record in float32):
        return
    holds = False
    with work.stopwatch(PROVE):
        try:
            mixed, proof = try_mixed(work, phase.engine, phase.estimator, batch, float32)
            holds = proof.holds
        except OutOfMemoryError as error:
            log.warning("mixed precision: no memory to try it, using float32", error=str(error))
    if holds:
        phase.networks, hurry.is_mixed, hurry.is_warmed_up = mixed, True, False
        hurry.pace.forget()
    else:
        with work.stopwatch(LOAD):
            phase.networks = load_networks(work.job.bundle, phase.engine, Precision.FLOAT32, work.check)


def _keep(phase: Phase1, records: list[Record]) -> None:
    state = phase.state
    with phase.work.stopwatch("write records"):
        phase.writer.append(records)
    state.n_done += len(records)
    state.n_failures += sum(len(record.failures) for record in records)
    state.n_degraded += sum(record.is_degraded for record in records)
    if phase.hurry and phase.hurry.provisional:
        with phase.work.stopwatch("write provisional submission"):
            phase.hurry.provisional.add(records)
            phase.hurry.provisional.write_if_due()
    phase.on_progress(state.n_done, state.n_all)


def _effort(phase: Phase1, hurry: DeadlineState) -> Effort:
    """What the next batch gets."""
    state = phase.state
    n_all = state.n_all
    n_left = n_all - state.n_done
    before = hurry.pace.effort
    effort = hurry.pace.effort_for(n_left, n_all, min(n_left, phase.work.options.batch_size), state.seconds())
    if effort != before:
        log.warning("time budget", effort=effort.label, sequences_left=n_left, seconds=round(state.seconds()))
    return effort


def _give_priors(phase: Phase1) -> None:
    """There is no time to look at the rest."""
    left = phase.work.job.sequences[phase.state.n_done :]
    log.warning("time budget: the rest gets the priors", sequences=len(left))
    for part in batched(left, PRIORS_BLOCK):
        _keep(phase, [priors_record(sequence, phase.work.job.bundle.manifest) for sequence in part])


def _cost(job: Job, batch: list[ViewedSequence], effort: Effort) -> float:
    passes = passes_for(job.bundle.manifest, effort, flip_tta=job.flip_tta)
    return sum(relative_cost(passes, viewed.n_frames) for viewed in batch)


def check_failures(n_photos: int, options: RunOptions, state: RunState) -> None:
    """Raise TooManyFailuresError if more photos failed so far than may fail in all."""
    n_allowed = options.allowed_failures(n_photos)
    if state.n_failures > n_allowed:
        raise TooManyFailuresError(
            f"photos: at most {100 * options.max_failures:g}% may fail, {n_allowed} of {n_photos}, got {state.n_failures} "
            f"failures in {state.n_done} of {state.n_all} sequences; records are kept, no submission is written. The same "
            "command goes on where photos that were missing are there by now; --restart looks at every photo again"
        )
