"""The cost of lower precisions on a labelled season: by the labels, and as the program estimates it without them."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.provenance import origin
from benchmark.scoring.files import score
from inference import api
from inference.bundle.reader import open_bundle
from inference.core.choices import EngineName, Precision
from inference.core.errors import UsageError
from inference.dataset.label_tables import aligned, read_submission
from inference.networks.engine import find_engine, lower_precisions
from inference.outputs.submission import SUBMISSION_NAME
from inference.precision.comparison import compare_precisions

ANY_LOSS = 1.0
"""A lower precision is used here even if its proof refuses it: its cost is to be seen."""


def cost_of_precisions(data: Path, labels: Path, bundle: Path, command: str) -> dict[str, Any]:
    """Predict a labelled season in every precision that this machine and the bundle offer; returns figures ready for JSON.

    `increase` of the log loss by the labels comes with its 95 % interval over sites; `estimated_increase` is KL(p || q),
    which needs no labels. `is_accepted` is the outcome of the proof with the bundle's bound. Raises UsageError if nothing
    is offered beside float32.
    """
    opened = open_bundle(bundle)
    offered = lower_precisions(opened, find_engine(EngineName.AUTO))
    if not offered:
        raise UsageError(f"--bundle {bundle}: must have a precision beside float32 on this machine, got none")
    bound = opened.manifest.ensemble.max_mixed_loss_increase
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        api.predict(data, bundle, work / Precision.FLOAT32)
        figures = {one.value: _cost(data, labels, bundle, one, work) for one in offered}
    for one in figures.values():
        one["is_accepted"] = one["relative_increase_in_the_proof"] <= bound
    return {"bundle": opened.manifest.name, "bound": bound, "precisions": figures, **origin(command)}


def _cost(data: Path, labels: Path, bundle: Path, precision: Precision, work: Path) -> dict[str, Any]:
    report = api.predict(data, bundle, work / precision, precision=precision, max_loss_increase=ANY_LOSS)
    exact, lower = (work / one / SUBMISSION_NAME for one in (Precision.FLOAT32, precision))
    scored = score(lower, labels, compare=exact)
    tables = [read_submission(path) for path in (exact, lower)]
    p, q = (aligned(one, tables[0]).astype(np.float32) for one in tables)
    estimated = compare_precisions(p, q, ANY_LOSS)
    found = scored.comparison
    if found is None:
        raise ValueError("the score must compare with float32")
    return {
        "sequences": scored.n_sequences,
        "log_loss_in_float32": found.second,
        "log_loss": found.first,
        "increase": found.difference,
        "interval": found.interval.model_dump(),
        "relative_increase": found.difference / found.second,
        "estimated_increase": estimated.mean_kl,
        "estimated_relative_increase": estimated.relative_increase,
        "relative_increase_in_the_proof": report["precision"]["relative_loss_increase"],
        "audit": report["precision"].get("audit"),
    }
