"""A plan -> the network it describes, with its initial weights."""

from pathlib import Path

import keras

from inference.core.errors import UsageError
from inference.core.sequences import ImageSize
from models.keras_io.architectures import (
    backbone,
    early_fusion_network,
    features_of,
    single_view_network,
    two_branch_network,
)
from models.keras_io.h5_file import check_layers, load_keras_network
from models.keras_io.h5_probe import probe_files
from models.keras_io.h5_weights import assign_weights, read_keras_file
from models.spec.kinds import NetworkKind
from models.spec.network_plan import NetworkPlan
from models.spec.schedule import Schedule


def build_network(plan: NetworkPlan, schedule: Schedule) -> keras.Model:
    """Build a network for the sizes of a schedule and load its initial weights.

    Raises UsageError or BundleError if they do not fit.
    """
    if starts := [path for path in (plan.weights, plan.background, plan.mean) if path]:
        probe_files(starts)
    if plan.kind is NetworkKind.TWO_BRANCH:
        background, mean = _branch(plan, plan.background, "background"), _branch(plan, plan.mean, "mean")
        network = two_branch_network(background, mean, plan.n_classes, plan.head)
    else:
        features = _started_backbone(plan, plan.kind.value.replace("-", "_"))
        is_fused = plan.kind is NetworkKind.EARLY_FUSION
        network = (early_fusion_network if is_fused else single_view_network)(features, plan.n_classes, plan.head)
    check_layers(network)
    _check_sizes(network, plan, schedule)
    return network


def _check_sizes(network: keras.Model, plan: NetworkPlan, schedule: Schedule) -> None:
    """Raise UsageError for a size that the network cannot take: NASNet, for example, is built for one size."""
    for stage in schedule.sizes:
        shape = (1, stage.height, stage.width, 3)
        try:
            network.compute_output_shape(shape if len(network.inputs) == 1 else [shape] * len(network.inputs))
        except ValueError as error:
            size = ImageSize(stage.height, stage.width)
            raise UsageError(
                f"--backbone {plan.backbone}: must take images of {size}, a size of the schedule, got: {error}",
                hint="choose a backbone that takes images of any size, such as InceptionResNetV2 or MobileNetV2",
            ) from error


def _branch(plan: NetworkPlan, trained: Path | None, name: str) -> keras.Model:
    """A trained network cut before its pooling, or a new backbone."""
    return features_of(load_keras_network(trained), name) if trained else _started_backbone(plan, name)


def _started_backbone(plan: NetworkPlan, name: str) -> keras.Model:
    features = backbone(plan.backbone, name)
    if plan.weights:
        assign_weights(features, read_keras_file(plan.weights), rest_is_ignored=True)
    return features
