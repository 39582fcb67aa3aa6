"""Records -> final probabilities: aggregation, then the stackers where their features are what they expect."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from inference.aggregation import aggregate, blended
from inference.booster_trial import start_booster_trial
from inference.boosters import Stackers
from inference.features import stacker_features
from inference.provisional import priors_row

if TYPE_CHECKING:
    import numpy.typing as npt

    from inference.bundle import Bundle
    from inference.domain import Probabilities
    from inference.records import Record


@dataclass(frozen=True)
class Estimated:
    """Final probabilities of some records, and the features of those that the stackers saw.

    Attributes
    ----------
    records : N records
    probabilities : float32 (N, C)
    stacked : M of the records: those with every output, whether or not there are stackers
    features : float64 (M, D); None without stackers
    """

    records: list[Record]
    probabilities: Probabilities
    stacked: list[Record]
    features: npt.NDArray[np.float64] | None


class Estimator:
    """The second phase of a bundle in memory, for any number of records at a time."""

    def __init__(self, bundle: Bundle) -> None:
        """Start to try the stackers in a child process, which takes seconds; `load` waits for it."""
        self.bundle = bundle
        self._manifest = bundle.manifest
        self._priors = priors_row(bundle.manifest.priors)
        self._stackers: Stackers | None = None
        start_booster_trial(bundle)

    def load(self) -> None:
        """Load the stackers, unless they are. Raises BundleError where one is unusable."""
        stacking = self._manifest.ensemble.stacking
        if stacking and self._stackers is None:
            self._stackers = Stackers(self.bundle, stacking)

    def __call__(self, records: list[Record]) -> Estimated:
        """Estimate some records; one without a readable frame gets the priors."""
        self.load()
        stacking = self._manifest.ensemble.stacking
        probabilities = np.tile(self._priors, (len(records), 1))
        seen = [record for record in records if record.n_frames]
        if not seen:
            return Estimated(records, probabilities, [], None)
        aggregated = aggregate(seen, self._manifest)
        estimate, features = blended(aggregated, self._manifest), None
        stacked = list(compress(seen, aggregated.is_complete))
        if stacking and self._stackers and stacked:
            rows = aggregated.is_complete
            features = stacker_features(aggregated, self._manifest, stacking)[rows]
            estimate[rows] = self._stackers.restack(estimate[rows], features)
        probabilities[[record.n_frames > 0 for record in records]] = estimate
        return Estimated(records, probabilities, stacked, features)
