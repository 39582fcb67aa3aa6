"""Opening a bundle: the manifest is read, every file is verified."""

import hashlib
import os
import stat
from pathlib import Path

from pydantic import ValidationError

from inference.bundle.manifest import MANIFEST_NAME, SAVED_MODEL_NAME, FileEntry, Manifest, booster_paths
from inference.core.config_files import first_problem
from inference.core.errors import BundleError
from inference.core.files import sha256_of_file


class Bundle:
    """A model bundle on disk whose every file has the size and hash of its manifest."""

    def __init__(self, folder: Path, manifest: Manifest, bundle_id: str) -> None:
        self.folder = folder
        self.manifest = manifest
        self.id = bundle_id
        """SHA-256 of the manifest, and so of everything in the bundle."""

    def path(self, relative: str) -> Path:
        """A file or folder of the bundle."""
        return self.folder / relative


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle's manifest and verify every file it lists. Raises BundleError naming what is wrong."""
    manifest, identity = read_manifest(folder)
    needed = [f"{network.folder}/{SAVED_MODEL_NAME}" for network in manifest.networks] + booster_paths(manifest)
    for relative in needed:
        if relative not in manifest.files:
            raise BundleError(f"{folder / MANIFEST_NAME}: files must list {relative}")
    for relative, entry in manifest.files.items():
        _verify_file(folder / relative, entry)
    unlisted = sorted(_files_below(folder) - set(manifest.files) - {MANIFEST_NAME})
    if unlisted:
        raise BundleError(f"{folder}: every file must be listed in the manifest, got {unlisted[:3]} besides")
    return Bundle(folder, manifest, identity)


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """A bundle's manifest and the bundle's identity, without a look at the other files."""
    path = folder / MANIFEST_NAME
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: must be a readable manifest, got: {error.strerror or error}") from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{path}: {first_problem(error)}") from error
    return manifest, hashlib.sha256(text).hexdigest()


def _verify_file(path: Path, entry: FileEntry) -> None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path}: must be a regular file")
        digest = sha256_of_file(path) if status.st_size == entry.n_bytes else None
    except OSError as error:
        raise BundleError(f"{path}: must be readable, got: {error.strerror or error}") from error
    if digest is None:
        raise BundleError(f"{path}: must have {entry.n_bytes} bytes, got {status.st_size}")
    if digest != entry.sha256:
        raise BundleError(f"{path}: must have SHA-256 {entry.sha256}, got {digest}")


def _files_below(folder: Path) -> set[str]:
    """Every file below a folder, and links to folders, which are none of a bundle's."""
    found = set()
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        found |= {os.path.relpath(os.path.join(parent, name), folder) for name in files + links}
    return found
