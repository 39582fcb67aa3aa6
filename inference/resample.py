"""Pillow's LANCZOS resize again, with its own coefficients, order and rounding, as matrix products.

Pillow resizes a uint8 image horizontally, rounds to uint8, then vertically, with coefficients in 22-bit fixed point.
The same sums are done here in float32 by BLAS, on blocks of output pixels; where float32 might round to the other side
the pixel is computed again in integers. The result is Pillow's, every pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from inference.domain import ImageSize, Pixels

LANCZOS_SUPPORT = 3.0
PRECISION_BITS = 32 - 8 - 2
"""Pillow's fixed point for 8-bit images: products of a pixel and a coefficient fit 32 bits with headroom."""
ROUND = 1 << (PRECISION_BITS - 1)
BLOCK = 16
"""Output pixels of one matrix product: its columns, the width of two AVX-512 registers of half a block."""
AMBIGUOUS = 5e-4
"""Distance of a float32 sum from a rounding border below which it is done again in integers. Its error is below
n_taps * 255 * 2**-24 * (sum of absolute coefficients): 3e-4 for 24 taps; larger for more, see `AxisKernel`."""
CHUNK_BYTES = 512 << 10
"""float32 rows handled at a time: what stays in a core's L2 cache."""


@dataclass(frozen=True)
class AxisKernel:
    """How one axis is resampled from `n_in` to `n_out` pixels.

    Attributes
    ----------
    starts : int64 (n_out,), first input pixel of each output pixel
    coefficients : int64 (n_out, n_taps), fixed point, zero-padded
    block_starts : first input pixel of each block of outputs
    blocks : float32 (n_blocks, width, BLOCK), coefficients as matrices
    tolerance : distance from a rounding border below which float32 does not decide
    """

    n_in: int
    n_out: int
    starts: npt.NDArray[np.int64]
    coefficients: npt.NDArray[np.int64]
    block_starts: tuple[int, ...]
    blocks: npt.NDArray[np.float32]
    tolerance: float


@lru_cache(maxsize=64)
def axis_kernel(n_in: int, n_out: int) -> AxisKernel:
    """Pillow's coefficients for one axis (its `precompute_coeffs` and `normalize_coeffs_8bpc`, in words of NumPy)."""
    scale = n_in / n_out
    stretch = max(scale, 1.0)
    support = LANCZOS_SUPPORT * stretch
    centres = (np.arange(n_out) + 0.5) * scale
    starts = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    ends = np.minimum((centres + support + 0.5).astype(np.int64), n_in)
    taps = np.arange(int(math.ceil(support)) * 2 + 1)
    weights = lanczos((taps + starts[:, None] - centres[:, None] + 0.5) / stretch)
    weights[taps >= (ends - starts)[:, None]] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    fixed = np.trunc(weights * (1 << PRECISION_BITS) + np.copysign(0.5, weights)).astype(np.int64)
    return _with_blocks(n_in, n_out, starts, fixed)


def lanczos(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """sinc(x) sinc(x / 3) within three pixels of the centre."""
    windowed = np.sinc(x) * np.sinc(x / LANCZOS_SUPPORT)
    return np.where(np.abs(x) < LANCZOS_SUPPORT, windowed, 0.0)


def _with_blocks(
    n_in: int, n_out: int, starts: npt.NDArray[np.int64], fixed: npt.NDArray[np.int64]
) -> AxisKernel:
    n_taps = fixed.shape[1]
    firsts = np.arange(0, n_out, BLOCK)
    lasts = np.minimum(firsts + BLOCK, n_out) - 1
    width = min(n_in, int((starts[lasts] - starts[firsts]).max()) + n_taps)
    block_starts = np.minimum(starts[firsts], n_in - width)
    blocks = np.zeros((len(firsts), width, BLOCK), np.float32)
    for out in range(n_out):
        block, column = divmod(out, BLOCK)
        offset = starts[out] - block_starts[block]
        inside = min(n_taps, width - offset)
        blocks[block, offset : offset + inside, column] = fixed[out, :inside] / (1 << PRECISION_BITS)
    # Each product and sum of float32 is off by half a unit in the last place of what it has reached.
    largest = 255.0 * np.abs(fixed).sum(axis=1).max() / (1 << PRECISION_BITS)
    tolerance = n_taps * largest * float(np.finfo(np.float32).eps)
    return AxisKernel(n_in, n_out, starts, fixed, tuple(map(int, block_starts)), blocks, tolerance)


def resize_lanczos(photo: Pixels, size: ImageSize) -> Pixels:
    """Resize as `PIL.Image.resize(..., LANCZOS)` does, bit for bit.

    Parameters
    ----------
    photo : uint8 (H, W, 3)
    size : height and width to resize to

    Returns
    -------
    uint8 (h, w, 3)
    """
    height, width = photo.shape[:2]
    planes = [np.empty((height, size.width), np.uint8) for _ in range(3)]
    across = axis_kernel(width, size.width)
    n_rows = max(1, CHUNK_BYTES // (4 * width))
    for top in range(0, height, n_rows):
        for plane, source in zip(planes, cv2.split(photo[top : top + n_rows]), strict=True):
            _resample_rows(source, across, plane[top : top + n_rows])
    down = axis_kernel(height, size.height)
    return cv2.merge([_resample_columns(plane, down) for plane in planes])


def _resample_rows(source: npt.NDArray[np.uint8], kernel: AxisKernel, out: npt.NDArray[np.uint8]) -> None:
    """uint8 (H, n_in) -> uint8 (H, n_out), along the rows."""
    values = source.astype(np.float32)
    width = kernel.blocks.shape[1]
    sums = np.empty((len(source), len(kernel.blocks) * BLOCK), np.float32)
    for block, start in enumerate(kernel.block_starts):
        np.matmul(
            values[:, start : start + width], kernel.blocks[block], out=sums[:, block * BLOCK : (block + 1) * BLOCK]
        )
    _round(sums[:, : kernel.n_out], kernel, out)
    rows, columns = _undecided(sums, kernel)
    if len(rows):
        taps = kernel.starts[columns, None] + np.arange(kernel.coefficients.shape[1])
        pixels = source[rows[:, None], np.minimum(taps, kernel.n_in - 1)]
        out[rows, columns] = _exact(pixels, kernel.coefficients[columns])
