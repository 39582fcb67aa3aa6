"""Opens a bundle: reads its manifest and verifies every file."""

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from inference.bundle.booster_check import booster_paths
from inference.bundle.manifest import MANIFEST_NAME, PROOF_RECORDS, SAVED_MODEL_NAME, FileEntry, Manifest
from inference.core.config_files import first_problem
from inference.core.errors import BundleError
from inference.core.files import check_folder, files_below, os_errors, sha256_of_file

MAX_MANIFEST_BYTES = 16 << 20
"""A manifest has about 100 kB."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model bundle on disk; every file has the size and hash in its manifest."""

    folder: Path
    manifest: Manifest
    id: str
    """SHA-256 of the manifest, and therefore of everything in the bundle."""

    def path(self, relative: str) -> Path:
        """A file or folder of the bundle."""
        return self.folder / relative


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle's manifest and verify every file it lists. Raises BundleError naming the defect."""
    manifest, identity = read_manifest(folder)
    networks = [f"{network.folder}/{SAVED_MODEL_NAME}" for network in manifest.networks]
    needed = [*networks, *booster_paths(manifest), PROOF_RECORDS]
    for relative in needed:
        if relative not in manifest.files:
            raise BundleError(f"{folder / MANIFEST_NAME}: files must list {relative}")
    for network in manifest.networks:
        listed = sorted(manifest.files.keys() & {*network.int8_files})
        if len(listed) != len(network.int8_files) * (network.int8 is not None):
            raise BundleError(
                f"{folder / MANIFEST_NAME}: network {network.name} must have int8 figures and files "
                f"{', '.join(network.int8_files)}, or neither, got {listed} {'with' if network.int8 else 'without'} figures"
            )
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:  # hashing releases Python's lock
        for _ in threads.map(lambda path: _verify_file(folder / path, manifest.files[path]), manifest.files):
            pass
    with os_errors(BundleError, f"{folder}: must have folders that can be read"):
        found = files_below(folder)  # includes links to folders, which a bundle never has
    unlisted = sorted({path.relative_to(folder).as_posix() for path in found} - set(manifest.files) - {MANIFEST_NAME})
    if unlisted:
        raise BundleError(f"{folder}: every file must be listed in the manifest, got {unlisted[:3]} in addition")
    return Bundle(folder, manifest, identity)


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """A bundle's manifest and identity, without checking the other files."""
    path = folder / MANIFEST_NAME
    check_folder(folder, BundleError, "the folder of a model bundle", "`hakuna bundle import` makes one")
    inner = [] if path.exists() else sorted(folder.glob(f"*/{MANIFEST_NAME}"))
    hint = f"a bundle is in {inner[0].parent}" if inner else "`hakuna bundle build` makes one of trained networks"
    with os_errors(BundleError, f"{path}: must be a readable manifest", hint):
        _check_regular(path, status := path.stat())
        if status.st_size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{path}: must have {MAX_MANIFEST_BYTES} bytes at most, got {status.st_size}")
        text = path.read_bytes()
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        is_older = any(one["loc"] == ("format_version",) for one in error.errors())
        remedy = "; `hakuna bundle import` or `hakuna bundle build` recreates the bundle" if is_older else ""
        raise BundleError(f"{path}: {first_problem(error)}{remedy}") from error
    return manifest, hashlib.sha256(text).hexdigest()


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path}: must be a regular file")


def _verify_file(path: Path, entry: FileEntry) -> None:
    with os_errors(BundleError, f"{path}: must be readable"):
        _check_regular(path, status := path.stat())
        if status.st_size != entry.n_bytes:
            raise BundleError(f"{path}: must have {entry.n_bytes} bytes, got {status.st_size}")
        if (digest := sha256_of_file(path)) != entry.sha256:
            raise BundleError(f"{path}: must have SHA-256 {entry.sha256}, got {digest}")
