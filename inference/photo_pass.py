"""Sequences -> views, ahead of the networks; views -> records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inference.batching import in_parts
from inference.decoding import decode_sequences, work_ahead
from inference.domain import Effort, ViewedSequence
from inference.info_strip import black_out_strip
from inference.metadata import hour_and_month, site_and_seconds
from inference.networks import LoadedNetworks, ask_networks
from inference.passes import passes_for
from inference.records import Record
from inference.views import make_views, same_size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from inference.bundle import Manifest
    from inference.decoding import DecodedSequence, Decoder
    from inference.domain import Sequence, ViewKey
    from inference.job import Job, RunOptions
    from inference.networks import Answers
    from inference.stopwatch import Stopwatch

DECODE, VIEWS = "decode (all workers)", "views (all workers)"
BATCHES_AHEAD = 2
"""Batches of decoded sequences that may wait for the networks, and sequences a worker."""
WAIT, PHASE = "wait for photos", "photos to records"
"""Stages on the stopwatch."""


@dataclass(frozen=True)
class PhotoPass:
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

    def viewed(self, sequences: Iterable[Sequence], n_ahead: int) -> Iterator[ViewedSequence]:
        """Sequences ready for the networks, in order, at most about `n_ahead` of them waiting."""
        together = self.decoder.sequences_together
        parts = in_parts(sequences, together)
        for viewed in work_ahead(self._views, parts, self.n_workers, -(-n_ahead // together)):
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
        answers = ask_networks(batch, passes, networks)
        return [
            _record(viewed, answer, effort, is_mixed=is_mixed) for viewed, answer in zip(batch, answers, strict=True)
        ]

    def photo_seconds_per_sequence(self) -> float:
        """What the decoding threads need for a sequence, divided by as many of them as can be at work."""
        n_working = min(self.n_workers, self.n_ahead)
        return (self.stopwatch.seconds_per_item(DECODE) + self.stopwatch.seconds_per_item(VIEWS)) / n_working

    @property
    def n_ahead(self) -> int:
        """Sequences that may be decoded before the networks want them: bounds memory."""
        return max(BATCHES_AHEAD * self.options.batch_size, BATCHES_AHEAD * self.n_workers)

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
                job.data_folder,
                job.preset,
                job.bundle.manifest.n_frames,
                self.decoder,
                self.options.patience,
            )
        with self.stopwatch(VIEWS, len(sequences)):
            return [_viewed(one, job.bundle.manifest.view_keys) for one in decoded]


def unseen_record(sequence: Sequence, manifest: Manifest) -> Record:
    """The record of a sequence that there was no time to look at."""
    unseen = ViewedSequence(sequence, 0, {}, (), 0)
    passes = passes_for(manifest, Effort.PRIORS, flip_tta=False)
    [nothing] = ask_networks([unseen], passes, LoadedNetworks({}))
    return _record(unseen, nothing, Effort.PRIORS, is_mixed=False)


def _viewed(decoded: DecodedSequence, keys: Collection[ViewKey]) -> ViewedSequence:
    if not decoded.frames:
        return ViewedSequence(decoded.sequence, 0, {}, decoded.failures, 0)
    frames, n_resized = same_size(decoded.frames)
    views = make_views(black_out_strip(frames), keys)
    return ViewedSequence(decoded.sequence, len(frames), views, decoded.failures, n_resized)


def _record(viewed: ViewedSequence, answers: Answers, effort: Effort, *, is_mixed: bool) -> Record:
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
