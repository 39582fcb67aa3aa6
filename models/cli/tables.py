"""Tables of stackers and bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table

from inference.bundle.booster_check import booster_paths
from inference.bundle.manifest import DEMO_WARNING, Manifest
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
    parts = parts_of(manifest)
    console.print("; ".join(f"{name} {n_bytes / 1e6:.1f} MB" for name, n_bytes in parts.items()), highlight=False)
    for line in int8_lines(manifest):
        console.print(line, highlight=False)
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


def int8_lines(manifest: Manifest) -> list[str]:
    """A line for each network in int8."""
    return [
        f"{network.name} in int8: expected log loss {network.int8.relative_loss_increase:+.3%} on "
        f"{counted(network.int8.n_compared_images, 'image')}, "
        f"{counted(network.int8.n_float32_layers, 'layer')} in float32"
        for network in manifest.networks
        if network.int8
    ]


def parts_of(manifest: Manifest) -> dict[str, int]:
    """Bytes of a bundle's parts; those that it does not have are left out."""
    paths = {
        "SavedModels": [
            path for path in manifest.files if path.startswith(tuple(f"{one.folder}/" for one in manifest.networks))
        ],
        "OpenVINO": [path for one in manifest.networks for path in one.openvino_files],
        "int8": [path for one in manifest.networks for path in one.int8_files],
        "stackers": booster_paths(manifest),
    }
    sizes = {
        name: sum(manifest.files[path].n_bytes for path in own if path in manifest.files) for name, own in paths.items()
    }
    return {name: n_bytes for name, n_bytes in sizes.items() if n_bytes}


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
