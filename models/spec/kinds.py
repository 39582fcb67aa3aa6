"""Words that the models speak in; importing them costs nothing."""

from __future__ import annotations

from enum import StrEnum

from inference.core.sequences import View


class NetworkKind(StrEnum):
    """Networks by what they look at."""

    FRAMES = "frames"
    """Each frame by itself; learns from the first one of each sequence."""
    MEAN = "mean"
    """The mean over the frames: the second branch of the two-branch network."""
    BACKGROUND = "background"
    """What moved between the frames."""
    TWO_BRANCH = "two-branch"
    """Background and mean image, each through a backbone of its own."""
    EARLY_FUSION = "early-fusion"
    """Background and mean image squeezed into three channels: tried by the author, and worse."""


VIEWS: dict[NetworkKind, tuple[View, ...]] = {
    NetworkKind.FRAMES: (View.FRAME,),
    NetworkKind.MEAN: (View.MEAN,),
    NetworkKind.BACKGROUND: (View.BACKGROUND,),
    NetworkKind.TWO_BRANCH: (View.BACKGROUND, View.MEAN),
    NetworkKind.EARLY_FUSION: (View.BACKGROUND, View.MEAN),
}
"""What each input of a network sees, in the order of its inputs."""


class Head(StrEnum):
    """What the last layer says about the classes."""

    SIGMOID = "sigmoid"
    """Each class by itself: a sequence can show several species. The published networks."""
    SOFTMAX = "softmax"
    """One class excludes the others. The baseline that the first row of the published table improved on."""


class Classes(StrEnum):
    """What a network tells apart."""

    ALL = "all"
    """The 54 classes."""
    EMPTY = "empty"
    """Whether there is something, or nothing: two outputs, in this order (row 4 of the published table)."""


EMPTY_CLASSES = 2
"""Outputs of a network that only tells empty sequences."""


class Scaling(StrEnum):
    """How a network wants its pixels; frozen into its graph, so that the pipeline knows only 0-255."""

    SYMMETRIC = "symmetric"
    """x / 127.5 - 1: -1 to 1."""
    UNIT = "unit"
    """x / 255: 0 to 1."""


DEFAULT_SCHEDULES: dict[NetworkKind, str] = {
    NetworkKind.FRAMES: "v1",
    NetworkKind.MEAN: "v1",
    NetworkKind.BACKGROUND: "background",
    NetworkKind.TWO_BRANCH: "two_branch",
    NetworkKind.EARLY_FUSION: "background",
}
