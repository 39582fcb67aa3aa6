"""The manifest of a model bundle: the ensemble, its files, and their hashes."""

import math
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from inference.core.config_files import Strict
from inference.core.files import is_plain_path
from inference.core.labels import LABELS, N_CLASSES
from inference.core.sequences import ImageSize, View, ViewKey

MANIFEST_NAME = "manifest.json"
DEMO_WARNING = "demo model: not for conclusions"
SAVED_MODEL_NAME = "saved_model.pb"
NETWORK_FILES = (SAVED_MODEL_NAME, "variables/variables.index", "variables/variables.data-00000-of-00001")
"""The only files that a network's folder may hold: TensorFlow reads others too (assets, debug, saved_model.cpb ...)."""
PROOF_FOLDER, PROOF_RECORDS = "proof", "proof/records.jsonl"
"""The proof set: photos, and the records that the networks made of them in float32."""
OUTPUT_NAME = "probabilities"
"""The only output of a network's serving signature: float32 (N, C), 0-1."""
SHA256_PATTERN = r"^[0-9a-f]{64}$"
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Label = Literal[LABELS]  # type: ignore[valid-type]  # the 54 labels are known at import, which mypy cannot see
Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=1e-6, le=1e6)]
"""Weight in a mean, limited so that sums of weights stay finite and above zero."""

MAX_SIDE = 2048
"""Pixels. Networks take quarter photos; the largest known is 816 wide."""
MAX_NETWORKS, MAX_SIZES, MAX_INPUTS, MAX_FRAMES, MAX_SETS, MAX_WINDOWS = 32, 16, 8, 64, 32, 16
MAX_FEATURES = 50_000
MAX_VIEW_PIXELS = 1 << 24
"""Limit for all views of a sequence together: 50 MB. Those of the published ensemble have 1.8 million pixels."""
MAX_WINDOW_SECONDS = 366 * 24 * 3600


class Size(Strict):
    """Height and width in pixels."""

    height: int = Field(gt=0, le=MAX_SIDE)
    width: int = Field(gt=0, le=MAX_SIDE)

    def as_image_size(self) -> ImageSize:
        """The same as a tuple."""
        return ImageSize(self.height, self.width)


class Block(StrEnum):
    """Feature blocks that are not named after a network."""

    FRAME_OUTPUTS = "frame_outputs"
    """Each frame network at each size for each frame: `missing_frame` for missing frames."""
    FRAME_MEDIANS = "frame_medians"
    """The median over networks and sizes for each frame: the first frame's for missing frames."""
    NEIGHBOURS = "neighbours"
    """Scores of the other cameras at about the same time: `NeighbourOptions.missing` without neighbours."""
    HOUR = "hour"
    MONTH = "month"


class NetworkInput(Strict):
    """One input of a network's serving signature: float32 (N, H, W, 3), RGB, 0-255."""

    name: Name
    view: View


class Int8Figures(Strict):
    """How a network was quantised, and how far its answers are from float32. An image counts once at each size."""

    n_calibration_images: int = Field(gt=0)
    n_compared_images: int = Field(gt=0)
    relative_loss_increase: float = Field(ge=0)
    """Mean KL(float32 || int8) relative to the mean entropy in float32, over the compared images and all classes."""
    n_float32_layers: int = Field(ge=0)
    """Convolutions and matrix products that stayed in float32."""


class Network(Strict):
    """A frozen network: `folder` is a SavedModel whose `serving_default` maps its inputs to `probabilities`."""

    name: Name
    folder: str
    inputs: tuple[NetworkInput, ...] = Field(min_length=1, max_length=MAX_INPUTS)
    sizes: tuple[Size, ...] = Field(min_length=1, max_length=MAX_SIZES)
    flip_tta: bool
    identity: str = Field(pattern=SHA256_PATTERN)
    """SHA-256 of its source: the source file's hash and the scaling of its inputs. Networks of the same identity give
    the same answers, although TensorFlow never writes the same graph file twice."""
    max_export_error: float = Field(ge=0)
    """Largest difference from the Keras network that it was frozen from."""
    operations: tuple[Annotated[int, Field(gt=0)], ...]
    """Operations for one image (a multiply-add counts as two) at each of `sizes`; empty in a bundle that is not made yet."""
    int8: Int8Figures | None = None
    """Set if and only if the bundle has `int8_files`."""

    @property
    def openvino_files(self) -> tuple[str, str]:
        """Paths of the same network in OpenVINO's format, graph and weights, which a bundle may have too."""
        return f"openvino/{self.name}.xml", f"openvino/{self.name}.bin"

    @property
    def int8_files(self) -> tuple[str, str]:
        """Paths of the same network in int8, in OpenVINO's format: graph and weights."""
        return f"openvino/{self.name}.int8.xml", f"openvino/{self.name}.int8.bin"

    @property
    def per_frame(self) -> bool:
        """Whether it runs on each frame rather than once per sequence."""
        return self.inputs[0].view is View.FRAME

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        if len(self.operations) not in (0, len(self.sizes)):
            raise ValueError(f"network {self.name}: operations must be one number for each size, got {self.operations}")
        if len({network_input.name for network_input in self.inputs}) < len(self.inputs):
            raise ValueError(f"network {self.name}: inputs must have different names")
        if any(network_input.view is View.FRAME for network_input in self.inputs) and len(self.inputs) > 1:
            raise ValueError(f"network {self.name}: a network on frames must have one input, got {len(self.inputs)}")
        return self


class NeighbourOptions(Strict):
    """The scores of other cameras at about the same time as features; see `inference.ensemble.neighbourhood`."""

    windows_seconds: tuple[Annotated[int, Field(gt=0, le=MAX_WINDOW_SECONDS)], ...] = Field(
        min_length=1, max_length=MAX_WINDOWS
    )
    """Another camera's sequence counts if it is at most this much earlier or later. One group of features each."""
    min_coverage: float = Field(ge=0, le=1)
    """Smallest share of sequences with a neighbour for using these features; below it all of them are `missing`."""
    missing: float


class Stacking(Strict):
    """LightGBM boosters on top: one per set and class, averaged over the sets."""

    sets: tuple[Name, ...] = Field(min_length=1, max_length=MAX_SETS)
    classes: tuple[Label, ...] = Field(min_length=1, max_length=N_CLASSES)
    """Classes whose estimate the boosters replace."""
    feature_classes: tuple[Label, ...] = Field(min_length=1, max_length=N_CLASSES)
    """Classes whose probabilities are features."""
    blocks: tuple[str, ...] = Field(min_length=1, max_length=len(Block) + MAX_NETWORKS)
    """Order of the features: `Block` values and names of networks on the whole sequence."""
    missing_frame: float
    neighbours: NeighbourOptions | None = None
    """Set if and only if `neighbours` is one of the blocks."""


class Blend(Strict):
    """Networks on whole sequences that are blended into the estimate from the frames, before any stacker."""

    networks: tuple[Name, ...] = Field(min_length=1, max_length=MAX_NETWORKS)
    method: Literal["mean", "median"]
    classes: tuple[Label, ...] = Field(default=LABELS, min_length=1, max_length=N_CLASSES)
    """Classes that are blended; by default all."""
    weights: tuple[Weight, ...] | None = None
    """Weights of a mean: first the estimate from the frames, then each network; equal by default."""

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights is not None and (self.method != "mean" or len(self.weights) != 1 + len(self.networks)):
            raise ValueError(
                f"weights: must come with method mean, one for the frames and one for each network, "
                f"got {len(self.weights)} for {self.method} of {len(self.networks)}"
            )
        return self


class Ensemble(Strict):
    """How the networks' answers become one estimate: the part of a recipe that predictions need."""

    preprocessing: Literal["quarter", "quarter+jpeg"]
    frame_weights: tuple[Weight, ...] = Field(min_length=1, max_length=MAX_FRAMES)
    """Weight of the first, second, ... frame in the estimate; their number is the number of frames used."""
    max_mixed_loss_increase: float = Field(gt=0)
    """Largest expected increase of the log loss, relative to the log loss, at which a lower precision is accepted."""
    blends: tuple[Blend, ...] = Field(default=(), max_length=MAX_NETWORKS)
    """Applied in order, each to the estimate left by the previous ones."""
    stacking: Stacking | None = None


class FileEntry(Strict):
    """Size and hash of one file of the bundle."""

    sha256: str = Field(pattern=SHA256_PATTERN)
    n_bytes: int = Field(ge=0)


class Provenance(Strict):
    """Origin of a bundle."""

    recipe: str
    hakuna_version: str
    tensorflow_version: str
    keras_version: str
    sources: dict[str, FileEntry]


class Manifest(Strict):
    """`manifest.json` of a bundle."""

    format_version: Literal[4]
    name: Name
    description: str
    demo: bool
    """Whether the networks are untrained or toys; every output then carries a warning."""
    labels: tuple[str, ...]
    priors: dict[Label, Probability]
    ensemble: Ensemble
    networks: tuple[Network, ...] = Field(min_length=1, max_length=MAX_NETWORKS)
    feature_names: tuple[str, ...]
    """Names of the stackers' features by position; empty without stackers."""
    files: dict[str, FileEntry]
    provenance: Provenance

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.labels != LABELS:
            raise ValueError("labels: must be the 54 labels in alphabetical order")
        if set(self.priors) != set(LABELS):
            raise ValueError(f"priors: must have each of the {N_CLASSES} labels, got {len(self.priors)}")
        check_ensemble(self.ensemble, self.networks)
        if self.feature_names != feature_names(self.ensemble, self.networks):
            raise ValueError("feature_names: must be those of the stacking blocks, in their order")
        for path in self.files:
            if not is_plain_path(path):
                raise ValueError(f"files: must be plain paths below the bundle, got {path!r}")
        for network in self.networks:
            own = {f"{network.folder}/{name}" for name in NETWORK_FILES}
            strange = [path for path in self.files if path.startswith(f"{network.folder}/") and path not in own]
            if strange:
                raise ValueError(f"files: network {network.name} must consist of {NETWORK_FILES}, got {strange[0]!r}")
        return self

    @property
    def n_frames(self) -> int:
        """Number of frames of a sequence that take part."""
        return len(self.ensemble.frame_weights)

    @property
    def frame_networks(self) -> tuple[Network, ...]:
        """Networks on frames, in order."""
        return tuple(network for network in self.networks if network.per_frame)

    @property
    def sequence_networks(self) -> tuple[Network, ...]:
        """Networks on views of the whole sequence, in order."""
        return tuple(network for network in self.networks if not network.per_frame)

    @property
    def view_keys(self) -> tuple[ViewKey, ...]:
        """The views that the networks need, each once."""
        return view_keys(self.networks)


def view_keys(networks: tuple[Network, ...]) -> tuple[ViewKey, ...]:
    """The views that some networks need, each once."""
    keys = {
        (network_input.view, size.as_image_size()): None
        for network in networks
        for network_input in network.inputs
        for size in network.sizes
    }
    return tuple(keys)


def check_ensemble(ensemble: Ensemble, networks: tuple[Network, ...]) -> None:
    """Raise ValueError if the ensemble names missing networks, has no network on frames, or needs too much memory."""
    names = [network.name for network in networks]
    if len(set(names)) < len(names):
        raise ValueError(f"networks: must have different names, got {names}")
    if not any(network.per_frame for network in networks):
        raise ValueError("networks: at least one must take frames as input")
    n_frames = len(ensemble.frame_weights)
    n_pixels = sum(math.prod(size) * (n_frames if view is View.FRAME else 1) for view, size in view_keys(networks))
    if n_pixels > MAX_VIEW_PIXELS:
        raise ValueError(f"networks: views of a sequence must have {MAX_VIEW_PIXELS} pixels at most, got {n_pixels}")
    on_sequences = {network.name for network in networks if not network.per_frame}
    for blend in ensemble.blends:
        if not on_sequences.issuperset(blend.networks):
            raise ValueError(f"blends.networks: must be among {sorted(on_sequences)}, got {list(blend.networks)}")
    if ensemble.stacking:
        _check_blocks(ensemble.stacking, {*Block, *on_sequences})
    if (n_features := len(feature_names(ensemble, networks))) > MAX_FEATURES:
        raise ValueError(f"stacking: must have {MAX_FEATURES} features at most, got {n_features}")


def _check_blocks(stacking: Stacking, known: set[str]) -> None:
    unknown = [block for block in stacking.blocks if block not in known]
    if unknown:
        raise ValueError(f"stacking.blocks: must be among {sorted(known)}, got {unknown}")
    if len(set(stacking.blocks)) < len(stacking.blocks):
        raise ValueError(f"stacking.blocks: must be different, got {list(stacking.blocks)}")
    has_block = Block.NEIGHBOURS in stacking.blocks
    if has_block != (stacking.neighbours is not None):
        got = "the block alone" if has_block else "the options alone"
        raise ValueError(f"stacking.neighbours: must come with the block {Block.NEIGHBOURS.value}, got {got}")


def feature_names(ensemble: Ensemble, networks: tuple[Network, ...]) -> tuple[str, ...]:
    """Names of the stackers' features by position: `NETWORK_HEIGHTxWIDTH_frameK_CLASS`, `NETWORK_CLASS`, ..."""
    stacking = ensemble.stacking
    if stacking is None:
        return ()
    frames = range(1, len(ensemble.frame_weights) + 1)
    names: list[str] = []
    for block in stacking.blocks:
        if block in (Block.HOUR, Block.MONTH):
            names.append(block)
            continue
        if block == Block.FRAME_OUTPUTS:
            stems = [
                f"{network.name}_{size.height}x{size.width}_frame{k}"
                for network in networks
                if network.per_frame
                for size in network.sizes
                for k in frames
            ]
        elif block == Block.FRAME_MEDIANS:
            stems = [f"median_frame{k}" for k in frames]
        elif block == Block.NEIGHBOURS and stacking.neighbours:
            stems = [f"neighbours_{window}s" for window in stacking.neighbours.windows_seconds]
        else:
            stems = [block]
        names += [f"{stem}_{label}" for stem in stems for label in stacking.feature_classes]
    return tuple(names)
