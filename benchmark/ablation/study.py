"""The ablation study: all steps over several seeds."""

import statistics
from pathlib import Path
from typing import Any

from benchmark.ablation import one_seed
from benchmark.ablation.one_seed import CLOCK_NAME, ROWS_NAME
from benchmark.ablation.plan import JUDGING, AblationSize
from benchmark.ablation.steps import NETWORKS, STEPS
from benchmark.provenance import origin
from inference.core.files import read_json, write_json
from models.spec.kinds import Classes


def run_ablation(work: Path, plan: AblationSize, n_workers: int, command: str) -> dict[str, Any]:
    """Run every seed; returns figures ready for JSON. Finished work of a seed is not repeated."""
    folders = {seed: one_seed.seed_folder(work, plan, seed) for seed in plan.seeds}
    for seed, folder in folders.items():
        if not (folder / ROWS_NAME).exists():
            with one_seed.timed_step(folder):
                rows = one_seed.run_seed(folder, plan, seed, n_workers)
            write_json(rows, folder / ROWS_NAME)
    seeds = [read_json(folder / ROWS_NAME) for folder in folders.values()]
    return {
        "what": "the published solution step by step, small networks on synthetic seasons",
        "sequences_per_season": plan.n_sequences,
        "seconds": round(sum(read_json(folder / CLOCK_NAME)["seconds"] for folder in folders.values())),
        "seeds": list(plan.seeds),
        "priors": _over_seeds([one["priors"] for one in seeds]),
        "steps": summary(seeds),
        "networks": {
            name: _spread([one_seed.validation_loss(folder, name) for folder in folders.values()])
            for name, network in NETWORKS.items()
            if network.classes is Classes.ALL
        },
        **origin(command),
    }


def summary(seeds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per step: means and spreads over the seeds, and the change from the step it is compared with."""
    rows = []
    for step in STEPS:
        parts = {name: _over_seeds([one[step.number][name] for one in seeds]) for name in seeds[0][step.number]}
        row: dict[str, Any] = {
            "step": step.number,
            "name": step.name,
            "against": step.against,
            "published": step.published,
            "published_change": step.published_change,
            **parts,
        }
        if step.against:
            changes = [one[step.number][JUDGING]["log_loss"] - one[step.against][JUDGING]["log_loss"] for one in seeds]
            row["change"] = {**_spread(changes), "of_each_seed": changes}
        rows.append(row)
    return rows


def _over_seeds(values: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: _spread([one[name] for one in values]) for name in values[0]}


def _spread(values: list[float]) -> dict[str, float]:
    """Mean, and standard deviation if there is more than one seed."""
    return {"mean": statistics.fmean(values), "spread": statistics.stdev(values) if len(values) > 1 else 0.0}
