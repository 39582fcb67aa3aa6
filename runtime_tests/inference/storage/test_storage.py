"""Where photos lie: the same rules and the same answers for a folder and for the double in memory."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.core.choices import DecoderName, Preset
from inference.core.errors import InputError
from inference.core.sequences import FailureReason, FrameFailure, Image, Sequence
from inference.dataset.input_check import check_any_photo, summarise_input
from inference.images.decoder import decode_sequences, find_decoder
from inference.process.read_timeout import MAX_HANGING, ReadTimeout, StorageUnavailableError
from inference.storage import interface, local
from inference.storage.interface import Entry
from inference.storage.local import LocalFolder
from inference.storage.opening import TimedStorage, open_storage
from runtime_tests.memory_storage import MemoryStorage

UNSAFE = ["", "../secret.jpg", "sub/../../secret.jpg", "sub/../sub/ok.jpg", "a\0b.jpg", "sub\\ok.jpg", "/etc/passwd",
          "\ud800"]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a photo, and photos outside it."""
    folder = tmp_path / "data"
    for path in (folder / "sub" / "ok.jpg", tmp_path / "secret.jpg", tmp_path / "data-too" / "secret.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"photo")
    return folder


@pytest.fixture
def nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening any photo, or looking at its entry, fails the test."""
    for name in ("read_regular_file", "_entry"):
        monkeypatch.setattr(local, name, lambda path: pytest.fail(f"opened {path}"))


def reasons(storage: LocalFolder | MemoryStorage, name: str) -> set[FailureReason | None]:
    """Why `entry` and `read` give nothing; None where they do."""
    return {one.reason if isinstance(one, FrameFailure) else None for one in (storage.entry(name), storage.read(name))}


def test_a_photo_below_the_folder_is_read_whole(folder: Path) -> None:
    (folder / "link.jpg").symlink_to("sub/ok.jpg")
    os.link(folder / "sub" / "ok.jpg", folder / "hard.jpg")
    for name in ("sub/ok.jpg", "link.jpg", "hard.jpg"):
        assert LocalFolder(folder).read(name) == b"photo"
        status = (folder / name).stat()
        assert LocalFolder(folder).entry(name) == Entry(5, status.st_mtime_ns, status.st_ctime_ns)


@pytest.mark.usefixtures("nothing_is_opened")
@pytest.mark.parametrize("name", UNSAFE)
def test_paths_that_leave_the_folder_are_not_opened(name: str, folder: Path) -> None:
    assert reasons(LocalFolder(folder), name) == {FailureReason.UNSAFE_PATH}


@pytest.mark.usefixtures("nothing_is_opened")
@pytest.mark.parametrize(
    "target",
    ["../secret.jpg", "../data-too/secret.jpg", "/etc/passwd", "loop/../way_out", "nowhere/../loop/../way_out"],
)
def test_links_that_leave_the_folder_are_not_opened(target: str, folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "way_out").symlink_to("../secret.jpg")
    (folder / "link.jpg").symlink_to(target)
    assert reasons(LocalFolder(folder), "link.jpg") == {FailureReason.UNSAFE_PATH}


def test_a_folder_that_is_a_link_itself_is_fine(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mounted").symlink_to(folder)
    assert LocalFolder(tmp_path / "mounted").read("sub/ok.jpg") == b"photo"


def test_what_is_no_readable_file_has_its_reason(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    (folder / "empty.jpg").touch()
    (folder / "loop.jpg").symlink_to("loop.jpg")
    with (folder / "huge.jpg").open("wb") as file:
        file.truncate(interface.MAX_FILE_BYTES + 1)
    storage = LocalFolder(folder)
    assert reasons(storage, "nowhere.jpg") == {FailureReason.MISSING}
    assert reasons(storage, "sub") == {FailureReason.NOT_A_FILE}
    assert reasons(storage, "pipe.jpg") == {FailureReason.NOT_A_FILE}
    assert reasons(storage, "empty.jpg") == {FailureReason.EMPTY_FILE}
    assert reasons(storage, "huge.jpg") == {FailureReason.TOO_LARGE}
    assert reasons(storage, "loop.jpg") == {FailureReason.UNREADABLE}
    assert storage.read("x" * 300) == FrameFailure("x" * 300, FailureReason.UNREADABLE, "File name too long")


def test_a_file_that_grows_while_it_is_read_is_cut_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MAX_FILE_BYTES", 8)
    path, fstat = folder / "sub" / "ok.jpg", os.fstat

    def grown(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        with path.open("ab") as file:
            file.write(b"and much more")
        return status

    monkeypatch.setattr(os, "fstat", grown)
    assert LocalFolder(folder).read("sub/ok.jpg") == b"photoand"


def test_the_double_answers_as_a_folder_does(folder: Path) -> None:
    memory = MemoryStorage({"sub/ok.jpg": b"photo", "bad.jpg": FailureReason.UNREADABLE})
    assert memory.read("sub/ok.jpg") == LocalFolder(folder).read("sub/ok.jpg")
    assert memory.entry("sub/ok.jpg") == Entry(5, 0)
    assert reasons(memory, "nowhere.jpg") == reasons(LocalFolder(folder), "nowhere.jpg")
    assert reasons(memory, "bad.jpg") == {FailureReason.UNREADABLE}


def test_a_path_is_a_folder_and_threads_and_processes_may_have_it(folder: Path) -> None:
    storage = open_storage(str(folder), ReadTimeout(5))
    assert str(storage) == str(folder)
    assert storage.read("sub/ok.jpg") == b"photo"
    assert storage.entries(["sub/ok.jpg", "sub"])[1] == FrameFailure("sub", FailureReason.NOT_A_FILE)
    assert pickle.loads(pickle.dumps(LocalFolder(folder))) == LocalFolder(folder)  # noqa: S301


@pytest.fixture
def hanging() -> Iterator[MemoryStorage]:
    """A storage where nothing but `good.jpg` answers; released at the end, so that no thread is left behind."""
    names = [f"{n}.jpg" for n in range(100)]
    memory = MemoryStorage({"good.jpg": b"photo"}, reads_hang=names, entries_hang=names)
    yield memory
    memory.release()


def test_what_hangs_is_a_failure_and_the_rest_is_read(hanging: MemoryStorage) -> None:
    storage = TimedStorage(hanging, ReadTimeout(0.05))
    assert storage.read("0.jpg") == FrameFailure("0.jpg", FailureReason.TIMED_OUT)
    assert storage.entry("0.jpg") == FrameFailure("0.jpg", FailureReason.TIMED_OUT)
    assert storage.read("good.jpg") == b"photo"
    assert storage.entry("good.jpg") == Entry(5, 0)


def test_a_slow_storage_has_its_time_for_each_entry_and_one_that_hangs_is_left(hanging: MemoryStorage) -> None:
    asked: list[str] = []

    class Counting(MemoryStorage):
        def entry(self, name: str) -> Entry | FrameFailure:
            asked.append(name)
            return hanging.entry(name)

    storage = TimedStorage(Counting({}), ReadTimeout(0.05))
    names = ["good.jpg", "0.jpg", "good.jpg", "1.jpg"]
    found = storage.entries(names)
    assert found == [Entry(5, 0), *(FrameFailure(name, FailureReason.TIMED_OUT) for name in names[1:])]
    assert asked == ["good.jpg", "0.jpg"] * 2  # together, then one by one until the first that hangs


def test_where_nothing_comes_back_reading_ends(hanging: MemoryStorage) -> None:
    storage = TimedStorage(hanging, ReadTimeout(0.001))
    for number in range(MAX_HANGING):
        storage.read(f"{number}.jpg")
    with pytest.raises(StorageUnavailableError, match="run again") as error:
        storage.read("good.jpg")
    assert error.value.exit_code == 3


def test_a_photo_whose_reading_hangs_is_a_failure_of_its_own_sequence(season: Path) -> None:
    paths = sorted(season.glob("S1/*/*/*.JPG"))[1:3]
    memory = MemoryStorage({path.name: path.read_bytes() for path in paths}, reads_hang={paths[0].name})
    first, second = (Image(path.name, "") for path in paths)
    hung, good = decode_sequences(
        [Sequence("a", (first, second)), Sequence("b", (second,))],
        TimedStorage(memory, ReadTimeout(0.2)), Preset.QUARTER, 3, find_decoder(DecoderName.FAST),
    )  # fmt: skip
    assert [failure.reason for failure in hung.failures] == [FailureReason.TIMED_OUT]
    assert (hung.frames[0] == good.frames[0]).all()
    assert not good.failures
    memory.release()


def test_the_input_check_counts_what_it_finds_and_does_not_hang(hanging: MemoryStorage) -> None:
    images = tuple(Image(name, "") for name in ("good.jpg", "nowhere.jpg", "good.jpg"))
    summary = summarise_input([Sequence("a", images)], TimedStorage(hanging, ReadTimeout(5)), 2)
    assert (summary.n_photos, summary.n_bytes, summary.problems) == (2, 5, {FailureReason.MISSING: 1})
    hung = summarise_input([Sequence("a", (Image("0.jpg", ""),))], TimedStorage(hanging, ReadTimeout(0.05)), 2)
    assert hung.problems == {FailureReason.TIMED_OUT: 1}


@pytest.mark.parametrize("name", ["good.jpg", "0.jpg"])
def test_one_photo_that_is_not_missing_is_enough(name: str, hanging: MemoryStorage) -> None:
    sequences = tuple(Sequence(one, (Image(one, ""),)) for one in ("nowhere.jpg", name))
    storage = TimedStorage(hanging, ReadTimeout(0.05))
    check_any_photo(sequences, storage, 1, lambda: None)
    with pytest.raises(InputError, match="memory: must hold the photos that the metadata name, got none of 1"):
        check_any_photo(sequences[:1], storage, 1, lambda: None)
