"""Operations of a pass at every size: kept in a bundle's manifest; for a recipe, known or counted from a new network."""

import tempfile
from pathlib import Path

from inference.bundle.manifest import Manifest
from inference.core.sequences import ImageSize
from models.spec.recipe import Recipe, manifest_of

PUBLISHED_BACKBONE = "InceptionResNetV2"
PUBLISHED_OPERATIONS = {
    (1, ImageSize(360, 480)): 50_765_173_696,
    (1, ImageSize(384, 512)): 59_415_213_760,
    (2, ImageSize(360, 480)): 105_890_105_216,
    (2, ImageSize(384, 512)): 124_266_024_320,
}
"""Of networks with that backbone, by number of inputs and size; building one to count takes half a minute."""


def counted_manifest(recipe: Recipe, application: str = PUBLISHED_BACKBONE) -> Manifest:
    """The manifest of a future bundle of the recipe, with the operations of networks with this backbone.

    Unknown numbers are counted, for which TensorFlow must be installed.
    """
    manifest, counts = manifest_of(recipe), dict(PUBLISHED_OPERATIONS) if application == PUBLISHED_BACKBONE else {}
    for network in recipe.networks:
        shapes = [(len(network.inputs), size.as_image_size()) for size in network.sizes]
        if not counts.keys() >= set(shapes):
            from models.bundling.untrained import untrained_network
            from models.keras_io.frozen_export import export_frozen, traced_network

            with tempfile.TemporaryDirectory(prefix="hakuna-operations-") as folder:
                traced = traced_network(untrained_network(network, application), network)
                counted = export_frozen(traced, network, Path(folder, "network"))
            counts |= dict(zip(shapes, counted, strict=True))
    networks = tuple(
        network.model_copy(
            update={"operations": tuple(counts[len(network.inputs), size.as_image_size()] for size in network.sizes)}
        )
        for network in manifest.networks
    )
    return manifest.model_copy(update={"networks": networks})


def needs_tensorflow(recipe: Recipe, application: str = PUBLISHED_BACKBONE) -> bool:
    """Whether operations of the recipe's networks must be counted."""
    shapes = {(len(network.inputs), size.as_image_size()) for network in recipe.networks for size in network.sizes}
    return application != PUBLISHED_BACKBONE or not PUBLISHED_OPERATIONS.keys() >= shapes
