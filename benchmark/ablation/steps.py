"""The steps of the published solution as recipes of small networks."""

from dataclasses import dataclass
from typing import Any

from inference.bundle.manifest import Blend, Block, NeighbourOptions, Size
from inference.core.labels import LABELS
from inference.core.sequences import ImageSize
from models.spec.kinds import Classes, Head, NetworkKind
from models.spec.network_plan import NetworkPlan
from models.spec.recipe import EnsembleRecipe, InputRecipe, NetworkRecipe, Recipe, StackingRecipe

PRESET = "quarter"
NEIGHBOUR_WINDOWS = (60, 300)
"""Seconds. The author's few seconds are too short for cameras that a visit reaches after up to five minutes."""
MIN_COVERAGE = 0.02
MISSING = -0.01
COMMON = ("empty", "wildebeest", "zebra", "gazellethomsons", "buffalo", "elephant", "hartebeest", "impala")
"""Feature classes besides the stacked ones: frequent enough to learn from."""
MAX_EXPORT_DIFFERENCE = 1e-3


NETWORKS = {
    "softmax": NetworkPlan(NetworkKind.FRAMES, "tiny", Head.SOFTMAX),
    "small": NetworkPlan(NetworkKind.FRAMES, "tiny"),
    "v1": NetworkPlan(NetworkKind.FRAMES, "small"),
    "background_empty": NetworkPlan(NetworkKind.BACKGROUND, "small", classes=Classes.EMPTY),
    "background": NetworkPlan(NetworkKind.BACKGROUND, "small"),
    "mean_image": NetworkPlan(NetworkKind.MEAN, "small"),
    "two_branch": NetworkPlan(NetworkKind.TWO_BRANCH, "small"),
}
"""In the order of their dependencies."""


@dataclass(frozen=True)
class Configuration:
    """One row of the table.

    Attributes
    ----------
    published : the author's result, in the author's words
    published_change : the same as a number; None if only a score or nothing is known
    against : the step whose log loss it is compared with
    direct_resize : photos are resized directly from full size to the network's size
    sets : seasons that stackers were trained on
    """

    number: str
    name: str
    published: str
    published_change: float | None
    against: str | None
    networks: tuple[str, ...]
    direct_resize: bool = False
    blend: str | None = None
    sets: tuple[str, ...] = ()
    flip_tta: bool = False
    neighbours: bool = False

    @property
    def trained_on_10(self) -> bool:
        """Whether it was trained on season 10; then only season 11 can judge it."""
        return "S10" in self.sets


BOTH, ALL = ("v1", "background"), ("v1", "background", "two_branch")
STEPS = (
    Configuration("0", "softmax, small backbone", "the baseline", None, None, ("softmax",), direct_resize=True),
    Configuration("1", "sigmoid and binary cross-entropy", "0.0060 after it", None, "0", ("small",), direct_resize=True),
    Configuration("2", "a larger backbone", "0.0060 -> 0.0045", -0.0015, "1", ("v1",), direct_resize=True),
    Configuration("3", "the reference resize", "0.0045 -> 0.0038", -0.0007, "2", ("v1",)),
    Configuration("4", "two-class background network blended into empty", "-0.0002", -0.0002, "3", ("v1", "background_empty"),
         blend="background_empty"),
    Configuration("5 mean", "background network on 54 classes, mean of the two", "got worse", None, "4", BOTH, blend="background"),
    Configuration("5", "the same, stackers trained on season 9", "-> 0.0028", -0.0008, "4", BOTH, sets=("S9",)),
    Configuration("6", "two-branch network", "0.0028 -> 0.0027", -0.0001, "5", ALL, sets=("S9",)),
    Configuration("7", "second stackers, trained on season 10", "0.0027 -> 0.0020", -0.0007, "6", ALL, sets=("S9", "S10")),
    Configuration("8", "mirror images", "0.0020 -> 0.0022 public", 0.0002, "7", ALL, sets=("S9", "S10"), flip_tta=True),
    Configuration("9", "neighbours", "S10 hold-out 0.00265 -> 0.00242", -0.00023, "8", ALL, sets=("S9", "S10"), flip_tta=True,
         neighbours=True),
)  # fmt: skip


def step_named(number: str) -> Configuration:
    """A step by its number."""
    return next(step for step in STEPS if step.number == number)


def recipe_of(step: Configuration, size: ImageSize, stacked: tuple[str, ...], name: str = "ablation") -> Recipe:
    """The ensemble of a step, with views of one size; `stacked` are the classes of its stackers."""
    networks = tuple(_network(one, size, flip_tta=step.flip_tta) for one in step.networks)
    blends: tuple[Blend, ...] = ()
    if step.blend:
        classes: tuple[Any, ...] = ("empty",) if NETWORKS[step.blend].classes is Classes.EMPTY else LABELS
        blends = (Blend(networks=(step.blend,), method="mean", classes=classes),)
    return Recipe(
        format_version=1,
        name=name,
        description=f"Small networks trained on synthetic seasons, step {step.number}: {step.name}",
        max_export_difference=MAX_EXPORT_DIFFERENCE,
        ensemble=EnsembleRecipe(preprocessing=PRESET, frame_weights=(1.0, 0.8, 0.5), blends=blends),
        networks=networks,
        stacking=_stacking(step, stacked) if step.sets else None,
    )


def _network(name: str, size: ImageSize, *, flip_tta: bool) -> NetworkRecipe:
    plan = NETWORKS[name]
    return NetworkRecipe(
        name=name,
        file=f"{name}.h5",
        inputs=tuple(
            InputRecipe(view=view, scaling=scaling) for view, scaling in zip(plan.views, plan.scalings, strict=True)
        ),
        sizes=(Size(height=size.height, width=size.width),),
        flip_tta=flip_tta and plan.kind is NetworkKind.FRAMES,
        classes=plan.classes,
    )


def _stacking(step: Configuration, stacked: tuple[str, ...]) -> StackingRecipe:
    on_sequences = [name for name in step.networks if name != "v1"]
    blocks = [Block.FRAME_OUTPUTS.value, *on_sequences, Block.FRAME_MEDIANS.value]
    options = None
    if step.neighbours:
        blocks.append(Block.NEIGHBOURS.value)
        options = NeighbourOptions(windows_seconds=NEIGHBOUR_WINDOWS, min_coverage=MIN_COVERAGE, missing=MISSING)
    return StackingRecipe(
        folders={season.lower(): season for season in step.sets},
        classes=stacked,
        not_in_features=tuple(label for label in LABELS if label not in {*stacked, *COMMON}),
        blocks=(*blocks, Block.HOUR.value, Block.MONTH.value),
        missing_frame=MISSING,
        neighbours=options,
    )
