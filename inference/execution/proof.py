"""The proof set of a bundle: a few bursts, and the answers of its networks in float32 when it was made.

A lower precision must answer nearly the same before a run uses it. The networks run at their smallest size, without
mirror images.
"""

import re
from itertools import groupby

from inference.bundle.manifest import PROOF_RECORDS
from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.choices import Preset
from inference.core.errors import BundleError, CheckpointError
from inference.core.sequences import Sequence, ViewedSequence
from inference.images import decode_turbo
from inference.images.decode_pillow import DecodeError
from inference.images.decoder import DecodedSequence
from inference.preprocessing.prepare import make_viewed
from inference.records.jsonl import read_header, read_records
from inference.records.schema import Record, outputs_of

PHOTO = re.compile(r"proof/[0-9]_[0-9]\.jpg")
"""Path of a photo below the bundle: number of the sequence, number of the frame."""
EFFORT = Effort.ONE_SIZE
"""The share of the ensemble that runs on the proof set."""


def proof_sequences(bundle: Bundle) -> list[ViewedSequence]:
    """The views of its sequences. Raises BundleError if a photo cannot be decoded."""
    preset = Preset(bundle.manifest.ensemble.preprocessing)
    viewed = []
    for paths in _photos(bundle):
        try:
            frames = [decode_turbo.decode(bundle.path(path).read_bytes(), preset) for path in paths]
        except (DecodeError, OSError) as error:
            raise BundleError(f"{bundle.path(paths[0])}: must be a photo of the proof set, got: {error}") from error
        viewed.append(make_viewed(DecodedSequence(Sequence(paths[0], ()), frames, ()), bundle.manifest.view_keys))
    return viewed


def float32_records(bundle: Bundle) -> list[Record]:
    """The records of the same sequences in float32. Raises BundleError unless they are those of the bundle's networks."""
    path = bundle.path(PROOF_RECORDS)
    try:
        header = read_header(path)
        records = list(read_records(path, header, strict=True))
    except CheckpointError as error:
        raise BundleError(str(error)) from error
    names = tuple(paths[0] for paths in _photos(bundle))
    if header.outputs != outputs_of(bundle.manifest) or tuple(one.seq_id for one in records) != names or not names:
        raise BundleError(f"{path}: must be the records of the bundle's networks and proof photos, got others")
    return records


def _photos(bundle: Bundle) -> list[list[str]]:
    """Paths of the frames of each sequence, in order."""
    photos = sorted(filter(PHOTO.fullmatch, bundle.manifest.files))
    return [list(paths) for _, paths in groupby(photos, key=lambda path: path.partition("_")[0])]
