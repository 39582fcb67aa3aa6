"""Phase 1: every photo is read once, every network sees what exists, every sequence leaves one record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from inference.decoding import decode_sequences, in_parts, work_ahead
from inference.domain import N_CLASSES, Precision, ViewedSequence
from inference.engines import load_networks
from inference.info_strip import black_out_strip
from inference.metadata import hour_and_month
from inference.networks import ask_networks
from inference.precision import PROOF_SEQUENCES, prove
from inference.records import Record
from inference.records_to_submission import estimate
from inference.stopwatch import Stopwatch
from inference.views import make_views, same_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from inference.decoding import DecodedSequence, Decoder
    from inference.domain import Probabilities, Sequence
    from inference.engines import Engine
    from inference.job import Job
    from inference.networks import Answers, LoadedNetworks
    from inference.precision import PrecisionProof
    from inference.records import RecordWriter

log = structlog.get_logger()

Progress = Callable[[int, int], None]
"""Called with the number of sequences done and of all."""

BATCHES_AHEAD = 2
"""Batches of decoded sequences that may wait for the networks: bounds memory."""
DECODE, VIEWS = "decode (all workers)", "views (all workers)"
WAIT, PHASE = "wait for photos", "photos to records"
"""Stages on the stopwatch."""


@dataclass(frozen=True)
class PhotoPass:
    """What phase 1 works with."""

    job: Job
    decoder: Decoder
    n_workers: int
    batch_size: int
    stopwatch: Stopwatch

    def viewed(self, sequences: Iterable[Sequence], n_ahead: int) -> Iterator[ViewedSequence]:
        """Sequences ready for the networks, in order, at most about `n_ahead` of them waiting."""
        together = self.decoder.sequences_together
        n_workers = self.decoder.max_workers or self.n_workers
        parts = in_parts(sequences, together)
        for viewed in work_ahead(lambda part: photos_to_views(part, self), parts, n_workers, -(-n_ahead // together)):
            yield from viewed

    def ask(self, networks: LoadedNetworks, batch: list[ViewedSequence]) -> list[Record]:
        """What the networks say about some sequences."""
        answers = ask_networks(batch, self.job.bundle.manifest, networks, flip_tta=self.job.flip_tta)
        return [_record(viewed, answer) for viewed, answer in zip(batch, answers, strict=True)]

    def overlap(self) -> dict[str, Any]:
        """How long networks and decoding waited for each other, in seconds, and which of them held up the other."""
        seconds = self.stopwatch.seconds()
        n_workers = self.decoder.max_workers or self.n_workers
        wall = seconds.get(PHASE, 0.0)
        networks_waited = seconds.get(WAIT, 0.0)
        workers_waited = wall - (seconds.get(DECODE, 0.0) + seconds.get(VIEWS, 0.0)) / n_workers
        return {
            "workers": n_workers,
            "networks_waited_seconds": networks_waited,
            "each_worker_waited_seconds": round(max(0.0, workers_waited), 3),
            "bottleneck": "networks" if networks_waited < workers_waited else "photos",
        }


def photos_to_records(
    work: PhotoPass, networks: LoadedNetworks, writer: RecordWriter, n_kept: int, on_progress: Progress
) -> None:
    """Write the record of every sequence after the first `n_kept`."""
    sequences = work.job.plan.sequences
    viewed = work.viewed(sequences[n_kept:], BATCHES_AHEAD * work.batch_size)
    n_done = n_kept
    on_progress(n_done, len(sequences))
    with work.stopwatch(PHASE):
        while True:
            with work.stopwatch(WAIT):
                batch = list(islice(viewed, work.batch_size))
            if not batch:
                break
            with work.stopwatch("networks"):
                records = work.ask(networks, batch)
            with work.stopwatch("write records"):
                writer.append(records)
            n_done += len(batch)
            on_progress(n_done, len(sequences))


def photos_to_views(sequences: list[Sequence], work: PhotoPass) -> list[ViewedSequence]:
    """Everything that happens to sequences before the networks: read, decode, mask, views."""
    n_frames = work.job.bundle.manifest.n_frames
    with work.stopwatch(DECODE):
        decoded = decode_sequences(sequences, work.job.data_folder, work.job.preset, n_frames, work.decoder)
    with work.stopwatch(VIEWS):
        return [_viewed(one, work.job) for one in decoded]


def settled_networks(work: PhotoPass, engine: Engine, settled: dict[str, Any]) -> tuple[LoadedNetworks, dict[str, Any]]:
    """Load the networks in the precision that was settled when the records began, or settle it now."""
    job, stopwatch = work.job, work.stopwatch
    if settled:
        with stopwatch("load networks"):
            return load_networks(job.bundle, engine, Precision(settled["used"])), settled
    settled = {"asked": job.precision.value, "used": Precision.FLOAT32.value}
    with stopwatch("load networks"):
        networks = load_networks(job.bundle, engine, Precision.FLOAT32)
    if job.precision is Precision.FLOAT32:
        return networks, settled
    if not engine.supports_mixed:
        log.warning("mixed precision: this device has none, using float32", engine=str(engine), device=engine.device)
        return networks, {**settled, "reason": "not supported by the device"}
    with stopwatch("prove precision"):
        work = replace(work, stopwatch=Stopwatch())  # what it decodes is not part of phase 1
        viewed = work.viewed(job.plan.sequences, work.n_workers)
        batch = list(islice((one for one in viewed if one.n_frames), PROOF_SEQUENCES))
        if not batch:
            return networks, {**settled, "reason": "no readable photo to prove it on"}
        mixed, proof = _prove_mixed(work, engine, networks, batch)
    figures = {"relative_loss_increase": proof.relative_increase, **asdict(proof)}
    if proof.holds:
        log.info("mixed precision: proven on the first photos", **figures)
        return mixed, {**settled, "used": Precision.MIXED.value, **figures}
    log.warning("mixed precision: does not hold, using float32", **figures)
    with stopwatch("load networks"):
        return load_networks(job.bundle, engine, Precision.FLOAT32), {**settled, **figures}


def _prove_mixed(
    work: PhotoPass, engine: Engine, float32: LoadedNetworks, batch: list[ViewedSequence]
) -> tuple[LoadedNetworks, PrecisionProof]:
    """Ask the networks in both precisions about the same photos; returns those in mixed precision."""
    bundle = work.job.bundle

    def final_probabilities(networks: LoadedNetworks) -> Probabilities:
        chunks = estimate(iter(work.ask(networks, batch)), bundle)
        return np.concatenate([np.empty((0, N_CLASSES), np.float32), *(chunk.probabilities for chunk in chunks)])

    expected = final_probabilities(float32)
    mixed = load_networks(bundle, engine, Precision.MIXED)
    bound = bundle.manifest.ensemble.max_mixed_loss_increase
    return mixed, prove(expected, final_probabilities(mixed), bound)


def _viewed(decoded: DecodedSequence, job: Job) -> ViewedSequence:
    if not decoded.frames:
        return ViewedSequence(decoded.sequence, 0, {}, decoded.failures, 0)
    frames, n_resized = same_size(decoded.frames)
    views = make_views(black_out_strip(frames), job.bundle.manifest.view_keys)
    return ViewedSequence(decoded.sequence, len(frames), views, decoded.failures, n_resized)


def _record(viewed: ViewedSequence, answers: Answers) -> Record:
    hour, month = hour_and_month(viewed.sequence)
    return Record(
        seq_id=viewed.sequence.seq_id,
        frame_outputs=answers.frame_outputs,
        sequence_outputs=answers.sequence_outputs,
        hour=hour,
        month=month,
        failures=viewed.failures,
        n_resized=viewed.n_resized,
        has_metadata=bool(viewed.sequence.images),
    )
