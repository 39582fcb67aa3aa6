"""An ensemble as data: which networks look at what, at which sizes, and how their answers become one estimate."""

from __future__ import annotations

import hashlib
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inference.bundle import (
    Ensemble,
    Label,
    Name,
    NeighbourOptions,
    Network,
    NetworkInput,
    Probability,
    Size,
    Stacking,
    check_ensemble,
)
from inference.domain import CLASS_PRIORS, LABELS, BundleError, UsageError, View

RECIPES_FOLDER = Path(__file__).parent / "recipes"

GRAPH_FORM = "batch normalisation folded"
"""What freezing does beside freezing: part of a network's identity, as another form rounds otherwise."""


class Scaling(StrEnum):
    """How a network wants its pixels; frozen into its graph, so that the pipeline knows only 0-255."""

    SYMMETRIC = "symmetric"
    """x / 127.5 - 1: -1 to 1."""
    UNIT = "unit"
    """x / 255: 0 to 1."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputRecipe(_Strict):
    """What one input of a network looks at. Inputs are in the order of the Keras network's inputs."""

    view: View
    scaling: Scaling


class NetworkRecipe(_Strict):
    """One Keras network."""

    name: Name
    file: str
    inputs: tuple[InputRecipe, ...] = Field(min_length=1)
    sizes: tuple[Size, ...] = Field(min_length=1)
    flip_tta: bool

    def as_network(self, source_sha256: str = "", export_difference: float = 0.0) -> Network:
        """The manifest's entry for the network frozen from a source file of that hash."""
        scalings = [one.scaling.value for one in self.inputs]
        return Network(
            identity=hashlib.sha256(repr((GRAPH_FORM, source_sha256, scalings)).encode()).hexdigest(),
            name=self.name,
            folder=f"networks/{self.name}",
            inputs=tuple(NetworkInput(name=input_name(one.view), view=one.view) for one in self.inputs),
            sizes=self.sizes,
            flip_tta=self.flip_tta,
            export_difference=export_difference,
        )


class EnsembleRecipe(_Strict):
    """How the answers become one estimate; see `inference.bundle.Ensemble`."""

    preprocessing: Literal["quarter", "quarter+jpeg"]
    frame_weights: tuple[float, ...]
    max_mixed_loss_increase: float = 1e-3


class StackingRecipe(_Strict):
    """The boosters; see `inference.bundle.Stacking`."""

    folders: dict[Name, str] = Field(min_length=1)
    """Folder of each set of boosters, which holds one `CLASS.txt` a stacked class."""
    classes: tuple[Label, ...] = Field(min_length=1)
    not_in_features: tuple[Label, ...]
    blocks: tuple[str, ...] = Field(min_length=1)
    missing_frame: float
    neighbours: NeighbourOptions | None = None
    """Asked for by the block `neighbours`."""

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


class Recipe(_Strict):
    """A whole ensemble."""

    format_version: Literal[1]
    name: Name
    description: str
    max_export_difference: float = Field(gt=0)
    priors: dict[Label, Probability] = Field(default_factory=lambda: dict(CLASS_PRIORS))
    """For sequences without a readable photo; by default the shares of REFERENCE.md section 3.5."""
    ensemble: EnsembleRecipe
    networks: tuple[NetworkRecipe, ...] = Field(min_length=1)
    stacking: StackingRecipe | None = None

    def as_ensemble(self) -> Ensemble:
        """The manifest's entry."""
        return Ensemble(
            preprocessing=self.ensemble.preprocessing,
            frame_weights=self.ensemble.frame_weights,
            max_mixed_loss_increase=self.ensemble.max_mixed_loss_increase,
            stacking=self.stacking.as_stacking() if self.stacking else None,
        )

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        check_ensemble(self.as_ensemble(), tuple(network.as_network() for network in self.networks))
        return self


def input_name(view: View) -> str:
    """Name of a network's input in its serving signature."""
    return "images" if view is View.FRAME else view.value


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe of the project by name, or any recipe by path (ending in .toml)."""
    source = Path(name_or_path) if name_or_path.endswith(".toml") else RECIPES_FOLDER / f"{name_or_path}.toml"
    try:
        content = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--recipe {name_or_path}: must be readable, got: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{source}: must be TOML, got: {error}") from error
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise BundleError(f"{source}: {where}: {first['msg']}") from error
