"""Pixels -> what networks were trained on."""

from __future__ import annotations

import tensorflow as tf

from inference.core.sequences import MAX_PIXEL
from models.spec.kinds import Scaling


def scale(pixels: tf.Tensor, scaling: Scaling) -> tf.Tensor:
    """Pixels 0-255 -> what the network was trained on."""
    return pixels / (MAX_PIXEL / 2) - 1.0 if scaling is Scaling.SYMMETRIC else pixels / MAX_PIXEL
