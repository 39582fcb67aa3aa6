"""The LightGBM stackers: features -> better estimates for the common classes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import lightgbm
import numpy as np

from inference.bundle import booster_path
from inference.domain import LABELS, BundleError

if TYPE_CHECKING:
    import numpy.typing as npt

    from inference.bundle import Bundle, Stacking
    from inference.domain import Probabilities

ANONYMOUS_FEATURE = re.compile(r"Column_\d+")


class Stackers:
    """The boosters of a bundle in memory: one per set and class."""

    def __init__(self, bundle: Bundle, stacking: Stacking) -> None:
        """Load every booster. Raises BundleError where one expects other features than the bundle's."""
        self._columns = [LABELS.index(label) for label in stacking.classes]
        self._boosters = [
            [self._load(bundle, booster_path(name, label)) for name in stacking.sets] for label in stacking.classes
        ]

    @staticmethod
    def _load(bundle: Bundle, relative: str) -> lightgbm.Booster:
        path = bundle.path(relative)
        try:
            booster = lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
        except (lightgbm.basic.LightGBMError, OSError, ValueError) as error:
            raise BundleError(f"{path}: must be a LightGBM model, got: {error}") from error
        check_feature_names(str(path), booster.feature_name(), bundle.manifest.feature_names)
        return booster

    def restack(self, estimate: Probabilities, features: npt.NDArray[np.float64]) -> Probabilities:
        """Replace the stacked classes of an estimate.

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
            answers = [np.asarray(booster.predict(features)) for booster in boosters]
            stacked[:, column] = np.mean(answers, axis=0)
        return stacked


def check_feature_names(where: str, got: list[str], expected: tuple[str, ...]) -> None:
    """Refuse a booster made for other features. Anonymous names (`Column_0` ...) are taken by position."""
    if len(got) != len(expected):
        raise BundleError(f"{where}: must expect {len(expected)} features, got {len(got)}")
    for position, (name, wanted) in enumerate(zip(got, expected, strict=True)):
        if name != wanted and not ANONYMOUS_FEATURE.fullmatch(name):
            raise BundleError(f"{where}: feature {position} must be {wanted}, got {name}")
