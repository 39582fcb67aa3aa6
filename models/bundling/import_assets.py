"""Keras networks and LightGBM boosters under the names of a recipe -> a complete, checked bundle, or nothing."""

import gc
import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import structlog

from inference.bundle.booster_check import booster_path, check_booster_text, check_feature_names, feature_names_of
from inference.bundle.manifest import (
    MANIFEST_NAME,
    PROOF_RECORDS,
    FileEntry,
    Manifest,
    Network,
    Provenance,
    feature_names,
)
from inference.bundle.reader import Bundle, open_bundle
from inference.core.errors import BundleError, counted
from inference.core.files import (
    check_folder,
    files_below,
    os_errors,
    output_errors,
    read_json,
    remove_tree,
    sha256_of_file,
    sync_folder,
)
from inference.core.version import hakuna_version
from inference.ensemble.booster_probe import probe_boosters
from inference.process.children import exit_with_parent
from inference.process.progress import Progress
from models.bundling.openvino_files import write_openvino
from models.bundling.proof_set import copy_photos, write_records
from models.keras_io.h5_probe import probe_files
from models.spec.recipe import NetworkRecipe, Recipe

log = structlog.get_logger()

LARGE_SOURCE_BYTES = 32 << 20
"""From this size on, a network is frozen, run and compared in a separate process: TensorFlow does not release memory."""
HUGE_SOURCE_BYTES = 320 << 20
"""From this size on, no other network is made at the same time: one of 440 MB takes 3.5 GB, one of 220 MB half of that."""
SIDE_BY_SIDE = 2
"""Processes for other large networks at once."""

Result = TypeVar("Result")


def import_assets(
    assets: Path,
    recipe: Recipe,
    out: Path,
    *,
    demo: bool = False,
    force: bool = False,
    on_progress: Progress = lambda *_: None,
) -> Bundle:
    """Read the files that a recipe names below `assets` and write a bundle; see `make_bundle`."""
    check_folder(assets, BundleError, "the folder with the networks and boosters")
    files = {name: assets / name for name in file_names(recipe)}
    return make_bundle(str(assets), files, recipe, out, demo=demo, force=force, on_progress=on_progress)


def make_bundle(
    where: str,
    files: Mapping[str, Path],
    recipe: Recipe,
    out: Path,
    *,
    demo: bool = False,
    force: bool = False,
    on_progress: Progress = lambda *_: None,
) -> Bundle:
    """Write a bundle to the new folder `out`. `files` are the recipe's files, found at `where`.

    Every frozen network is compared with its source; the manifest records the largest difference. `force` replaces an
    existing bundle once the new one is complete. `on_progress` is called with the number of finished networks.

    Raises
    ------
    BundleError
        A file is missing or unusable, a frozen network differs by more than the recipe allows, `out` exists, or has other
        files than a bundle.
    """
    check_new(out, force=force)
    if missing := [name for name, path in files.items() if not path.is_file()]:
        raise BundleError(
            f"{where}: recipe {recipe.name} needs {counted(len(files), 'file')}, "
            f"got {len(missing)} missing: {', '.join(missing[:5])}"
        )
    sources = {name: file_entry(path) for name, path in files.items()}
    probe_files([files[network.file] for network in recipe.networks])
    with new_bundle(out) as work:
        networks = tuple(_imported_networks(files, recipe, sources, work, on_progress))
        names = feature_names(recipe.as_ensemble(), networks)
        _copy_stackers(files, recipe, names, work)
        write_manifest(recipe, networks, sources, work, demo=demo)
        probe_boosters(open_bundle(work))
    return open_bundle(out)


def check_new(out: Path, *, force: bool) -> None:
    """Raise BundleError unless a bundle may be written to a folder; `force` allows it to replace one."""
    if force and (out / MANIFEST_NAME).is_file():
        _check_replaceable(out)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(f"{out}: must not exist yet, or be a bundle that may be replaced")


@contextmanager
def new_bundle(out: Path) -> Iterator[Path]:
    """An empty folder that becomes the bundle `out`, or replaces it, at the end; after an error it is removed.

    Raises OutputError.
    """
    with output_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    aside = work.with_name(f"{work.name}.replaced")
    try:
        yield work
        work.chmod(0o755)
        with output_errors(out):
            if out.exists():
                out.rename(aside)
            try:
                work.replace(out)
            except OSError:
                if aside.exists():
                    aside.rename(out)
                raise
            sync_folder(out.parent)
    finally:
        with suppress(OSError):
            remove_tree(work)
    with suppress(OSError):
        remove_tree(aside)


def _check_replaceable(folder: Path) -> None:
    """Raise BundleError unless a folder has only the files of its manifest: the others would be deleted, too."""
    with os_errors(BundleError, f"{folder}: must be readable"):
        try:
            known = {MANIFEST_NAME, *read_json(folder / MANIFEST_NAME)["files"]}
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise BundleError(f"{folder}: must be a bundle to be replaced, got: {error}; delete it first") from error
        names = (path.relative_to(folder).as_posix() for path in files_below(folder))
        if other := next((name for name in names if name not in known), None):
            raise BundleError(f"{folder}: must have only the files of a bundle to be replaced, got {other}")


def file_names(recipe: Recipe) -> list[str]:
    """The files named in a recipe: networks, then stackers."""
    names = [network.file for network in recipe.networks]
    if recipe.stacking:
        names += [
            f"{folder}/{label}.txt" for folder in recipe.stacking.folders.values() for label in recipe.stacking.classes
        ]
    return names


def _imported_networks(
    files: Mapping[str, Path], recipe: Recipe, sources: dict[str, FileEntry], work: Path, on_progress: Progress
) -> Iterator[Network]:
    """The networks in order. Large ones are made in processes of their own, side by side as far as memory allows."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        started = {
            one.name: threads.submit(_import_network, files[one.file], one, recipe, sources, work)
            for one in recipe.networks
            if LARGE_SOURCE_BYTES <= sources[one.file].n_bytes < HUGE_SOURCE_BYTES
        }
        try:
            for number, one in enumerate(recipe.networks):
                on_progress(number, len(recipe.networks))
                future = started.get(one.name)
                if future is None:
                    wait(started.values())
                yield future.result() if future else _import_network(files[one.file], one, recipe, sources, work)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _import_network(
    source: Path, recipe: NetworkRecipe, whole: Recipe, sources: dict[str, FileEntry], work: Path
) -> Network:
    folder, xml = (work / name for name in (recipe.as_network().folder, recipe.as_network().openvino_files[0]))
    if sources[recipe.file].n_bytes >= LARGE_SOURCE_BYTES:
        operations, difference = run_in_child(source, _freeze, source, recipe, folder, xml)
    else:
        operations, difference = _freeze(source, recipe, folder, xml)
    if difference > whole.max_export_difference:
        raise BundleError(
            f"network {recipe.name} ({recipe.file}): frozen and source must agree within "
            f"{whole.max_export_difference:g}, got a difference of {difference:g}"
        )
    log.info("network frozen", name=recipe.name, file=recipe.file, largest_difference=f"{difference:.2g}")
    return recipe.as_network(sources[recipe.file].sha256, difference, operations)


def _freeze(source: Path, recipe: NetworkRecipe, folder: Path, xml: Path) -> tuple[tuple[int, ...], float]:
    """Write a network as a SavedModel and in OpenVINO's format; returns its operations and its largest difference."""
    # Keras and TensorFlow take seconds to import; missing files are reported first.
    import keras

    from models.keras_io.frozen_export import (
        export_frozen,
        keras_outputs,
        max_export_error,
        network_errors,
        traced_network,
    )
    from models.keras_io.h5_file import load_network

    with output_errors(folder), network_errors(recipe):
        network = load_network(source, recipe)
        traced = traced_network(network, recipe)
        outputs = keras_outputs(network, recipe)
        operations = export_frozen(traced, recipe, folder)
        del network, traced  # as large as the weights
        keras.backend.clear_session()
        gc.collect()
        if not write_openvino(folder, xml):
            return operations, max_export_error(outputs, recipe, folder)
        return operations, max(max_export_error(outputs, recipe, one) for one in (folder, xml))


def run_in_child(
    path: Path, step: Callable[..., Result], *arguments: Any, begin: Callable[[], None] | None = None
) -> Result:
    """Run a step on a network in a separate process, after `begin`, which by default prepares TensorFlow.

    Raises BundleError, naming the path, if that process dies.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=begin or _begin_child) as child:
        try:
            return child.submit(step, *arguments).result()
        except BrokenProcessPool as error:
            raise BundleError(f"{path}: must fit into memory, but the process that worked on it died") from error


def _begin_child() -> None:
    """End with the parent, and leave GPUs alone: each child would take one for itself."""
    exit_with_parent()
    from inference.networks.engine_tensorflow import prepare_devices

    prepare_devices(use_gpu=False)


def _copy_stackers(files: Mapping[str, Path], recipe: Recipe, names: tuple[str, ...], work: Path) -> None:
    if recipe.stacking is None:
        return
    for set_name, folder in recipe.stacking.folders.items():
        for label in recipe.stacking.classes:
            source = files[f"{folder}/{label}.txt"]
            with os_errors(BundleError, f"{source}: must be readable"):
                data = source.read_bytes()
            check_booster_text(str(source), data)
            check_feature_names(str(source), feature_names_of(data), names)
            target = work / booster_path(set_name, label)
            with output_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)


def write_manifest(
    recipe: Recipe, networks: tuple[Network, ...], sources: dict[str, FileEntry], work: Path, *, demo: bool
) -> None:
    """Write the proof set and the manifest of the files in a folder, made from these sources. Raises OutputError."""
    import tensorflow as tf

    copy_photos(work)
    files = {path.relative_to(work).as_posix(): file_entry(path) for path in files_below(work)}
    provenance = Provenance(
        recipe=recipe.name,
        hakuna_version=hakuna_version(),
        tensorflow_version=str(tf.__version__),
        keras_version=version("keras"),
        sources=sources,
    )
    manifest = recipe.as_manifest(networks, files, provenance, demo=demo)
    write_records(work, manifest)
    manifest = manifest.model_copy(update={"files": files | {PROOF_RECORDS: file_entry(work / PROOF_RECORDS)}})
    save_manifest(manifest, work)


def save_manifest(manifest: Manifest, folder: Path) -> None:
    """Write a manifest; the same one gives the same bytes. Raises OutputError."""
    with output_errors(folder):
        text = json.dumps(manifest.model_dump(mode="json"), indent=1)
        (folder / MANIFEST_NAME).write_text(f"{text}\n", encoding="utf-8")
        os.sync()


def file_entry(path: Path) -> FileEntry:
    """Size and hash of a file. Raises BundleError if it cannot be read."""
    with os_errors(BundleError, f"{path}: must be readable"):
        return FileEntry(sha256=sha256_of_file(path), n_bytes=path.stat().st_size)
