"""Sequences -> views, prefetched for the networks; views -> records."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from inference.bundle.manifest import Manifest
from inference.bundle.passes import Effort, passes_for
from inference.core.iteration import batched, prefetch
from inference.core.sequences import Sequence, ViewedSequence
from inference.dataset.metadata import hour_and_month, site_and_seconds
from inference.execution.job import Job, RunOptions
from inference.images.decoder import Decoder
from inference.networks.forward import LoadedNetworks, NetworkOutputs, forward
from inference.preprocessing.prepare import DECODE, VIEWS, Preprocessor
from inference.process.stopwatch import Stopwatch
from inference.records.schema import Record

PREFETCH_BATCHES = 2
"""Batches of decoded sequences, and sequences per thread, that may wait for the networks."""


@dataclass(frozen=True)
class Worker:
    """Turns sequences into records. `job` and `options` can be sent to another process; the rest is created there."""

    job: Job
    options: RunOptions
    decoder: Decoder
    stopwatch: Stopwatch

    @property
    def n_workers(self) -> int:
        """Number of decoding threads."""
        return self.decoder.max_workers or self.options.n_workers

    @property
    def prefetch_depth(self) -> int:
        """Sequences that may be decoded ahead of the networks. Limits memory."""
        return max(PREFETCH_BATCHES * self.options.batch_size, PREFETCH_BATCHES * self.n_workers)

    def prepared(self, sequences: Iterable[Sequence], prefetch_depth: int | None = None) -> Iterator[ViewedSequence]:
        """Sequences ready for the networks, in order; at most about `prefetch_depth` of them wait."""
        job, manifest = self.job, self.job.bundle.manifest
        preprocess = Preprocessor(
            storage=job.storage(self.options.read_timeout),
            decoder=self.decoder,
            preset=job.preset,
            n_frames=manifest.n_frames,
            view_keys=manifest.view_keys,
            stopwatch=self.stopwatch,
        )
        together = self.decoder.sequences_together
        depth = -(-(prefetch_depth or self.prefetch_depth) // together)
        for viewed in prefetch(preprocess, batched(sequences, together), self.n_workers, depth):
            yield from viewed

    def predict(
        self, networks: LoadedNetworks, batch: list[ViewedSequence], effort: Effort = Effort.FULL
    ) -> list[Record]:
        """Run the networks on some sequences."""
        passes = passes_for(self.job.bundle.manifest, effort, flip_tta=self.job.flip_tta)
        outputs = forward(batch, passes, networks)
        return [as_record(viewed, output, effort) for viewed, output in zip(batch, outputs, strict=True)]

    def photo_seconds_per_sequence(self) -> float:
        """Seconds of the decoding threads per sequence, divided by the number of threads that can be busy."""
        n_working = min(self.n_workers, self.prefetch_depth)
        return (self.stopwatch.seconds_per_item(DECODE) + self.stopwatch.seconds_per_item(VIEWS)) / n_working

    def photo_seconds(self) -> float:
        """Seconds that the decoding threads have worked, divided by their number."""
        seconds = self.stopwatch.seconds()
        return (seconds.get(DECODE, 0.0) + seconds.get(VIEWS, 0.0)) / self.n_workers


def priors_record(sequence: Sequence, manifest: Manifest) -> Record:
    """The record of a sequence that was skipped for lack of time."""
    viewed = ViewedSequence(sequence, 0, {}, (), 0)
    [nothing] = forward([viewed], passes_for(manifest, Effort.PRIORS, flip_tta=False), LoadedNetworks({}))
    return as_record(viewed, nothing, Effort.PRIORS)


def as_record(viewed: ViewedSequence, outputs: NetworkOutputs, effort: Effort) -> Record:
    """The record of a sequence with these outputs."""
    hour, month = hour_and_month(viewed.sequence)
    site, seconds = site_and_seconds(viewed.sequence)
    return Record(
        seq_id=viewed.sequence.seq_id,
        frame_outputs=outputs.frame_outputs,
        sequence_outputs=outputs.sequence_outputs,
        hour=hour,
        month=month,
        failures=viewed.failures,
        n_resized=viewed.n_resized,
        cut_short=viewed.cut_short,
        has_metadata=bool(viewed.sequence.images),
        effort=effort,
        site=site,
        seconds=seconds,
    )
