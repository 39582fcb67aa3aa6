"""Selects a decoder and decodes the frames of sequences."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog

from inference.core.choices import GPU_DRIVER, REFERENCE_PIXELS, DecoderName, Device, Preset
from inference.core.errors import UnusableGpuError, UsageError
from inference.core.sequences import FailureReason, FrameFailure, Pixels, Sequence
from inference.images import decode_pillow, decode_turbo
from inference.images.decode_pillow import DecodeError
from inference.images.reading import is_cut_short, read_image_file
from inference.storage.interface import PhotoStorage

log = structlog.get_logger()

DALI_PHOTOS = 24
"""Most photos in DALI at once: 24 of 2048x1536 take 0.8 GB with their intermediate floats."""
DALI_SEQUENCES = 8


@dataclass(frozen=True)
class DecodedSequence:
    """The readable frames of a sequence, in order, and the photos that could not be read.

    Attributes
    ----------
    frames : uint8 (H, W, 3) each, RGB, 0-255, quarter size; sizes may differ
    cut_short : files of the frames whose missing rest is grey
    """

    sequence: Sequence
    frames: list[Pixels]
    failures: tuple[FrameFailure, ...]
    cut_short: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decoder:
    """An installed decoder.

    Attributes
    ----------
    pixels : identity of its pixels, on which the records depend
    decode : screened files -> their quarter frames or errors; threads may share it
    sequences_together : best number of sequences per call
    max_workers : most threads that may use it, if it has its own threads
    n_left : number of photos so far that it left to another decoder although they are whole
    """

    name: DecoderName
    pixels: str
    decode: Callable[[list[bytes], Preset], list[Pixels | DecodeError]]
    sequences_together: int = 1
    max_workers: int | None = None
    n_left: Callable[[], int] = lambda: 0


def has_dali() -> bool:
    """Whether DALI is installed; only the GPU flavour includes it."""
    return importlib.util.find_spec("nvidia") is not None and importlib.util.find_spec("nvidia.dali") is not None


def find_decoder(name: DecoderName, n_workers: int = 1, device: Device = Device.AUTO) -> Decoder:
    """Resolve `auto`: DALI on a GPU if installed, otherwise `fast`.

    Where neither decoder nor device were chosen, and the GPU cannot be used, `auto` is `fast`, with a warning.
    Raises UsageError if the requested decoder is not installed, and UnusableGpuError if its GPU cannot be used.
    """
    use_gpu, is_chosen = device is not Device.CPU and GPU_DRIVER.exists(), name is not DecoderName.AUTO
    if not is_chosen:
        name = DecoderName.DALI if has_dali() and use_gpu else DecoderName.FAST
    if name is DecoderName.DALI:
        if not has_dali():
            raise UsageError("--decoder dali: must be installed (nvidia-dali-cuda120), got none")
        try:
            return _dali(n_workers, use_gpu=use_gpu)
        except RuntimeError as error:
            if not use_gpu:
                raise
            reason = str(error).partition("\n")[0]
            if is_chosen or device is Device.GPU:
                raise UnusableGpuError(
                    f"--decoder dali: must have a GPU that DALI can use, got: {reason}",
                    hint="`hakuna doctor --gpu` shows the cause; --decoder fast decodes on the CPU",
                ) from error
            log.warning("GPU not used for decoding: DALI cannot use it", reason=reason)
            name = DecoderName.FAST
    decode_one = decode_pillow.decode if name is DecoderName.PILLOW else decode_turbo.decode

    def decode_each(photos: list[bytes], preset: Preset) -> list[Pixels | DecodeError]:
        return [decode_pillow.value_or_error(decode_one, data, preset) for data in photos]

    return Decoder(name, REFERENCE_PIXELS, decode_each)


def decode_sequences(
    sequences: list[Sequence], storage: PhotoStorage, preset: Preset, n_frames: int, decoder: Decoder
) -> list[DecodedSequence]:
    """Read and decode the first `n_frames` photos of each sequence.

    A photo that cannot be read is left out and the next ones move up. Photos beyond `n_frames` are never used.
    """
    names = [[image.file_name for image in sequence.images[:n_frames]] for sequence in sequences]
    files = [[read_image_file(storage, name) for name in of_one] for of_one in names]
    frames = iter(decoder.decode([data for of_one in files for data in of_one if isinstance(data, bytes)], preset))
    return [_decoded(sequence, of_one, frames) for sequence, of_one in zip(sequences, files, strict=True)]


def _decoded(
    sequence: Sequence, files: list[bytes | FrameFailure], decoded: Iterator[Pixels | DecodeError]
) -> DecodedSequence:
    """Separate frames from failures; takes as many from `decoded` as there are files."""
    frames: list[Pixels] = []
    failures: list[FrameFailure] = []
    cut_short: list[str] = []
    for image, data in zip(sequence.images, files, strict=False):
        if isinstance(data, FrameFailure):
            failures.append(data)
            continue
        frame = next(decoded)
        if isinstance(frame, DecodeError):
            failures.append(FrameFailure(image.file_name, FailureReason.CANNOT_DECODE, str(frame)))
            continue
        frames.append(frame)
        cut_short += [image.file_name] if is_cut_short(data) else []
    return DecodedSequence(sequence, frames, tuple(failures), tuple(cut_short))


def _dali(n_workers: int, *, use_gpu: bool) -> Decoder:
    from inference.images import decode_dali

    placement = decode_dali.Placement.MIXED if use_gpu else decode_dali.Placement.CPU
    dali = decode_dali.DaliDecoder(placement, DALI_PHOTOS, n_workers)
    pixels = f"dali {decode_dali.VERSION} {placement}"
    return Decoder(
        DecoderName.DALI,
        pixels,
        dali.decode,
        sequences_together=DALI_SEQUENCES,
        max_workers=1,
        n_left=lambda: dali.n_left,
    )


def is_whole(storage: PhotoStorage, name: str) -> bool:
    """Whether a photo can be decoded and has its end."""
    data = read_image_file(storage, name)
    if isinstance(data, FrameFailure) or is_cut_short(data):
        return False
    return not isinstance(decode_pillow.value_or_error(decode_pillow.decode, data, Preset.QUARTER), DecodeError)
