"""A participant's archive: checked before anything is written, then unpacked to disk member by member."""

import os
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from inference.core.errors import InvalidEntryError, OutputError
from inference.core.files import HASH_BLOCK_BYTES, os_errors, output_errors
from models.bundling.pack import PERMISSIONS_SHIFT
from models.spec.contract import SERENGETI_2019, Contract

MAX_NAME_BYTES = 255
"""Of one part of a path: the limit of Linux."""
MAX_PATH_BYTES = 1024
MAX_DEPTH = 32
"""Parts of a path; those of installed packages stay below 15."""
ALLOWED_COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED_FLAG = 0x1
EXECUTABLE = 0o100
UNPACK_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
"""Errors that zipfile raises over damaged members."""
# The last record of a ZIP file (APPNOTE 4.3.16) and its large form (4.3.14, 4.3.15): how large the list of members is.
END_RECORD = struct.Struct("<4s4H2LH")
END_MAGIC = b"PK\x05\x06"
LARGE_LOCATOR = struct.Struct("<4sLQL")
LARGE_LOCATOR_MAGIC = b"PK\x06\x07"
LARGE_END_RECORD = struct.Struct("<4sQ2H2L4Q")
LARGE_END_MAGIC = b"PK\x06\x06"
MEMBER_MAGIC = b"PK\x01\x02"
MAX_COMMENT_BYTES = 0xFFFF
CUT_SHORT = "one that is cut short or damaged"
OTHER_KINDS = {b"PK": CUT_SHORT, b"\x1f\x8b": "a gzip file", b"BZh": "a bzip2 file", b"\xfd7zXZ": "an xz file"}
"""By their first bytes."""
HEAD_BYTES = 512
ZIP_HINT = "in the folder of the program run `zip -r ../submission.zip .`, or give the folder itself"
MAX_TEXT_BYTES = 1 << 20
"""Of a file that must hold a line."""


@dataclass(frozen=True)
class ArchiveLimits:
    """How large an archive may become.

    Attributes
    ----------
    members : files and folders
    folders : on the paths of members, without being members
    unpacked_bytes : of all members together
    ratio : unpacked bytes to a byte of the archive; real programs and weights stay below 20
    ratio_from_bytes : archives that unpack to less than this may have any ratio
    list_bytes : of the list of members, the only part that is read into memory
    """

    members: int = 100_000
    folders: int = 10_000
    unpacked_bytes: int = 32 << 30
    ratio: float = 100.0
    ratio_from_bytes: int = 64 << 20
    list_bytes: int = 32 << 20


DEFAULT_LIMITS = ArchiveLimits()


@dataclass(frozen=True)
class ArchiveFacts:
    """A valid archive, in the words of `rehearsal.json`."""

    archive_members: int
    archive_bytes: int
    unpacked_bytes: int


def unpack(
    path: Path,
    folder: Path,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    check: Callable[[], None] = lambda: None,
    contract: Contract = SERENGETI_2019,
    source: Path | None = None,
) -> ArchiveFacts:
    """Check an archive and write its members below a folder in which none of their names exists.

    Nothing is overwritten, no link is followed, and a member goes through memory in blocks. `check` is called for each
    member and before each block, and may raise. Messages name `source`, the folder that the archive was made of, if it was.

    Raises InvalidEntryError if the archive must be refused, before anything is written, or a member's content is
    damaged; OutputError if the disk is too small or the folder is not writable.
    """
    shown = source or path
    with _opened(path, limits) as archive:
        members = archive.infolist()
        places = _check_members(shown, members, limits, check, contract)
        facts = _check_sizes(shown, members, path.stat().st_size, limits)
        _check_required(shown, archive, places, contract)
        with output_errors(folder):
            free = shutil.disk_usage(folder).free
        if free < facts.unpacked_bytes:
            raise OutputError(f"{folder}: must have {facts.unpacked_bytes:,} bytes free to unpack, got {free:,}")
        for member in members:
            _unpack_member(shown, archive, member, folder, check)
    return facts


def check_totals(path: Path, n_members: int, n_bytes: int, limits: ArchiveLimits = DEFAULT_LIMITS) -> None:
    """Raise InvalidEntryError for an archive, or a folder that is to be one, with too many members or bytes."""
    if n_members > limits.members:
        raise InvalidEntryError(f"{path}: must have at most {limits.members:,} members, got {n_members:,}")
    if n_bytes > limits.unpacked_bytes:
        raise InvalidEntryError(f"{path}: must unpack to at most {limits.unpacked_bytes:,} bytes, got {n_bytes:,}")


def _place(path: Path, name: str) -> str:
    """A member of an archive, or the file of the folder that it was made of, for messages."""
    return f"{path}, {'file' if path.is_dir() else 'member'} {name!r}"


@contextmanager
def _opened(path: Path, limits: ArchiveLimits) -> Iterator[zipfile.ZipFile]:
    """The archive, after a check of the size of its list of members."""
    with os_errors(InvalidEntryError, f"{path}: must be a readable archive"):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidEntryError(f"{path}: must be a regular file")
    with open(descriptor, "rb") as file:
        size, most = _list_bytes(file), limits.list_bytes
        if size is None:
            raise InvalidEntryError(f"{path}: must be a ZIP archive, got {_kind_of(file)}", hint=ZIP_HINT)
        if size > most:
            raise InvalidEntryError(f"{path}: the list of members must have at most {most} bytes, got {size}")
        check_totals(path, _count_members(file, size), 0, limits)
        try:
            archive = zipfile.ZipFile(file)
        except UNPACK_ERRORS as error:
            raise InvalidEntryError(
                f"{path}: must be a ZIP archive, got {CUT_SHORT}: {error}", hint=ZIP_HINT
            ) from error
        with archive:
            yield archive


def _kind_of(file: IO[bytes]) -> str:
    """The kind of a file that is no ZIP archive, for messages."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    other = "another kind of file" if b"\0" in head else "a text file" if head else "an empty file"
    return next((name for magic, name in OTHER_KINDS.items() if head.startswith(magic)), other)


def _list_bytes(file: IO[bytes]) -> int | None:
    """Bytes of the list of members, according to the end of the file; None if it is not a ZIP file."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - END_RECORD.size - MAX_COMMENT_BYTES)
    file.seek(start)
    tail = file.read(end - start)
    at = tail.rfind(END_MAGIC)
    if at < 0 or len(tail) - at < END_RECORD.size:
        return None
    sizes = [int(END_RECORD.unpack_from(tail, at)[5])]
    locator_at = start + at - LARGE_LOCATOR.size
    if locator_at >= LARGE_END_RECORD.size:
        file.seek(locator_at)
        magic, _, record_at, _ = LARGE_LOCATOR.unpack(file.read(LARGE_LOCATOR.size))
        if magic == LARGE_LOCATOR_MAGIC:
            # Readers differ: some look where the locator points, others right before it. The larger one counts.
            for position in (min(record_at, locator_at), locator_at - LARGE_END_RECORD.size):
                file.seek(position)
                record = file.read(LARGE_END_RECORD.size)
                if record.startswith(LARGE_END_MAGIC) and len(record) == LARGE_END_RECORD.size:
                    sizes.append(int(LARGE_END_RECORD.unpack(record)[8]))
    # If the large form is used, the number in the small one is meaningless.
    return max(sizes[1:], default=sizes[0])


def _count_members(file: IO[bytes], list_bytes: int) -> int:
    """Upper bound of the members in a list, before each becomes an object: every entry begins with the same bytes."""
    end = file.seek(0, os.SEEK_END)
    file.seek(
        max(0, end - list_bytes - END_RECORD.size - MAX_COMMENT_BYTES - LARGE_LOCATOR.size - LARGE_END_RECORD.size)
    )
    return file.read().count(MEMBER_MAGIC)


def _check_members(
    path: Path,
    members: list[zipfile.ZipInfo],
    limits: ArchiveLimits,
    check: Callable[[], None],
    contract: Contract,
) -> dict[str, tuple[str, bool]]:
    """The place of every member and every folder on its path: name, and whether it is a folder."""
    places: dict[str, tuple[str, bool]] = {}
    for n_before, member in enumerate(members):
        check()
        complaint = _complaint(member, contract.reserved_names) or _take_place(member, places)
        if complaint:
            raise InvalidEntryError(f"{_place(path, member.orig_filename)}: {complaint}")
        if len(places) > n_before + 1 + limits.folders:
            raise InvalidEntryError(
                f"{_place(path, member.orig_filename)}: the paths must have at most {limits.folders:,} folders, got more"
            )
    return places


def _check_sizes(path: Path, members: list[zipfile.ZipInfo], n_bytes: int, limits: ArchiveLimits) -> ArchiveFacts:
    unpacked_bytes = sum(member.file_size for member in members)
    check_totals(path, len(members), unpacked_bytes, limits)
    if unpacked_bytes > limits.ratio_from_bytes and unpacked_bytes > limits.ratio * n_bytes:
        worst = max(members, key=lambda member: member.file_size)
        raise InvalidEntryError(
            f"{_place(path, worst.filename)}: must unpack to at most {limits.ratio:g} times the archive's "
            f"{n_bytes:,} bytes, got {unpacked_bytes:,} of all members, {worst.file_size:,} of this one"
        )
    return ArchiveFacts(len(members), n_bytes, unpacked_bytes)


def _check_required(
    path: Path, archive: zipfile.ZipFile, places: dict[str, tuple[str, bool]], contract: Contract
) -> None:
    """The entry file and the others that the contract asks for are there, and hold the lines that they must hold."""
    for name, lines in {contract.entry: (), **contract.files}.items():
        wanted = " or ".join(map(repr, lines))
        if places.get(name.casefold()) != (name, False):
            deeper = sorted(one for one in archive.namelist() if one.endswith(f"/{name}"))
            got = f"; got {deeper[0]}: pack the contents of that folder, not the folder" if deeper else ""
            line = f", with the line {wanted}" if lines else ""
            raise InvalidEntryError(f"{path}: must have a file {name} at its root{line}{got}")
        member = archive.getinfo(name)
        text = b"".join(_content(path, archive, member)) if lines and member.file_size <= MAX_TEXT_BYTES else b""
        if lines and not {one.encode() for one in lines}.intersection(text.splitlines()):
            raise InvalidEntryError(
                f"{_place(path, name)}: must have the line {wanted}",
                hint="a rehearsal of another program needs a contract file with another `entry`",
            )


def _complaint(member: zipfile.ZipInfo, reserved: frozenset[str]) -> str | None:
    """The rule that a member breaks on its own, None if it breaks none."""
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> PERMISSIONS_SHIFT)
    parts = name.removesuffix("/").split("/")
    rules = {
        "its name must not have a NUL byte": member.orig_filename.partition("\0")[0] == member.orig_filename,
        "its name must not have a backslash": "\\" not in member.orig_filename,
        "its path must not be absolute": not name.startswith("/") and not (name[1:2] == ":" and name[:1].isalpha()),
        "its path must not have '..'": ".." not in parts,
        "its path must not have '.' or empty parts": not {".", ""}.intersection(parts),
        "its name must be printable": name.isprintable(),
        f"its name must have at most {MAX_NAME_BYTES} bytes, its path {MAX_PATH_BYTES}": _fits(name, parts),
        f"its path must have at most {MAX_DEPTH} parts": len(parts) <= MAX_DEPTH,
        "it must not be a link": kind != stat.S_IFLNK,
        "it must be a file or a folder": kind in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK),
        "its name and its type must agree": kind == 0 or (kind == stat.S_IFDIR) == member.is_dir(),
        "it must not be encrypted": not member.flag_bits & ENCRYPTED_FLAG,
        "it must be stored or deflated": member.compress_type in ALLOWED_COMPRESSION,
        "a folder must not have content": not member.is_dir() or member.file_size == 0,
        "it must not be in a folder reserved by the contract": parts[0].casefold() not in reserved,
    }
    return next((rule for rule, holds in rules.items() if not holds), None)


def _fits(name: str, parts: list[str]) -> bool:
    try:
        return max(len(part.encode()) for part in parts) <= MAX_NAME_BYTES and len(name.encode()) <= MAX_PATH_BYTES
    except UnicodeEncodeError:  # half a surrogate pair is not a file name
        return False


def _take_place(member: zipfile.ZipInfo, places: dict[str, tuple[str, bool]]) -> str | None:
    """The conflict with an earlier member: the same name, a name that differs in case only, or a file as folder."""
    parts = member.filename.removesuffix("/").split("/")
    for depth in range(1, len(parts) + 1):
        name = "/".join(parts[:depth])
        is_folder = depth < len(parts) or member.is_dir()
        key = unicodedata.normalize("NFC", name).casefold()  # some file systems treat such names as the same
        is_new = key not in places
        earlier, was_folder = places.setdefault(key, (name, is_folder))
        if earlier != name:
            return f"must not differ from {earlier!r} in case only"
        if not is_new and not (is_folder and was_folder):
            return f"{name!r} must be in the archive once, got it {'twice' if is_folder == was_folder else 'as file and folder'}"
    return None


def _unpack_member(
    path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, check: Callable[[], None]
) -> None:
    target = folder / member.filename
    with output_errors(target):
        if member.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = 0o755 if member.external_attr >> PERMISSIONS_SHIFT & EXECUTABLE else 0o644
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        for block in _content(path, archive, member):
            check()
            with output_errors(target):
                file.write(block)


def _content(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """A member's bytes in blocks, never more than its entry claims; its checksum is checked at the end."""
    n_left = member.file_size
    try:
        with archive.open(member) as source:
            while block := source.read(HASH_BLOCK_BYTES):
                n_left -= len(block)
                yield block
    except UNPACK_ERRORS as error:
        raise InvalidEntryError(f"{_place(path, member.filename)}: must be intact, got: {error}") from error
    if n_left:
        raise InvalidEntryError(
            f"{_place(path, member.filename)}: must have {member.file_size} bytes, got {n_left} less"
        )
