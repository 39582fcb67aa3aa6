"""Which precision the networks run in: what was asked for, if it proves itself."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import structlog

from inference.core.choices import Precision
from inference.core.sequences import ViewedSequence
from inference.networks.engine import Engine, load_networks
from inference.networks.forward import LoadedNetworks
from inference.networks.precision_check import COMPARED_SEQUENCES, PrecisionComparison, compare_precisions
from inference.process.stopwatch import Stopwatch

if TYPE_CHECKING:
    from inference.ensemble.estimator import Estimator
    from inference.execution.worker import Worker
    from inference.records.schema import Record

log = structlog.get_logger()

LOAD, PROVE = "load networks", "prove precision"
"""Stages on the stopwatch."""


def select_precision(
    work: Worker, engine: Engine, estimator: Estimator, settled: dict[str, Any]
) -> tuple[LoadedNetworks, dict[str, Any]]:
    """Load the networks in the precision that was settled when the records began, or settle it now.

    Returns the networks and the figures that decided: `asked`, `used`, and the proof's.
    """
    job, stopwatch = work.job, work.stopwatch
    if settled:
        with stopwatch(LOAD):
            return load_networks(job.bundle, engine, Precision(settled["used"]), work.check), settled
    settled = {"asked": job.precision.value, "used": Precision.FLOAT32.value}
    with stopwatch(LOAD):
        networks = load_networks(job.bundle, engine, Precision.FLOAT32, work.check)
    if job.precision is Precision.FLOAT32:
        return networks, settled
    if not engine.supports_mixed:
        log.warning("mixed precision: this device has none, using float32", engine=str(engine), device=engine.device)
        return networks, {**settled, "reason": "not supported by the device"}
    with stopwatch(PROVE):
        work = replace(work, stopwatch=Stopwatch())  # what it decodes is not part of phase 1
        viewed = work.viewed(job.sequences, work.n_workers)
        batch = list(islice((one for one in viewed if one.n_frames), COMPARED_SEQUENCES))
        if not batch:
            return networks, {**settled, "reason": "no readable photo to prove it on"}
        mixed, comparison = try_mixed(work, engine, estimator, batch, work.ask(networks, batch))
    figures = comparison_figures(comparison)
    if comparison.holds:
        return mixed, {**settled, "used": Precision.MIXED.value, **figures}
    with stopwatch(LOAD):
        return load_networks(job.bundle, engine, Precision.FLOAT32, work.check), {**settled, **figures}


def try_mixed(
    work: Worker, engine: Engine, estimator: Estimator, batch: list[ViewedSequence], float32: list[Record]
) -> tuple[LoadedNetworks, PrecisionComparison]:
    """Ask the networks in mixed precision what they said in float32; returns those in mixed precision.

    TensorFlow's precision is a setting of the process: where the proof fails the networks must be loaded again.
    """
    mixed = load_networks(work.job.bundle, engine, Precision.MIXED, work.check)
    comparison = compare_precisions(
        estimator(float32).probabilities,
        estimator(work.ask(mixed, batch)).probabilities,
        work.job.bundle.manifest.ensemble.max_mixed_loss_increase,
    )
    if comparison.holds:
        log.info("mixed precision: proven", **comparison_figures(comparison))
    else:
        log.warning("mixed precision: does not hold, using float32", **comparison_figures(comparison))
    return mixed, comparison


def comparison_figures(comparison: PrecisionComparison) -> dict[str, Any]:
    """What `run.json` and the log keep of a proof."""
    return {"relative_loss_increase": comparison.relative_increase, **asdict(comparison)}
