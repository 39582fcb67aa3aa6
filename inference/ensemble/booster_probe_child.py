"""The child process of `booster_probe`."""

import numpy as np

from inference.bundle.booster_check import booster_paths, check_booster_text
from inference.bundle.probe_child import Report, run
from inference.bundle.reader import Bundle
from inference.core.errors import BundleError
from inference.ensemble.stackers import load_booster, read_booster


def predict_with_every_booster(bundle: Bundle, report: Report) -> None:
    """Check, load and call every booster. Raises BundleError for the first unusable one."""
    n_features = len(bundle.manifest.feature_names)
    rows = np.array([np.zeros(n_features), np.full(n_features, np.nan)])
    for relative in booster_paths(bundle.manifest):
        path = str(bundle.path(relative))
        report(path)
        data = read_booster(bundle, relative)
        check_booster_text(path, data)
        predicted = np.asarray(load_booster(bundle, relative, data).predict(rows))
        if not np.all((predicted >= 0) & (predicted <= 1)):
            raise BundleError(f"{path}: must give probabilities, got {predicted}")


if __name__ == "__main__":
    run(predict_with_every_booster)
