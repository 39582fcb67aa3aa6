"""Archives of strangers: what is refused, by name, and what is written to disk."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import struct
import tracemalloc
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from benchmark.rehearsal.archive import ArchiveLimits, unpack
from inference.core.errors import InterruptedRunError, InvalidEntryError, OutputError

MAIN = zipfile.ZipInfo("main.py")


def member(name: str, mode: int = 0, **attributes: object) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name  # past ZipInfo's own tidying
    info.external_attr = mode << 16
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def archive_of(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("main.py", "print(1)\n")
        for info, content in members:
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (member("../escape.py"), "member '../escape.py': its path must not have '..'"),
        (member("a/../../escape.py"), "member 'a/../../escape.py': its path must not have '..'"),
        (member("/etc/cron.d/x"), "member '/etc/cron.d/x': its path must not be absolute"),
        (member("C:/x.py"), "member 'C:/x.py': its path must not be absolute"),
        (member("a//b.py"), "its path must not have '.' or empty parts"),
        (member("./b.py"), "its path must not have '.' or empty parts"),
        (member("a\\b.py"), "its name must not have a backslash"),
        (member("a\nb.py"), "its name must be printable"),
        (member("x" * 256), "its name must have at most 255 bytes"),
        (member("d/" * 600 + "x"), "its path 1024"),
        (member("d/" * 32 + "x"), "its path must have at most 32 parts"),
        (member("link", stat.S_IFLNK | 0o777), "member 'link': it must not be a link"),
        (member("pipe", stat.S_IFIFO | 0o644), "member 'pipe': it must be a file or a folder"),
        (member("device", stat.S_IFBLK | 0o644), "member 'device': it must be a file or a folder"),
        (member("folder", stat.S_IFDIR | 0o755), "its name and its type must agree"),
        (member("data/x.csv"), "member 'data/x.csv': it must not be in a folder reserved by the contract"),
        (member("Data/x.csv"), "it must not be in a folder reserved by the contract"),
        (member("submission/submission.csv"), "it must not be in a folder reserved by the contract"),
        (member("MAIN.py"), "member 'MAIN.py': must not differ from 'main.py' in case only"),
        (member("main.py/x"), "'main.py' must be in the archive once, got it as file and folder"),
    ],
)
def test_a_member_that_is_not_where_it_should_be_is_refused_by_name(
    info: zipfile.ZipInfo, message: str, tmp_path: Path
) -> None:
    path, folder = archive_of(tmp_path / "a.zip", (info, b"content")), tmp_path / "out"
    folder.mkdir()
    with pytest.raises(InvalidEntryError) as error:
        unpack(path, folder)
    assert message in str(error.value)
    assert error.value.exit_code == 12
    assert list(folder.iterdir()) == []
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.zip", "out"]


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", ("x.py", b"1"), ("x.py", b"2"))
    with pytest.raises(InvalidEntryError, match="member 'x.py': 'x.py' must be in the archive once, got it twice"):
        unpack(path, tmp_path)


def test_a_name_with_a_nul_byte_is_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", ("evil.py?.txt", b"1"))
    path.write_bytes(path.read_bytes().replace(b"evil.py?.txt", b"evil.py\0.txt"))
    with pytest.raises(InvalidEntryError, match="its name must not have a NUL byte"):
        unpack(path, tmp_path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", ("secret.py", b"1"))
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x01\x02")  # the last member's entry in the list
    content[at + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(InvalidEntryError, match="member 'secret.py': it must not be encrypted"):
        unpack(path, tmp_path)


def test_an_unusual_compression_is_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", (member("x.py", compress_type=zipfile.ZIP_LZMA), b"1"))
    with pytest.raises(InvalidEntryError, match="member 'x.py': it must be stored or deflated"):
        unpack(path, tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("other.py",), "must have a file main.py at its root$"),
        (
            ("entry/main.py",),
            "must have a file main.py at its root; got entry/main.py: pack the contents of that folder",
        ),
        (("Main.py",), "must have a file main.py at its root$"),
        (("main.py/", "main.py/x"), "must have a file main.py at its root"),
        ((), "must have a file main.py at its root"),
    ],
)
def test_without_main_at_the_root_an_archive_is_refused(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "")
    with pytest.raises(InvalidEntryError, match=message):
        unpack(tmp_path / "a.zip", tmp_path)


def test_an_archive_that_unpacks_to_very_much_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("main.py", "")
        with archive.open("zeros.bin", "w") as file:
            for _ in range(80):
                file.write(bytes(1 << 20))
    assert path.stat().st_size < 200_000
    with pytest.raises(InvalidEntryError, match="member 'zeros.bin': must unpack to at most 100 times the archive's"):
        unpack(path, tmp_path)
    with pytest.raises(InvalidEntryError, match="must unpack to at most 1,048,576 bytes, got 83,886,080"):
        unpack(path, tmp_path, ArchiveLimits(unpacked_bytes=1 << 20))
    assert [one.name for one in tmp_path.iterdir()] == ["bomb.zip"]


def test_too_many_members_and_too_long_a_list_are_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", *[(f"{k}.txt", b"") for k in range(50)])
    with pytest.raises(InvalidEntryError, match="must have at most 50 members, got 51"):
        unpack(path, tmp_path, ArchiveLimits(members=50))
    with pytest.raises(InvalidEntryError, match="the list of members must have at most 1000 bytes, got"):
        unpack(path, tmp_path, ArchiveLimits(list_bytes=1000))


def test_folders_that_are_only_on_the_way_are_counted(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", *[(f"{k}/a/b/c.txt", b"") for k in range(20)])
    with pytest.raises(
        InvalidEntryError, match="member '16/a/b/c.txt': the paths must have at most 50 folders, got more"
    ):
        unpack(path, tmp_path, ArchiveLimits(folders=50))
    (tmp_path / "out").mkdir()
    assert unpack(path, tmp_path / "out", ArchiveLimits(folders=60)).archive_members == 21


def test_many_members_are_refused_before_there_is_an_object_of_each(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    n = 500_000
    path.write_bytes(entry * n + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entry) * n, 0, 0))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidEntryError, match="must have at most 100,000 members, got 500,000"):
            unpack(path, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 << 20


def test_a_list_that_claims_to_be_long_is_not_read(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    end = content.rfind(b"PK\x05\x06")
    content[end + 12 : end + 16] = struct.pack("<L", 0xFFFFFFF0)
    path.write_bytes(content)
    with pytest.raises(InvalidEntryError, match="the list of members must have at most 33554432 bytes, got 4294967280"):
        unpack(path, tmp_path)


def test_a_large_archives_own_record_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)  # writes the large form from four members on
    path = archive_of(tmp_path / "a.zip", *[(f"{k}.txt", b"") for k in range(5)])
    assert b"PK\x06\x06" in path.read_bytes()
    (tmp_path / "out").mkdir()
    assert unpack(path, tmp_path / "out").archive_members == 6
    with pytest.raises(InvalidEntryError, match="the list of members must have at most 100 bytes"):
        unpack(path, tmp_path, ArchiveLimits(list_bytes=100))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("this is no archive")
    (tmp_path / "packed.zip").write_bytes(gzip.compress(b"x"))
    (tmp_path / "empty.zip").touch()
    (tmp_path / "folder.zip").mkdir()
    os.mkfifo(tmp_path / "pipe.zip")
    whole = archive_of(tmp_path / "whole.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:-10])
    (tmp_path / "headless.zip").write_bytes(whole[60:])
    for name, message in (
        ("text.zip", "must be a ZIP archive, got a text file"),
        ("packed.zip", "must be a ZIP archive, got a gzip file"),
        ("empty.zip", "must be a ZIP archive, got an empty file"),
        ("folder.zip", "must be a regular file"),
        ("pipe.zip", "must be a regular file"),
        ("cut.zip", "must be a ZIP archive, got one that is cut short or damaged"),
        ("headless.zip", "must be"),
        ("nowhere.zip", "must be a readable archive, got: No such file"),
    ):
        with pytest.raises(InvalidEntryError, match=f"{name}.*{message}") as error:
            unpack(tmp_path / name, tmp_path)
        assert ("zip -r" in error.value.hint) is ("must be a ZIP archive" in str(error.value))


def test_members_come_out_as_they_went_in(tmp_path: Path) -> None:
    path, folder = tmp_path / "a.zip", tmp_path / "out"
    folder.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("main.py", "print(1)\n")
        archive.writestr("deep/er/weights.bin", bytes(range(256)) * 1000)
        archive.writestr("empty/", "")
        archive.writestr(member("run.sh", stat.S_IFREG | 0o4755), "#!/bin/sh\n")
        archive.writestr("données/é.txt", "é")
    facts = unpack(path, folder)
    assert facts.archive_members == 5
    assert facts.unpacked_bytes == 9 + 256_000 + 10 + 2
    assert (folder / "main.py").read_text() == "print(1)\n"
    assert (folder / "deep/er/weights.bin").read_bytes() == bytes(range(256)) * 1000
    assert (folder / "empty").is_dir()
    assert (folder / "données/é.txt").read_text() == "é"
    assert stat.S_IMODE((folder / "run.sh").stat().st_mode) & 0o7700 == 0o700  # runs, but not as somebody else
    assert not (folder / "main.py").stat().st_mode & 0o111


def test_nothing_that_is_there_is_overwritten_and_no_link_followed(tmp_path: Path) -> None:
    path, folder = archive_of(tmp_path / "a.zip"), tmp_path / "out"
    folder.mkdir()
    (tmp_path / "precious").write_text("precious")
    (folder / "main.py").symlink_to(tmp_path / "precious")
    with pytest.raises(OutputError, match="main.py must be writable, got: File exists"):
        unpack(path, folder)
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    path = archive_of(tmp_path / "a.zip", ("weights.bin", b"0123456789" * 100))
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"0123456780", 1))
    with pytest.raises(InvalidEntryError, match="member 'weights.bin': must be intact, got: Bad CRC-32"):
        unpack(path, folder)


def test_a_member_that_has_more_than_it_says_is_not_written_further(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("main.py", "")
        archive.writestr("liar.bin", bytes(3 << 20))
    content = buffer.getvalue().replace(struct.pack("<L", 3 << 20), struct.pack("<L", 1000))
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InvalidEntryError, match="member 'liar.bin': must be intact"):
        unpack(tmp_path / "a.zip", folder)
    assert (folder / "liar.bin").stat().st_size <= 1000


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024  # as shutil has it
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 95, 5))
    path = archive_of(tmp_path / "a.zip")
    with pytest.raises(OutputError, match="must have 9 bytes free to unpack, got 5"):
        unpack(path, tmp_path)
    assert not (tmp_path / "main.py").exists()


def test_a_large_member_does_not_go_through_memory_as_a_whole(tmp_path: Path) -> None:
    path, folder = tmp_path / "a.zip", tmp_path / "out"
    folder.mkdir()
    block = os.urandom(1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("main.py", "")
        with archive.open("weights.bin", "w") as file:
            for _ in range(96):
                file.write(block)
    tracemalloc.start()
    try:
        unpack(path, folder)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (folder / "weights.bin").stat().st_size == 96 << 20
    assert peak < 8 << 20


def test_unpacking_can_be_stopped(tmp_path: Path) -> None:
    def stop() -> None:
        raise InterruptedRunError("SIGTERM: stopped", 15)

    with pytest.raises(InterruptedRunError):
        unpack(archive_of(tmp_path / "a.zip"), tmp_path, check=stop)


def test_the_check_of_an_archive_can_be_stopped_at_every_member(tmp_path: Path) -> None:
    calls = iter(range(30))

    def stop() -> None:
        if next(calls) == 29:
            raise InterruptedRunError("SIGTERM: stopped", 15)

    path = archive_of(tmp_path / "a.zip", *[(f"{k}.txt", b"") for k in range(29)])
    (tmp_path / "out").mkdir()
    with pytest.raises(InterruptedRunError):
        unpack(path, tmp_path / "out", check=stop)
    assert list((tmp_path / "out").iterdir()) == []
