"""Sequences -> inputs of the networks."""

from collections.abc import Collection
from dataclasses import dataclass

from inference.core.choices import Preset
from inference.core.sequences import Sequence, ViewedSequence, ViewKey
from inference.images.decoder import DecodedSequence, Decoder, decode_sequences
from inference.preprocessing.info_strip import black_out_strip
from inference.preprocessing.views import make_views, same_size
from inference.process.stopwatch import Stopwatch
from inference.storage.interface import PhotoStorage

DECODE, VIEWS = "decode (all workers)", "views (all workers)"
"""Stages on the stopwatch."""


@dataclass(frozen=True)
class Preprocessor:
    """All steps before the networks: read, decode, mask, make views. Threads may share it."""

    storage: PhotoStorage
    decoder: Decoder
    preset: Preset
    n_frames: int
    view_keys: Collection[ViewKey]
    stopwatch: Stopwatch

    def __call__(self, sequences: list[Sequence]) -> list[ViewedSequence]:
        """The views of some sequences."""
        with self.stopwatch(DECODE, len(sequences)):
            decoded = decode_sequences(sequences, self.storage, self.preset, self.n_frames, self.decoder)
        with self.stopwatch(VIEWS, len(sequences)):
            return [make_viewed(one, self.view_keys) for one in decoded]


def make_viewed(decoded: DecodedSequence, keys: Collection[ViewKey]) -> ViewedSequence:
    """Mask the info strip and make the views of a decoded sequence."""
    if not decoded.frames:
        return ViewedSequence(decoded.sequence, 0, {}, decoded.failures, 0)
    frames, n_resized = same_size(decoded.frames)
    views = make_views(black_out_strip(frames), keys)
    return ViewedSequence(decoded.sequence, len(frames), views, decoded.failures, n_resized, decoded.cut_short)
