"""A model bundle -> an archive in the competition's format that needs only the runtime's packages."""

import hashlib
import json
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import inference
from inference.bundle.manifest import MANIFEST_NAME
from inference.bundle.reader import Bundle
from inference.core.errors import BundleError
from inference.core.files import HASH_BLOCK_BYTES, atomic_binary_writer, files_below
from inference.core.version import hakuna_version
from models.bundling import packed_main
from models.spec.contract import SERENGETI_2019, Contract

DISTRIBUTION = "hakuna-runtime"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date in a ZIP file. All members have it: the same content gives the same bytes."""
UNIX = 3
"""ZIP's number for the system that a member's permissions belong to."""
PERMISSIONS = stat.S_IFREG | 0o644
BUDGET_SHARE = 31 / 32
"""Share of the time limit, 7 h 45 min of 8 h; the rest is for starting the container and unpacking the archive."""
PERMISSIONS_SHIFT = 16
"""Position of the permissions in a member's external attributes."""


class Packed(NamedTuple):
    """Facts about the written archive."""

    sha256: str
    n_bytes: int
    n_members: int


def pack(bundle: Bundle, out: Path, contract: Contract = SERENGETI_2019) -> Packed:
    """Write a bundle, with the program that runs it under a contract, to the archive `out`.

    Members are stored in a fixed order, with fixed dates and permissions, uncompressed: weights do not compress, and
    different compressors write different bytes. Files pass through memory in blocks.

    Raises
    ------
    BundleError
        A file of the bundle changed after the bundle was opened.
    OutputError
        The archive cannot be written; an earlier file of that name is kept, and no new one is left.
    """
    members = list(_members(bundle, contract))
    with atomic_binary_writer(out) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, source, sha256 in members:
                _store(archive, name, source, sha256)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]  # an IO[bytes] has no readinto, a file has
        return Packed(digest.hexdigest(), file.tell(), len(members))


def _members(bundle: Bundle, contract: Contract) -> Iterator[tuple[str, Path | bytes, str | None]]:
    """`main.py`, files of the contract, the program's sources, the bundle, with the manifest's SHA-256."""
    yield contract.entry, Path(packed_main.__file__), None
    for name, lines in contract.files.items():
        yield name, f"{''.join(lines[:1])}\n".encode(), None
    budget = f"{BUDGET_SHARE * contract.time_limit:g}"
    where = {"data": contract.from_start(contract.data), "out": contract.from_start(contract.out), "budget": budget}
    yield packed_main.CONTRACT_NAME, json.dumps(where).encode(), None
    sources = Path(inference.__file__).parent
    for path in files_below(sources):
        if path.suffix == ".py":
            yield f"{packed_main.SOURCES_FOLDER}/inference/{path.relative_to(sources).as_posix()}", path, None
    # Lets the program find its version although it is not installed.
    version = hakuna_version()
    folder = f"{packed_main.SOURCES_FOLDER}/{DISTRIBUTION.replace('-', '_')}-{version}.dist-info"
    yield f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {version}\n".encode(), None
    yield f"{packed_main.BUNDLE_FOLDER}/{MANIFEST_NAME}", bundle.path(MANIFEST_NAME), bundle.id
    for relative, entry in sorted(bundle.manifest.files.items()):
        yield f"{packed_main.BUNDLE_FOLDER}/{relative}", bundle.path(relative), entry.sha256


def member(name: str, mode: int, n_bytes: int = 0) -> zipfile.ZipInfo:
    """A member without a date. Its size selects the large format, and so must be exact."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.create_system, info.external_attr, info.file_size = UNIX, mode << PERMISSIONS_SHIFT, n_bytes
    return info


def _store(archive: zipfile.ZipFile, name: str, source: Path | bytes, sha256: str | None) -> None:
    if isinstance(source, bytes):
        archive.writestr(member(name, PERMISSIONS), source)
        return
    info = member(name, PERMISSIONS, source.stat().st_size)
    digest = hashlib.sha256()
    with source.open("rb") as file, archive.open(info, "w") as target:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
            target.write(block)
    if sha256 not in (None, digest.hexdigest()):
        raise BundleError(f"{source}: must not change while it is packed, but its SHA-256 has changed")
