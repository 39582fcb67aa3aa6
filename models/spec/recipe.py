"""An ensemble as data: networks, their views and sizes, and how their outputs become one estimate."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from inference.bundle.manifest import (
    Blend,
    Ensemble,
    FileEntry,
    Label,
    Manifest,
    Name,
    NeighbourOptions,
    Network,
    NetworkInput,
    Probability,
    Provenance,
    Size,
    Stacking,
    check_ensemble,
    feature_names,
)
from inference.core.config_files import Strict, load_toml
from inference.core.errors import BundleError
from inference.core.files import is_plain_path
from inference.core.labels import CLASS_PRIORS, LABELS
from inference.core.sequences import View
from models.spec.kinds import Classes, Scaling

RECIPES_FOLDER = Path(__file__).parents[1] / "recipes"

GRAPH_FORM = "batch normalisation folded"
"""Changes made to a graph while freezing: part of a network's identity, as another form rounds differently."""


def _plain(path: str) -> str:
    if not is_plain_path(path):
        raise ValueError(f"must be a plain path below the folder of the files, got {path!r}")
    return path


FileName = Annotated[str, AfterValidator(_plain)]
"""A file or folder below the one passed to a command."""


class InputRecipe(Strict):
    """One input of a network. Inputs are in the order of the Keras network's inputs."""

    view: View
    scaling: Scaling


class NetworkRecipe(Strict):
    """One Keras network."""

    name: Name
    file: FileName
    """Name of the Keras file among assets."""
    trained: FileName | None = None
    """Path of its output below a folder of trainings; by default NAME/network.h5."""
    inputs: tuple[InputRecipe, ...] = Field(min_length=1)
    sizes: tuple[Size, ...] = Field(min_length=1)
    flip_tta: bool
    backbone: str | None = None
    """Name in keras.applications, for files that cannot be loaded directly: their architecture is rebuilt."""
    classes: Classes = Classes.ALL
    """A network with only the class empty can only be blended into `empty`."""

    def as_network(
        self, source_sha256: str = "", max_export_error: float = 0.0, operations: tuple[int, ...] = ()
    ) -> Network:
        """The manifest's entry for the network frozen from a source file with this hash."""
        scalings = [one.scaling.value for one in self.inputs]
        return Network(
            identity=hashlib.sha256(repr((GRAPH_FORM, source_sha256, scalings)).encode()).hexdigest(),
            name=self.name,
            folder=f"networks/{self.name}",
            inputs=tuple(NetworkInput(name=input_name(one.view), view=one.view) for one in self.inputs),
            sizes=self.sizes,
            flip_tta=self.flip_tta,
            max_export_error=max_export_error,
            operations=operations,
        )


class EnsembleRecipe(Strict):
    """How the outputs become one estimate; see `inference.bundle.manifest.Ensemble`."""

    preprocessing: Literal["quarter", "quarter+jpeg"]
    frame_weights: tuple[float, ...]
    max_mixed_loss_increase: float = 1e-3
    blends: tuple[Blend, ...] = ()


class StackingRecipe(Strict):
    """The stackers; see `inference.bundle.manifest.Stacking`."""

    folders: dict[Name, FileName] = Field(min_length=1)
    """Folder of each set of stackers, with one `CLASS.txt` per stacked class."""
    classes: tuple[Label, ...] = Field(min_length=1)
    not_in_features: tuple[Label, ...]
    blocks: tuple[str, ...] = Field(min_length=1)
    missing_frame: float
    neighbours: NeighbourOptions | None = None
    """Required by the block `neighbours`."""

    def as_stacking(self) -> Stacking:
        """The manifest's entry."""
        return Stacking(
            sets=tuple(self.folders),
            classes=self.classes,
            feature_classes=tuple(label for label in LABELS if label not in self.not_in_features),
            blocks=self.blocks,
            missing_frame=self.missing_frame,
            neighbours=self.neighbours,
        )


class Recipe(Strict):
    """A whole ensemble."""

    format_version: Literal[1]
    name: Name
    description: str
    max_export_difference: float = Field(gt=0)
    priors: dict[Label, Probability] = Field(default_factory=lambda: dict(CLASS_PRIORS))
    """For sequences without a readable photo; by default the shares of the classes over the public seasons."""
    ensemble: EnsembleRecipe
    networks: tuple[NetworkRecipe, ...] = Field(min_length=1)
    stacking: StackingRecipe | None = None

    def as_ensemble(self) -> Ensemble:
        """The manifest's entry."""
        return Ensemble(**dict(self.ensemble), stacking=self.stacking.as_stacking() if self.stacking else None)

    def as_manifest(
        self, networks: tuple[Network, ...], files: dict[str, FileEntry], provenance: Provenance, *, demo: bool = False
    ) -> Manifest:
        """The manifest of a bundle with these networks and files."""
        return Manifest(
            format_version=4,
            name=self.name,
            description=self.description,
            demo=demo,
            labels=LABELS,
            priors=self.priors,
            ensemble=self.as_ensemble(),
            networks=networks,
            feature_names=feature_names(self.as_ensemble(), networks),
            files=files,
            provenance=provenance,
        )

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        check_ensemble(self.as_ensemble(), tuple(network.as_network() for network in self.networks))
        for network in self.networks:
            if network.classes is Classes.EMPTY:
                self._check_only_blended_into_empty(network)
        return self

    def _check_only_blended_into_empty(self, network: NetworkRecipe) -> None:
        """Raise ValueError if the outputs of such a network would be used for other classes."""
        blends = [blend for blend in self.ensemble.blends if network.name in blend.networks]
        is_stacked = self.stacking is not None and network.name in self.stacking.blocks
        if network.as_network().per_frame or is_stacked or any(blend.classes != ("empty",) for blend in blends):
            raise ValueError(
                f"networks: {network.name} only has the class empty, so it must not have frames as input, be a stacking "
                f"block or be blended into other classes than empty"
            )


def input_name(view: View) -> str:
    """Name of a network's input in its serving signature."""
    return "images" if view is View.FRAME else view.value


def manifest_of(recipe: Recipe) -> Manifest:
    """The manifest of a future bundle of the recipe, without any files: names of outputs and features."""
    provenance = Provenance(recipe=recipe.name, hakuna_version="", tensorflow_version="", keras_version="", sources={})
    return recipe.as_manifest(tuple(network.as_network() for network in recipe.networks), {}, provenance)


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe of the project by name, or any recipe by path (ending in .toml).

    Raises UsageError if it cannot be read, BundleError if it does not describe a valid ensemble.
    """
    return load_toml("--recipe", name_or_path, Recipe, folder=RECIPES_FOLDER, error=BundleError)
