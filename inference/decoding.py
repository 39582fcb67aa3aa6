"""The photos of a sequence -> its quarter frames; many sequences at once, ahead of the networks, in order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from inference import decode_fast, decode_pillow
from inference.decode_pillow import DecodeError
from inference.domain import DecoderName, FailureReason, FrameFailure
from inference.screening import read_image_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from inference.domain import Pixels, Preset, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def find_decoder(name: DecoderName) -> DecoderName:
    """Resolve `auto`."""
    return DecoderName.FAST if name is DecoderName.AUTO else name


def decode_sequence(
    sequence: Sequence, data_folder: Path, preset: Preset, n_frames: int, decoder: DecoderName
) -> DecodedSequence:
    """Read and decode the first `n_frames` photos of a sequence.

    A photo that cannot be read is left out and the next ones move up; a photo beyond `n_frames` never moves in.
    """
    decode = decode_pillow.decode if decoder is DecoderName.PILLOW else decode_fast.decode
    frames: list[Pixels] = []
    failures: list[FrameFailure] = []
    for image in sequence.images[:n_frames]:
        data = read_image_file(data_folder, image.file_name)
        if isinstance(data, FrameFailure):
            failures.append(data)
            continue
        try:
            frames.append(decode(data, preset))
        except DecodeError as error:
            failures.append(FrameFailure(image.file_name, FailureReason.CANNOT_DECODE, str(error)))
    return DecodedSequence(sequence, frames, tuple(failures))


def work_ahead(work: Callable[[Item], Result], items: Iterable[Item], n_workers: int, n_ahead: int) -> Iterator[Result]:
    """Results in the order of the items, made by threads that keep at most `n_ahead` of them waiting."""
    source = iter(items)
    executor = ThreadPoolExecutor(n_workers, thread_name_prefix="decode")
    try:
        futures = deque(executor.submit(work, item) for item in islice(source, n_ahead))
        while futures:
            result = futures.popleft().result()
            futures.extend(executor.submit(work, item) for item in islice(source, 1))
            yield result
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
