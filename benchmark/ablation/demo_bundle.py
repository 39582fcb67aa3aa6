"""The demo bundle: small networks of the ladder with few stackers, small enough for git, and where it comes from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from benchmark.ablation.one_seed import prepare, seed_folder, stacked_classes, train_stackers
from benchmark.ablation.plan import FULL
from benchmark.ablation.steps import recipe_of, step_named
from inference.bundle.reader import Bundle
from inference.core.errors import UsageError
from inference.core.files import atomic_writer
from inference.core.labels import LABELS
from inference.core.sequences import ImageSize
from models.bundling.build import build_bundle

PLAN = replace(FULL, name="demo", seeds=(1,), n_sequences=400, n_cameras=10, photo_size=ImageSize(480, 640), rounds=120)
"""Photos like those of `hakuna demo`, and fewer rounds than the ladder's: boosters of some ten kilobytes."""
MOST_STACKED = 4
MOST_BYTES = 2_000_000
NAME = "demo"
PROVENANCE_NAME = "README.md"
STEP = replace(step_named("5"), number="demo", sets=("S9", "S10"), flip_tta=True)
"""Networks on frames and on the background, both sets of stackers, mirror images: all but the two-branch network."""
PROVENANCE = """# Demo bundle

Small networks and stackers, trained by this project on synthetic seasons 1 to 10 (seed {seed}, {n_sequences} sequences each,
photos of {photo_size}; networks look at {size}). They know drawn animals and nothing about real ones: **demo model, not for
conclusions**. Stacked classes: {stacked}. No photo, label or weight of anybody else took part.

Made by

    {command}

which takes some minutes on 2 cores; the folder must not exist. `manifest.json` of the bundle lists every file with its SHA-256, and the hashes of the networks
and boosters that they were frozen from.
"""


def make_demo_bundle(work: Path, out: Path, command: str, n_workers: int) -> Bundle:
    """Train what the demo needs below `work`, which keeps it, and write bundle and provenance into the new folder `out`.

    Raises UsageError where the folder is there, or the bundle is too large for git.
    """
    if out.exists():
        raise UsageError(f"--out {out}: must not exist yet")
    [seed] = PLAN.seeds
    folder = seed_folder(work, PLAN, seed)
    labels = prepare(folder, PLAN, seed, n_workers, STEP.networks)
    common = sorted(stacked_classes(labels), key=lambda label: -labels.values[:, LABELS.index(label)].sum())
    stacked = tuple(sorted(common[:MOST_STACKED]))
    stackers = train_stackers(folder, STEP, PLAN, stacked, n_workers)
    recipe = recipe_of(STEP, PLAN.size, stacked, NAME)
    recipe = recipe.model_copy(update={"description": "Small networks trained on synthetic seasons"})
    bundle = build_bundle(recipe, folder / "networks", stackers, out / "bundle", demo=True)
    n_bytes = sum(path.stat().st_size for path in bundle.folder.rglob("*") if path.is_file())
    if n_bytes > MOST_BYTES:
        shutil.rmtree(out)
        raise UsageError(f"--out {out}: must have at most {MOST_BYTES} bytes, got {n_bytes}")
    facts = {**vars(PLAN), "seed": seed, "stacked": ", ".join(stacked), "command": command}
    with atomic_writer(out / PROVENANCE_NAME) as file:
        file.write(PROVENANCE.format(**facts))
    return bundle
