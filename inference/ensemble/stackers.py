"""The LightGBM stackers: features -> better estimates for the common classes."""

import hashlib
import sys

import numpy as np
import numpy.typing as npt

from inference.bundle.booster_check import booster_path, check_feature_names, text_of_trees
from inference.bundle.manifest import Stacking
from inference.bundle.reader import Bundle
from inference.core.errors import BundleError
from inference.core.labels import LABELS
from inference.core.sequences import Probabilities
from inference.ensemble.booster_probe import probe_boosters

# LightGBM imports scikit-learn if installed, for wrappers that are unused here, in most of a second per process.
_IS_HIDDEN = "sklearn" not in sys.modules
if _IS_HIDDEN:
    sys.modules["sklearn"] = None  # type: ignore[assignment]  # that is how Python spells it
try:
    import lightgbm
finally:
    if _IS_HIDDEN:
        del sys.modules["sklearn"]


class Stackers:
    """The loaded boosters of a bundle: one per set and class."""

    def __init__(self, bundle: Bundle, stacking: Stacking) -> None:
        """Load every booster after a child process has done so. Raises BundleError if one is unusable."""
        probe_boosters(bundle)
        self._columns = [LABELS.index(label) for label in stacking.classes]
        self._boosters = [
            [load_booster(bundle, path, read_booster(bundle, path)) for path in paths]
            for paths in ([booster_path(name, label) for name in stacking.sets] for label in stacking.classes)
        ]

    def predict(self, estimate: Probabilities, features: npt.NDArray[np.float64]) -> Probabilities:
        """Replace the stacked classes of an estimate with the stackers' predictions.

        Parameters
        ----------
        estimate : float32 (N, C)
        features : float64 (N, D)

        Returns
        -------
        float32 (N, C): a new array; a stacked class is the mean over the sets
        """
        stacked = estimate.copy()
        for column, boosters in zip(self._columns, self._boosters, strict=True):
            predicted = [np.asarray(booster.predict(features)) for booster in boosters]
            stacked[:, column] = np.mean(predicted, axis=0)
        return stacked


def read_booster(bundle: Bundle, relative: str) -> bytes:
    """The content of a booster's file. Raises BundleError unless its hash is the manifest's at this moment."""
    path = bundle.path(relative)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: must be readable, got: {error.strerror or error}") from error
    digest, wanted = hashlib.sha256(data).hexdigest(), bundle.manifest.files[relative].sha256
    if digest != wanted:
        raise BundleError(f"{path}: must have SHA-256 {wanted}, got {digest}")
    return data


def load_booster(bundle: Bundle, relative: str, data: bytes) -> lightgbm.Booster:
    """Load a booster from its text. The text must have passed `check_booster_text` before LightGBM sees it."""
    path = bundle.path(relative)
    try:
        booster = lightgbm.Booster(model_str=text_of_trees(data))
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise BundleError(f"{path}: must be a LightGBM model, got: {error}") from error
    check_feature_names(str(path), booster.feature_name(), bundle.manifest.feature_names)
    return booster
