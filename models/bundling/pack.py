"""A model bundle -> an archive in the competition's format that runs with nothing but the runtime's packages."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import IO, NamedTuple

import inference
from inference.bundle.manifest import MANIFEST_NAME
from inference.bundle.reader import Bundle, open_bundle
from inference.core.errors import BundleError
from inference.core.files import HASH_BLOCK_BYTES, atomic_binary_writer
from models.bundling import packed_main

DISTRIBUTION = "hakuna-runtime"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date of a ZIP file. All members have it: the same content gives the same bytes."""
UNIX = 3
"""ZIP's number for the system whose permissions a member has."""
PERMISSIONS = stat.S_IFREG | 0o644
PERMISSIONS_SHIFT = 16
"""Bits of a member's external attributes below the permissions."""


class Packed(NamedTuple):
    """What was packed."""

    sha256: str
    n_bytes: int
    n_members: int


class _Member(NamedTuple):
    """A file on its way into the archive."""

    name: str
    source: Path | bytes
    sha256: str | None
    """What it must be, where the bundle's manifest says so."""


def pack(bundle_folder: Path, out: Path) -> Packed:
    """Verify a bundle and write it, with the program that runs it, to the archive `out`.

    Members are stored in a fixed order, with fixed dates and permissions, uncompressed: weights do not compress, and
    every compressor writes other bytes. Files go through memory in blocks.

    Raises
    ------
    BundleError
        The bundle is damaged, or changes while it is packed.
    OutputError
        The archive cannot be written; nothing is left under its name that was not there before.
    """
    bundle = open_bundle(bundle_folder)
    members = list(_members(bundle))
    with atomic_binary_writer(out) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for member in members:
                _store(archive, member)
        digest = hashlib.sha256()
        file.seek(0)
        for block in _blocks(file):
            digest.update(block)
        n_bytes = file.tell()
    return Packed(digest.hexdigest(), n_bytes, len(members))


def _members(bundle: Bundle) -> Iterator[_Member]:
    """`main.py`, the program's sources, the bundle; each sorted by name."""
    yield _Member(packed_main.MAIN_NAME, Path(packed_main.__file__), None)
    sources = Path(inference.__file__).parent
    for path in sorted(sources.rglob("*.py")):
        yield _Member(f"{packed_main.SOURCES_FOLDER}/inference/{path.relative_to(sources).as_posix()}", path, None)
    # So the program knows its version although it is not installed.
    version = metadata(DISTRIBUTION)["Version"]
    folder = f"{packed_main.SOURCES_FOLDER}/{DISTRIBUTION.replace('-', '_')}-{version}.dist-info"
    yield _Member(
        f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {version}\n".encode(), None
    )
    yield _Member(f"{packed_main.BUNDLE_FOLDER}/{MANIFEST_NAME}", bundle.path(MANIFEST_NAME), bundle.id)
    for relative, entry in sorted(bundle.manifest.files.items()):
        yield _Member(f"{packed_main.BUNDLE_FOLDER}/{relative}", bundle.path(relative), entry.sha256)


def _store(archive: zipfile.ZipFile, member: _Member) -> None:
    info = zipfile.ZipInfo(member.name, EPOCH)
    info.create_system = UNIX
    info.external_attr = PERMISSIONS << PERMISSIONS_SHIFT
    if isinstance(member.source, bytes):
        archive.writestr(info, member.source)
        return
    info.file_size = member.source.stat().st_size  # decides about the large format, and so must not be a guess
    digest = hashlib.sha256()
    with member.source.open("rb") as source, archive.open(info, "w") as target:
        for block in _blocks(source):
            digest.update(block)
            target.write(block)
    if member.sha256 not in (None, digest.hexdigest()):
        raise BundleError(f"{member.source}: must not change while it is packed, but its SHA-256 is no longer its own")


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(HASH_BLOCK_BYTES):
        yield block
