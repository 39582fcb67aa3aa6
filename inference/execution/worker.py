"""Sequences -> views, ahead of the networks; views -> records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from inference.bundle.manifest import Manifest
from inference.bundle.passes import Effort, passes_for
from inference.core.iteration import batched, prefetch
from inference.core.sequences import Sequence, ViewedSequence
from inference.dataset.metadata import hour_and_month, site_and_seconds
from inference.execution.job import Job, RunOptions
from inference.images.decoder import Decoder, decode_sequences
from inference.networks.forward import LoadedNetworks, NetworkOutputs, forward
from inference.preprocessing.prepare import DECODE, VIEWS, make_viewed
from inference.process.stopwatch import Stopwatch
from inference.records.schema import Record

PREFETCH_BATCHES = 2
"""Batches of decoded sequences that may wait for the networks, and sequences a worker."""
WAIT, PHASE = "wait for photos", "photos to records"
"""Stages on the stopwatch."""


@dataclass(frozen=True)
class Worker:
    """What phase 1 works with."""

    job: Job
    options: RunOptions
    decoder: Decoder
    stopwatch: Stopwatch
    check: Callable[[], None]
    """Called often; raises if the run has to stop."""

    @property
    def n_workers(self) -> int:
        """Threads that decode."""
        return self.decoder.max_workers or self.options.n_workers

    def viewed(self, sequences: Iterable[Sequence], prefetch_depth: int) -> Iterator[ViewedSequence]:
        """Sequences ready for the networks, in order, at most about `prefetch_depth` of them waiting."""
        together = self.decoder.sequences_together
        parts = batched(sequences, together)
        for viewed in prefetch(self._views, parts, self.n_workers, -(-prefetch_depth // together)):
            yield from viewed

    def ask(
        self,
        networks: LoadedNetworks,
        batch: list[ViewedSequence],
        effort: Effort = Effort.FULL,
        *,
        is_mixed: bool = False,
    ) -> list[Record]:
        """What the networks say about some sequences."""
        passes = passes_for(self.job.bundle.manifest, effort, flip_tta=self.job.flip_tta)
        answers = forward(batch, passes, networks)
        return [
            _record(viewed, answer, effort, is_mixed=is_mixed) for viewed, answer in zip(batch, answers, strict=True)
        ]

    def photo_seconds_per_sequence(self) -> float:
        """What the decoding threads need for a sequence, divided by as many of them as can be at work."""
        n_working = min(self.n_workers, self.prefetch_depth)
        return (self.stopwatch.seconds_per_item(DECODE) + self.stopwatch.seconds_per_item(VIEWS)) / n_working

    @property
    def prefetch_depth(self) -> int:
        """Sequences that may be decoded before the networks want them: bounds memory."""
        return max(PREFETCH_BATCHES * self.options.batch_size, PREFETCH_BATCHES * self.n_workers)

    def photo_seconds(self) -> float:
        """How long the decoding threads have worked, divided by their number."""
        seconds = self.stopwatch.seconds()
        return (seconds.get(DECODE, 0.0) + seconds.get(VIEWS, 0.0)) / self.n_workers

    def overlap(self) -> dict[str, Any]:
        """How long networks and decoding waited for each other, in seconds, and which of them held up the other."""
        seconds = self.stopwatch.seconds()
        networks_waited = seconds.get(WAIT, 0.0)
        workers_waited = seconds.get(PHASE, 0.0) - self.photo_seconds()
        return {
            "workers": self.n_workers,
            "networks_waited_seconds": networks_waited,
            "each_worker_waited_seconds": round(max(0.0, workers_waited), 3),
            "bottleneck": "networks" if networks_waited < workers_waited else "photos",
        }

    def _views(self, sequences: list[Sequence]) -> list[ViewedSequence]:
        """Everything that happens to sequences before the networks: read, decode, mask, views."""
        job = self.job
        with self.stopwatch(DECODE, len(sequences)):
            decoded = decode_sequences(
                sequences,
                job.storage(self.options.read_timeout),
                job.preset,
                job.bundle.manifest.n_frames,
                self.decoder,
            )
        with self.stopwatch(VIEWS, len(sequences)):
            return [make_viewed(one, job.bundle.manifest.view_keys) for one in decoded]


def priors_record(sequence: Sequence, manifest: Manifest) -> Record:
    """The record of a sequence that there was no time to look at."""
    unseen = ViewedSequence(sequence, 0, {}, (), 0)
    passes = passes_for(manifest, Effort.PRIORS, flip_tta=False)
    [nothing] = forward([unseen], passes, LoadedNetworks({}))
    return _record(unseen, nothing, Effort.PRIORS, is_mixed=False)


def _record(viewed: ViewedSequence, answers: NetworkOutputs, effort: Effort, *, is_mixed: bool) -> Record:
    hour, month = hour_and_month(viewed.sequence)
    site, seconds = site_and_seconds(viewed.sequence)
    return Record(
        seq_id=viewed.sequence.seq_id,
        frame_outputs=answers.frame_outputs,
        sequence_outputs=answers.sequence_outputs,
        hour=hour,
        month=month,
        failures=viewed.failures,
        n_resized=viewed.n_resized,
        has_metadata=bool(viewed.sequence.images),
        effort=effort,
        is_mixed=is_mixed,
        site=site,
        seconds=seconds,
    )
