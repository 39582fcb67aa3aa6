"""Bytes -> quarter frames with NVIDIA DALI: on a GPU (`mixed`) or, by the same definition, on the CPU.

DALI repeats the border pixels where Pillow omits them and renormalises. So each axis, the horizontal one first, is
padded with zeros, resized to float, divided by an equally resized mask of ones and rounded. That equals Pillow's resize
up to one grey level in a few of ten thousand pixels. Files that are not plain, complete JPEGs go to `decode_fast`, and
from there to Pillow. The only module that imports DALI.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import nvidia.dali
import structlog
from nvidia.dali import Pipeline, fn, types

from inference.core.choices import Preset
from inference.core.iteration import batched
from inference.core.sequences import ImageSize, Pixels
from inference.images import decode_pillow, decode_turbo
from inference.images.decode_pillow import QUARTER, DecodeError
from inference.images.resample import vertical_first

log = structlog.get_logger()

VERSION = str(nvidia.dali.__version__)
LANCZOS_LOBES = 3
GPU_DEVICE = 0
EXTRA_PADDING = 2
"""Columns or rows of zeros beyond the kernel's reach."""
SUSPICIOUS_PHOTOS = 1000
"""After a failed batch, this many photos are tried on the CPU first: damage then costs a decode, not a pipeline."""
SCAN_MARKER, END_MARKER = b"\xff\xda", b"\xff\xd9"


class Placement(StrEnum):
    """Where DALI decodes and resizes: the value of its `device` argument."""

    CPU = "cpu"
    MIXED = "mixed"


@dataclass(frozen=True)
class Photo:
    """A file that DALI accepts, and its sizes before and after."""

    data: bytes
    full: ImageSize
    quarter: ImageSize


class DaliDecoder:
    """A loaded DALI pipeline. Threads may share it and take turns."""

    def __init__(self, placement: Placement, max_photos: int, n_threads: int) -> None:
        """Build the pipeline for at most `max_photos` photos per call, with `n_threads` private threads.

        Raises RuntimeError if it does not decode a photo that is known: later, each photo would be left to the CPU.
        """
        self.placement = placement
        self.max_photos = max_photos
        self._n_threads = n_threads
        self._lock = threading.Lock()
        self._n_suspicious = 0
        self.n_left = 0
        """Photos that DALI did not decode although the CPU did."""
        self._pipeline = self._build()
        self._decode_known_photo()

    def decode(self, photos: Sequence[bytes], preset: Preset) -> list[Pixels | DecodeError]:
        """Decode screened files to quarter frames, uint8 (H, W, 3), RGB; or return the error of `decode_pillow.decode`.

        The pixels of a photo do not depend on the other photos.
        """
        suitable = {index: photo for index, data in enumerate(photos) if (photo := _suitable(data))}
        frames: dict[int, Pixels] = {}
        with self._lock:
            for part in batched(suitable, self.max_photos):
                decoded = self._run_or_isolate([suitable[index] for index in part])
                frames.update({index: frame for index, frame in zip(part, decoded, strict=True) if frame is not None})
        return [
            decode_pillow.finish(frames[index], preset)
            if index in frames
            else decode_pillow.value_or_error(decode_turbo.decode, data, preset)
            for index, data in enumerate(photos)
        ]

    def _run_or_isolate(self, photos: list[Photo]) -> list[Pixels | None]:
        """Frames of photos; None for those that DALI cannot decode."""
        is_good = [True] * len(photos)
        if self._n_suspicious:
            self._n_suspicious = max(0, self._n_suspicious - len(photos))
            is_good = self._try_on_cpu(photos)
        try:
            return self._run_good(photos, is_good)
        except DecodeError as error:
            log.info("DALI: a batch failed, trying its photos one by one", error=str(error))
        is_good = self._try_on_cpu(photos)
        try:
            return self._run_good(photos, is_good)
        except DecodeError as error:
            frames = [self._run_alone(photo) if good else None for photo, good in zip(photos, is_good, strict=True)]
            if n_left := sum(good and frame is None for good, frame in zip(is_good, frames, strict=True)):
                self.n_left += n_left
                log.warning("DALI: photos that only the CPU decodes", count=n_left, reason=str(error))
            return frames

    def _try_on_cpu(self, photos: list[Photo]) -> list[bool]:
        is_good = [decode_turbo.decode_plain(photo.data) is not None for photo in photos]
        if not all(is_good):
            self._n_suspicious = SUSPICIOUS_PHOTOS
        return is_good

    def _run_good(self, photos: list[Photo], is_good: list[bool]) -> list[Pixels | None]:
        frames = iter(self._run([photo for photo, good in zip(photos, is_good, strict=True) if good]))
        return [next(frames) if good else None for good in is_good]

    def _run_alone(self, photo: Photo) -> Pixels | None:
        try:
            return self._run([photo])[0]
        except DecodeError:
            return None

    def _run(self, photos: list[Photo]) -> list[Pixels]:
        """Frames of photos. If DALI fails on one, rebuilds the pipeline and raises DecodeError."""
        try:
            return self._run_pipeline(photos) if photos else []
        except MemoryError:
            raise
        except Exception as error:
            self._pipeline = self._build()
            raise DecodeError((str(error) or repr(error)).splitlines()[0]) from error

    def _run_pipeline(self, photos: list[Photo]) -> list[Pixels]:
        self._pipeline.feed_input("files", [np.frombuffer(photo.data, np.uint8) for photo in photos])
        arguments = [_arguments(photo) for photo in photos]
        for name in arguments[0]:
            self._pipeline.feed_input(name, [one[name] for one in arguments])
        (frames,) = self._pipeline.run()
        on_cpu = frames.as_cpu() if self.placement is Placement.MIXED else frames
        return [np.array(on_cpu.at(index)) for index in range(len(photos))]  # copies, as DALI reuses its memory

    def _decode_known_photo(self) -> None:
        data = decode_pillow.known_photo()
        photo = _suitable(data)
        frames = self._run_pipeline([photo]) if photo else []
        expected = decode_pillow.decode(data, Preset.QUARTER)
        if not frames or frames[0].shape != expected.shape or np.abs(frames[0].astype(int) - expected).max() > 1:
            raise RuntimeError("a grey photo must be decoded to its grey, got another answer")

    def _build(self) -> Any:
        pipeline = Pipeline(
            batch_size=self.max_photos,
            num_threads=self._n_threads,
            device_id=GPU_DEVICE if self.placement is Placement.MIXED else None,
            prefetch_queue_depth=1,
        )
        with pipeline:
            pipeline.set_outputs(_quarter_frames(self.placement))
        pipeline.build()
        return pipeline


def _suitable(data: bytes) -> Photo | None:
    """The photo, if it is a plain JPEG that ends after its scan and shrinks to a quarter, horizontally first.

    Enlarging would amplify differences in the last bit; photos that small take little time in any decoder.
    """
    if data.rfind(END_MARKER) < data.rfind(SCAN_MARKER):
        return None
    full = decode_turbo.plain_size(data)
    if full is None:
        return None
    quarter = decode_pillow.quarter_size(full)
    shrinks = full.height >= QUARTER * quarter.height and full.width >= QUARTER * quarter.width
    return Photo(data, full, quarter) if shrinks and not vertical_first(full, quarter) else None


def _quarter_frames(placement: Placement) -> Any:
    """The graph: files -> uint8 (h, w, 3), RGB."""
    files = fn.external_source(name="files", dtype=types.DALIDataType.UINT8, ndim=1)
    photos = fn.decoders.image(
        files,
        device=placement.value,
        output_type=types.RGB,
        jpeg_fancy_upsampling=True,
        use_fast_idct=False,
        adjust_orientation=False,
        affine=False,
        hw_decoder_load=0.0,  # the hardware decoder of some GPUs (A100, H100) has pixels of its own
    )
    for axis in ("horizontal", "vertical"):
        mask = fn.external_source(name=f"{axis} mask", dtype=types.DALIDataType.UINT8, ndim=3, layout="HWC")
        padded = fn.slice(
            photos,
            start=_external(f"{axis} pad_start", types.DALIDataType.INT32),
            shape=_external(f"{axis} pad_shape", types.DALIDataType.INT32),
            axes=[0, 1],
            out_of_bounds_policy="pad",
            fill_values=0,
        )
        sums = _resize(padded, f"{axis} photo")
        weights = _resize(mask.gpu() if placement is Placement.MIXED else mask, f"{axis} mask")
        photos = fn.cast(sums / weights, dtype=types.DALIDataType.UINT8)  # rounds to nearest and clips
    return photos


def _resize(images: Any, name: str) -> Any:
    return fn.resize(
        images,
        size=_external(f"{name}_size", types.DALIDataType.FLOAT),
        roi_start=_external(f"{name}_roi_start", types.DALIDataType.FLOAT),
        roi_end=_external(f"{name}_roi_end", types.DALIDataType.FLOAT),
        interp_type=types.INTERP_LANCZOS3,
        antialias=True,
        dtype=types.DALIDataType.FLOAT,
    )


def _external(name: str, dtype: Any) -> Any:
    return fn.external_source(name=name, dtype=dtype, ndim=1)


def _arguments(photo: Photo) -> dict[str, npt.NDArray[Any]]:
    """The graph's arguments for one photo, by the names of its external sources."""
    horizontal = _axis_arguments(photo.full.width, photo.quarter.width, photo.full.height)
    # The image now has the width of its quarter. For the other axis everything is transposed.
    vertical = _axis_arguments(photo.full.height, photo.quarter.height, photo.quarter.width)
    return {
        **{f"horizontal {name}": value for name, value in horizontal.items()},
        **{f"vertical {name}": _turned(value) for name, value in vertical.items()},
    }


def _turned(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(value[::-1] if value.ndim == 1 else value.swapaxes(0, 1))


def _axis_arguments(n_in: int, n_out: int, n_across: int) -> dict[str, npt.NDArray[Any]]:
    """Arguments for a resize along the columns, from `n_in` to `n_out`, of `n_across` rows; each is (rows, columns)."""
    padding = int(np.ceil(LANCZOS_LOBES * max(1.0, n_in / n_out))) + EXTRA_PADDING
    arguments: dict[str, npt.NDArray[Any]] = {
        "pad_start": np.array([0, -padding], np.int32),
        "pad_shape": np.array([n_across, n_in + 2 * padding], np.int32),
        "mask": np.pad(np.ones((1, n_in, 1), np.uint8), ((0, 0), (padding, padding), (0, 0))),
    }
    for name, n_rows in (("photo", n_across), ("mask", 1)):
        arguments[f"{name}_size"] = np.array([n_rows, n_out], np.float32)
        arguments[f"{name}_roi_start"] = np.array([0, padding], np.float32)
        arguments[f"{name}_roi_end"] = np.array([n_rows, padding + n_in], np.float32)
    return arguments
