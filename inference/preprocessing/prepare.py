"""Decoded sequences -> what the networks are given."""

from __future__ import annotations

from collections.abc import Collection

from inference.core.sequences import ViewedSequence, ViewKey
from inference.images.decoder import DecodedSequence
from inference.preprocessing.info_strip import black_out_strip
from inference.preprocessing.views import make_views, same_size

DECODE, VIEWS = "decode (all workers)", "views (all workers)"


def make_viewed(decoded: DecodedSequence, keys: Collection[ViewKey]) -> ViewedSequence:
    """Mask the info strip and make the views of a decoded sequence."""
    if not decoded.frames:
        return ViewedSequence(decoded.sequence, 0, {}, decoded.failures, 0)
    frames, n_resized = same_size(decoded.frames)
    views = make_views(black_out_strip(frames), keys)
    return ViewedSequence(decoded.sequence, len(frames), views, decoded.failures, n_resized)
