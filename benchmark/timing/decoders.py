"""Decoders compared: time per photo on one core and on all, difference from Pillow's pixels, cost of damaged files."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmark.provenance import origin
from benchmark.timing.measure import elapsed
from inference.core.choices import DecoderName, Preset
from inference.core.errors import UsageError
from inference.core.files import files_below
from inference.core.sequences import FrameFailure, Pixels
from inference.images.decode_pillow import DecodeError
from inference.images.decoder import Decoder, find_decoder, has_dali
from inference.images.reading import read_image_file
from inference.storage.local import LocalFolder

DECODERS = (DecoderName.PILLOW, DecoderName.FAST, DecoderName.DALI)
PHOTOS = 48
"""Most photos to use."""
ROUNDS = 7
DAMAGED_SHARES = (0.01, 0.1, 1.0)
DAMAGE = b"\xff\xc0\x00\x04"
"""A frame header inside the scan: strict decoders reject the file, Pillow completes it."""


def compare_decoders(data: Path, command: str, rounds: int = ROUNDS, *, damage: bool = True) -> dict[str, Any]:
    """Time every installed decoder on the photos of a folder, in alternation; figures for JSON.

    `damage` also times mixtures with damaged photos, which takes most of the time.
    """
    photos = _photos(data)
    names = [name for name in DECODERS if name is not DecoderName.DALI or has_dali()]
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        decoders = [find_decoder(name, n_workers=1) for name in names]
        seconds, frames = _interleave(decoders, photos, rounds)
        shares = DAMAGED_SHARES if damage else ()
        left = {decoder.name: decoder.n_left() for decoder in decoders}  # before there are damaged ones
        costs = {str(share): _cost_of_damage(decoders, photos, share, rounds) for share in shares}
    finally:
        os.sched_setaffinity(0, allowed)
    reference, on_all_cores = frames[DecoderName.PILLOW], _on_all_cores(names, photos, rounds)
    by_decoder = {}
    for name in names:
        ratios = [pillow / own for pillow, own in zip(seconds[DecoderName.PILLOW], seconds[name], strict=True)]
        by_decoder[name.value] = {
            "milliseconds_per_photo": round(1000 * median(seconds[name]) / len(photos), 2),
            "times_faster_than_pillow": round(median(ratios), 2),
            "spread": [round(min(ratios), 2), round(max(ratios), 2)],
            "photos_per_second_on_all_cores": round(on_all_cores[name], 1),
            "photos_left_to_another_decoder": left[name],
            **_pixel_statistics(frames[name], reference),
        }
    fastest = max(on_all_cores, key=lambda name: on_all_cores[name])
    return {
        "photos": len(photos),
        "rounds": rounds,
        "decoders": by_decoder,
        "fastest_on_all_cores": fastest.value,
        "damage": costs,
        **origin(command),
    }


def _on_all_cores(names: list[DecoderName], photos: list[bytes], rounds: int) -> dict[DecoderName, float]:
    """Photos per second of each decoder, used as in a run: with a thread for each core, or with its own threads."""
    n_threads = len(os.sched_getaffinity(0))
    seconds: dict[DecoderName, list[float]] = {name: [] for name in names}
    decoders = [find_decoder(name, n_workers=n_threads) for name in names]
    with ThreadPoolExecutor(n_threads) as threads:
        for number in range(rounds + 1):  # the first one warms up
            for decoder in decoders:
                parts = [photos] if decoder.max_workers else [photos[k::n_threads] for k in range(n_threads)]
                taken = elapsed(partial(_decode_parts, threads, decoder, parts))
                seconds[decoder.name] += [taken] if number else []
    return {name: len(photos) / median(each) for name, each in seconds.items()}


def _decode_parts(threads: ThreadPoolExecutor, decoder: Decoder, parts: list[list[bytes]]) -> None:
    for _ in threads.map(lambda part: decoder.decode(part, Preset.QUARTER), parts):
        pass


def _photos(data: Path) -> list[bytes]:
    """Intact photos of a folder, the largest first."""
    pillow = find_decoder(DecoderName.PILLOW)
    names = [path.relative_to(data).as_posix() for path in files_below(data) if path.suffix.lower() == ".jpg"]
    files = [photo for name in names if not isinstance(photo := read_image_file(LocalFolder(data), name), FrameFailure)]
    files = [photo for photo in files if not isinstance(pillow.decode([photo], Preset.QUARTER)[0], DecodeError)]
    if not files:
        raise UsageError(f"{data}: must hold JPEG photos, got none that can be decoded")
    return sorted(files, key=len, reverse=True)[:PHOTOS]


def _interleave(
    decoders: list[Decoder], photos: list[bytes], rounds: int
) -> tuple[dict[DecoderName, list[float]], dict[DecoderName, list[Pixels | DecodeError]]]:
    """Seconds of every counted round, and the frames; one extra round warms up."""
    seconds: dict[DecoderName, list[float]] = {decoder.name: [] for decoder in decoders}
    for number in range(rounds + 1):
        for decoder in decoders:
            taken = _seconds(decoder, photos)
            if number:
                seconds[decoder.name].append(taken)
    return seconds, {decoder.name: decoder.decode(photos, Preset.QUARTER) for decoder in decoders}


def _cost_of_damage(decoders: list[Decoder], photos: list[bytes], share: float, rounds: int) -> dict[str, Any]:
    """Time of a mixture of intact and damaged photos, divided by the time of both separately.

    Separately means the intact ones alone, plus for the damaged ones the longer of their time when intact and Pillow's
    time to complete them. A value above 1 is extra cost of damage: failed attempts, rebuilt pipelines.
    """
    n_copies = max(1, round(1 / (share * len(photos))))
    step = round(1 / share)
    good, mixture = photos * n_copies, photos * n_copies
    whole = good[step // 2 :: step]
    del good[step // 2 :: step]
    mixture[step // 2 :: step] = damaged = [_damaged(photo) for photo in whole]
    pillow = find_decoder(DecoderName.PILLOW)
    ratios: dict[str, list[float]] = {decoder.name.value: [] for decoder in decoders}
    for _ in range(max(1, rounds // n_copies)):
        for decoder in decoders:
            apart = _seconds(decoder, good) + max(_seconds(decoder, whole), _seconds(pillow, damaged))
            ratios[decoder.name.value].append(_seconds(decoder, mixture) / apart)
    return {
        "photos": len(mixture),
        "damaged": len(damaged),
        "slow_down": {name: round(median(values), 3) for name, values in ratios.items()},
    }


def _seconds(decoder: Decoder, photos: list[bytes]) -> float:
    return elapsed(partial(decoder.decode, photos, Preset.QUARTER))


def _damaged(photo: bytes) -> bytes:
    middle = len(photo) // 2
    return photo[:middle] + DAMAGE + photo[middle + len(DAMAGE) :]


def _pixel_statistics(frames: list[Pixels | DecodeError], reference: list[Pixels | DecodeError]) -> dict[str, Any]:
    n_equal = n_values = largest = 0
    for frame, expected in zip(frames, reference, strict=True):
        difference = np.abs(np.asarray(frame, np.int16) - np.asarray(expected, np.int16))
        largest = max(largest, int(difference.max()))
        n_equal += int((difference == 0).sum())
        n_values += difference.size
    return {"values_equal_to_pillow": round(n_equal / n_values, 6), "largest_difference": largest}
