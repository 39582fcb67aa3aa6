"""The speed of a machine, measured or from a device profile."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmark.capacity.device_profiles import GIGA, Profile
from benchmark.timing.report import BenchReport, StageFigures
from inference.bundle.manifest import Manifest
from inference.core.choices import GPU_BATCH_SIZE, Precision
from inference.core.errors import BundleError, UsageError
from inference.core.sequences import ImageSize
from inference.execution.throughput import CPU_LOAD
from inference.networks.engine import CPU
from inference.networks.forward import MAX_CALL_IMAGES

PROFILED_PHOTO = ImageSize(1536, 2048)
"""The size behind a profile's photo seconds; others take time in proportion to their pixels."""
BYTES_OF_A_FRAME, BYTES_OF_A_VIEW = 3, 12
"""Of a pixel on its way to the device: frames are uint8, other views float32."""


@dataclass(frozen=True)
class Rates:
    """Durations of the parts of a run on a machine, in seconds.

    Attributes
    ----------
    call : one call of a network at a size with a number of images, mirror images included
    photos : a sequence with a number of photos of a size, while all cores decode
    network_load : share of all cores that the networks keep busy during a call, 0-1
    other_per_sequence : the thread that calls the networks, outside those calls
    finish_per_sequence : the second phase, which begins when all photos are done
    sequences_per_batch, images_per_call : sizes of the calls of networks
    """

    startup: float
    call: Callable[[str, ImageSize, int], float]
    photos: Callable[[ImageSize, int], float]
    network_load: float
    other_per_sequence: float
    finish_per_sequence: float
    sequences_per_batch: int
    images_per_call: int


def measured_rates(report: BenchReport, precision: Precision) -> Rates:
    """Durations of the parts of a run, from a timing run. Raises UsageError if it did not time them."""
    networks = [one for one in report.of_group("network") if one.precision == precision.value]
    if not networks or report.startup_seconds is None:
        raise UsageError(f"projection: must have start-up and networks in {precision.value} timed, got none")
    finish = {one.name: one.seconds.median / one.n_units for one in report.of_group("finish")}
    busy = sum(one.load * one.seconds.median for one in networks) / sum(one.seconds.median for one in networks)
    return Rates(
        startup=report.startup_seconds.median,
        call=_calls(networks, 0 if report.settings.device == CPU else report.settings.images_per_call),
        photos=_photos(report.of_group("photos")),
        network_load=CPU_LOAD if report.settings.device == CPU else busy,
        other_per_sequence=finish["write records"],
        finish_per_sequence=finish["records to submission"],
        sequences_per_batch=report.settings.batch_size,
        images_per_call=report.settings.images_per_call,
    )


def _calls(stages: list[StageFigures], padded_to: int) -> Callable[[str, ImageSize, int], float]:
    """Seconds of a call with any number of images, interpolated between the timed numbers.

    A run on a GPU pads each call to the same number.
    """
    points: dict[tuple[str, ImageSize], list[tuple[int, float]]] = {}
    for one in stages:
        size = ImageSize(int(one.height or 0), int(one.width or 0))
        points.setdefault((str(one.network), size), []).append((one.n_units, one.seconds.median))

    def seconds(network: str, size: ImageSize, n_images: int) -> float:
        counts, timed = zip(*sorted(points[network, size]), strict=True)
        n_rows = max(n_images, padded_to)
        beyond = max(1.0, n_rows / float(counts[-1]))
        return beyond * float(np.interp(n_rows, counts, timed))

    return seconds


def _photos(stages: list[StageFigures]) -> Callable[[ImageSize, int], float]:
    """Seconds of a sequence from its files to its views; untimed sizes scale with their pixels."""
    timed: dict[ImageSize, dict[int, float]] = {}
    for one in stages:
        if one.n_frames and one.height and one.width:
            by_frames = timed.setdefault(ImageSize(one.height, one.width), {})
            by_frames[one.n_frames] = one.seconds.median / one.n_units

    def seconds(size: ImageSize, n_frames: int) -> float:
        nearest = min(timed, key=lambda one: abs(one.height * one.width - size.height * size.width))
        frames, each = zip(*sorted(timed[nearest].items()), strict=True)
        pixels = size.height * size.width / (nearest.height * nearest.width)
        return pixels * float(np.interp(n_frames, frames, each))

    return seconds


def profile_rates(profile: Profile, manifest: Manifest, precision: Precision, level: str) -> Rates:
    """Rates of an unavailable device at a level: low, mid or high. Raises BundleError if operations are not known."""
    per_second = profile.arithmetic(precision).operations_per_second(level)
    cores, calls = profile.cores.value, _profiled_calls(profile, manifest, per_second)

    def photos(size: ImageSize, n_frames: int) -> float:
        pixels = size.height * size.width / (PROFILED_PHOTO.height * PROFILED_PHOTO.width)
        return n_frames * pixels * profile.photo_core_seconds.value / cores

    return Rates(
        startup=profile.startup_seconds.value,
        call=lambda name, size, _: calls[name, size],
        photos=photos,
        network_load=1 / cores,  # the thread that feeds the device
        other_per_sequence=0.0,
        finish_per_sequence=profile.postprocess_seconds_per_sequence.value,
        sequences_per_batch=GPU_BATCH_SIZE,
        images_per_call=MAX_CALL_IMAGES,
    )


def _profiled_calls(profile: Profile, manifest: Manifest, per_second: float) -> dict[tuple[str, ImageSize], float]:
    """Seconds of a call, which is padded to the same number of images however few there are."""
    calls = {}
    for network in manifest.networks:
        if not network.operations:
            raise BundleError(f"network {network.name}: its operations must be known, got none")
        for size, operations in zip(network.sizes, network.operations, strict=True):
            n_bytes = (
                len(network.inputs)
                * size.height
                * size.width
                * (BYTES_OF_A_FRAME if network.per_frame else BYTES_OF_A_VIEW)
            )
            image = operations / per_second + n_bytes / (profile.bus_gb_per_second.value * GIGA)
            calls[network.name, size.as_image_size()] = MAX_CALL_IMAGES * image + profile.call_seconds.value
    return calls
