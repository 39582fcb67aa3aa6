"""Choosing a decoder; decoding the frames of sequences."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from inference.core.choices import GPU_DRIVER, REFERENCE_PIXELS, DecoderName, Preset
from inference.core.errors import UsageError
from inference.core.sequences import FailureReason, FrameFailure, Pixels, Sequence
from inference.images import decode_pillow, decode_turbo
from inference.images.decode_pillow import DecodeError
from inference.images.reading import read_image_file
from inference.storage.interface import PhotoStorage

DALI_PHOTOS = 24
"""Most photos in DALI at once: 24 of 2048x1536 take 0.8 GB with the floats in between."""
DALI_SEQUENCES = 8


@dataclass(frozen=True)
class DecodedSequence:
    """Frames that could be read, in order, and the photos that could not.

    Attributes
    ----------
    frames : uint8 (H, W, 3) each, RGB, 0-255, quarter size; sizes may differ
    """

    sequence: Sequence
    frames: list[Pixels]
    failures: tuple[FrameFailure, ...]


@dataclass(frozen=True)
class Decoder:
    """A decoder that is installed.

    Attributes
    ----------
    pixels : whose pixels it gives: part of what the records depend on
    decode : screened files -> their quarter frames or errors; threads may share it
    sequences_together : how many sequences it decodes best at once
    max_workers : how many threads may use it, if it has threads of its own
    """

    name: DecoderName
    pixels: str
    decode: Callable[[list[bytes], Preset], list[Pixels | DecodeError]]
    sequences_together: int = 1
    max_workers: int | None = None


def has_dali() -> bool:
    """Whether DALI is installed: it is part of the flavour for GPUs only."""
    return importlib.util.find_spec("nvidia") is not None and importlib.util.find_spec("nvidia.dali") is not None


def find_decoder(name: DecoderName, n_workers: int = 1) -> Decoder:
    """Resolve `auto`: DALI where there is a GPU and it is installed, else `fast`.

    Raises UsageError where the decoder that is asked for is not installed.
    """
    if name is DecoderName.AUTO:
        name = DecoderName.DALI if has_dali() and GPU_DRIVER.exists() else DecoderName.FAST
    if name is DecoderName.DALI:
        if not has_dali():
            raise UsageError("--decoder dali: must be installed (nvidia-dali-cuda120), got none")
        from inference.images import decode_dali

        placement = decode_dali.Placement.MIXED if GPU_DRIVER.exists() else decode_dali.Placement.CPU
        dali = decode_dali.DaliDecoder(placement, DALI_PHOTOS, n_workers)
        pixels = f"dali {decode_dali.VERSION} {placement}"
        return Decoder(name, pixels, dali.decode, sequences_together=DALI_SEQUENCES, max_workers=1)
    decode_one = decode_pillow.decode if name is DecoderName.PILLOW else decode_turbo.decode

    def decode_each(photos: list[bytes], preset: Preset) -> list[Pixels | DecodeError]:
        return [decode_pillow.value_or_error(decode_one, data, preset) for data in photos]

    return Decoder(name, REFERENCE_PIXELS, decode_each)


def decode_sequences(
    sequences: list[Sequence], storage: PhotoStorage, preset: Preset, n_frames: int, decoder: Decoder
) -> list[DecodedSequence]:
    """Read and decode the first `n_frames` photos of each sequence.

    A photo that cannot be read is left out and the next ones move up; a photo beyond `n_frames` never moves in.
    """
    names = [[image.file_name for image in sequence.images[:n_frames]] for sequence in sequences]
    files = [[read_image_file(storage, name) for name in of_one] for of_one in names]
    frames = iter(decoder.decode([data for of_one in files for data in of_one if isinstance(data, bytes)], preset))
    return [
        _decoded(sequence, [data if isinstance(data, FrameFailure) else next(frames) for data in of_one])
        for sequence, of_one in zip(sequences, files, strict=True)
    ]


def _decoded(sequence: Sequence, photos: list[Pixels | DecodeError | FrameFailure]) -> DecodedSequence:
    """What became of the first photos of a sequence."""
    frames: list[Pixels] = []
    failures: list[FrameFailure] = []
    for image, photo in zip(sequence.images, photos, strict=False):
        if isinstance(photo, FrameFailure):
            failures.append(photo)
        elif isinstance(photo, DecodeError):
            failures.append(FrameFailure(image.file_name, FailureReason.CANNOT_DECODE, str(photo)))
        else:
            frames.append(photo)
    return DecodedSequence(sequence, frames, tuple(failures))
