"""Tables of stackers and bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table

from inference.bundle.manifest import DEMO_WARNING
from inference.bundle.reader import open_bundle
from inference.core.errors import counted
from inference.core.labels import LABELS, N_CLASSES

if TYPE_CHECKING:
    from models.stacking.stack import Direction
    from models.stacking.train_class import ClassResult


def show_bundle(folder: Path) -> None:
    """Verify a bundle and print its content."""
    bundle = open_bundle(folder)
    manifest = bundle.manifest
    console = Console()
    console.print(f"[bold]{manifest.name}[/]  {bundle.id[:12]}  {manifest.description}", highlight=False)
    if manifest.demo:
        console.print(f"[bold red]{DEMO_WARNING}[/]")
    table = Table("network", "looks at", "sizes (height x width)", "mirror images", "difference", "MB")
    for network in manifest.networks:
        n_bytes = sum(entry.n_bytes for path, entry in manifest.files.items() if path.startswith(f"{network.folder}/"))
        table.add_row(
            network.name,
            ", ".join(one.view for one in network.inputs),
            ", ".join(str(size.as_image_size()) for size in network.sizes),
            "yes" if network.flip_tta else "no",
            f"{network.max_export_error:.1e}",
            f"{n_bytes / 1e6:.1f}",
        )
    console.print(table)
    own = {path for network in manifest.networks for path in network.openvino_files} & manifest.files.keys()
    n_own = sum(manifest.files[path].n_bytes for path in own)
    console.print(
        f"for OpenVINO also in its own format: {len(own) // 2} of {len(manifest.networks)}, {n_own / 1e6:.1f} MB"
    )
    ensemble = manifest.ensemble
    console.print(f"preprocessing {ensemble.preprocessing}; frame weights {list(ensemble.frame_weights)}")
    for blend in ensemble.blends:
        classes = "all classes" if blend.classes == LABELS else ", ".join(blend.classes)
        console.print(f"{blend.method} of the frames and {', '.join(blend.networks)} for {classes}", highlight=False)
    if ensemble.stacking:
        console.print(
            f"stackers {', '.join(ensemble.stacking.sets)} for {', '.join(ensemble.stacking.classes)}; "
            f"{len(manifest.feature_names)} features"
        )
    made = manifest.provenance
    console.print(
        f"made by hakuna {made.hakuna_version}, TensorFlow {made.tensorflow_version}, Keras {made.keras_version} "
        f"from {counted(len(made.sources), 'file')}"
    )


def print_stackers(way: Direction, results: list[ClassResult]) -> None:
    """Print the log loss of each class before and after stacking, on the held-out half."""
    table = Table(
        "class", *(Column(name, justify="right") for name in ("before", "after", "change", "positives", "trees"))
    )
    for one in results:
        change = f"{100 * (one.after / one.before - 1):+.1f} %" if one.before else ""
        table.add_row(
            one.label,
            f"{one.before:.6f}",
            f"{one.after:.6f}",
            change,
            str(one.n_positive),
            str(one.n_trees),
        )
    console = Console()
    seasons = f"trained on {way.train.name}, validated on the held-out half of {way.valid.name}"
    console.print(f"{seasons} -> {way.out}", highlight=False)
    console.print(table)
    gained = sum(one.before - one.after for one in results) / N_CLASSES
    console.print(f"the score over {N_CLASSES} classes falls by {gained:.6f}", highlight=False)
