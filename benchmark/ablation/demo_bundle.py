"""The demo bundle and its provenance: small networks of the ablation study and few stackers, small enough for git."""

from dataclasses import replace
from pathlib import Path

from benchmark.ablation.one_seed import prepare, seed_folder, stacked_classes, train_stackers
from benchmark.ablation.plan import FULL
from benchmark.ablation.steps import recipe_of, step_named
from benchmark.report.page import environment
from inference.bundle.reader import Bundle
from inference.core.errors import UsageError
from inference.core.files import atomic_writer, files_below, remove_tree
from inference.core.labels import LABELS
from inference.core.sequences import ImageSize
from models.bundling.build import build_bundle
from models.bundling.quantize import quantize_bundle
from models.data.season_labels import TRAIN_METADATA_NAME

PLAN = replace(FULL, name="demo", seeds=(1,), n_sequences=400, n_cameras=10, photo_size=ImageSize(480, 640), rounds=120)
"""Photos like those of `hakuna demo`, and fewer rounds than in the study, for boosters of some ten kilobytes."""
MOST_STACKED = 4
MOST_BYTES = 2_000_000
STEP = replace(step_named("5"), number="demo", sets=("S9", "S10"), flip_tta=True)
"""Networks on frames and on the background, both sets of stackers, mirror images; no two-branch network."""


def make_demo_bundle(work: Path, out: Path, command: str, n_workers: int) -> Bundle:
    """Train the demo's parts below `work`, which keeps them, and write bundle and provenance into the new folder `out`.

    Raises UsageError if the folder exists or the bundle is too large for git.
    """
    if out.exists():
        raise UsageError(f"--out {out}: must not exist yet")
    [seed] = PLAN.seeds
    folder = seed_folder(work, PLAN, seed)
    labels = prepare(folder, PLAN, seed, n_workers, STEP.networks)
    common = sorted(stacked_classes(labels), key=lambda label: -labels.values[:, LABELS.index(label)].sum())
    stacked = tuple(sorted(common[:MOST_STACKED]))
    stackers = train_stackers(folder, STEP, PLAN, stacked, n_workers)
    recipe = recipe_of(STEP, PLAN.size, stacked, name="demo")
    recipe = recipe.model_copy(update={"description": "Small networks trained on synthetic seasons"})
    plain = build_bundle(recipe, folder / "networks", stackers, folder / "bundle", demo=True, force=True)
    data = folder / "data"
    bundle = quantize_bundle(plain, data, out / "bundle", metadata=data / TRAIN_METADATA_NAME)
    n_bytes = sum(path.stat().st_size for path in files_below(bundle.folder))
    if n_bytes > MOST_BYTES:
        remove_tree(out)
        raise UsageError(f"--out {out}: must have at most {MOST_BYTES} bytes, got {n_bytes}")
    template = environment(Path(__file__).parent).get_template("demo_bundle.md.j2")
    with atomic_writer(out / "README.md") as file:
        file.write(template.render(vars(PLAN), seed=seed, stacked=", ".join(stacked), command=command) + "\n")
    return bundle
