"""Memory stays bounded, and a run leaves nothing behind in its process."""

from __future__ import annotations

import os
import statistics
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from inference.bundle.reader import Bundle
from runtime_tests.faults.conftest import Figures
from runtime_tests.faults.leak_child import Sample, samples_of_a_run, write_small_season
from runtime_tests.running import run
from runtime_tests.test_command import megabytes_above_an_empty_run

MOST_MEGABYTES = 2000
"""Above an empty run, for a million rows."""
SHORT, LONG = 640, 10_000
MOST_GROWTH = {SHORT: 32_768, LONG: 1024}
"""Bytes a sequence by number of sequences. The allocators' noise of some megabytes is spread over the sequences."""


@dataclass(frozen=True)
class Growth:
    """From the second quarter of a run to the last, what came with each sequence."""

    bytes_a_sequence: float
    descriptors: int
    threads: int


def growth(samples: list[Sample]) -> Growth:
    """Compare the last quarter with the second one, when everything is loaded and warm.

    Workers open and close photos meanwhile, and threads come and go, so the fewest of both are compared.
    """
    n = len(samples)
    early, late = samples[n // 4 : n // 2], samples[3 * n // 4 :]

    def difference(of: Callable[[list[Sample]], float]) -> float:
        return of(late) - of(early)

    distance = difference(lambda some: statistics.mean(one.n_done for one in some))
    resident = difference(lambda some: statistics.median(one.resident_bytes for one in some))
    return Growth(
        bytes_a_sequence=resident / distance,
        descriptors=int(difference(lambda some: min(one.descriptors for one in some))),
        threads=int(difference(lambda some: min(one.threads for one in some))),
    )


@pytest.mark.parametrize("n_sequences", [SHORT, pytest.param(LONG, marks=pytest.mark.faults)])
def test_memory_descriptors_and_threads_do_not_grow_with_the_sequences(
    n_sequences: int, second_bundle: Bundle, tmp_path: Path, figures: Figures
) -> None:
    write_small_season(tmp_path / "data", n_sequences)
    measured = growth(samples_of_a_run(tmp_path / "data", second_bundle.folder, tmp_path / "out"))
    figures["leak: growth over a run"] = {
        "sequences": n_sequences,
        "bytes_a_sequence": round(measured.bytes_a_sequence),
        "most_bytes_a_sequence": MOST_GROWTH[n_sequences],
        "more_descriptors": measured.descriptors,
        "more_threads": measured.threads,
    }
    assert measured.bytes_a_sequence <= MOST_GROWTH[n_sequences]
    assert (measured.descriptors, measured.threads) == (0, 0)


@pytest.mark.parametrize("n_sequences", [SHORT, pytest.param(LONG, marks=pytest.mark.faults)])
def test_a_leaking_run_would_be_seen(n_sequences: int, second_bundle: Bundle, tmp_path: Path, figures: Figures) -> None:
    leaked = 3 * MOST_GROWTH[n_sequences]
    write_small_season(tmp_path / "data", n_sequences)
    measured = growth(samples_of_a_run(tmp_path / "data", second_bundle.folder, tmp_path / "out", leaked))
    figures["leak: positive control"] = {
        "sequences": n_sequences,
        "leaked_bytes_a_sequence": leaked,
        "bytes_a_sequence": round(measured.bytes_a_sequence),
        "more_descriptors": measured.descriptors,
        "more_threads": measured.threads,
    }
    assert measured.bytes_a_sequence > MOST_GROWTH[n_sequences]
    assert measured.descriptors > 0
    assert measured.threads > 0


@pytest.mark.faults
def test_a_million_rows_of_missing_images_need_less_than_2_gb(
    tiny_bundle: Bundle, tmp_path: Path, figures: Figures
) -> None:
    n_rows = 1_000_000
    more = megabytes_above_an_empty_run(n_rows, tiny_bundle, tmp_path)
    figures["memory: metadata rows"] = {
        "rows": n_rows,
        "megabytes_above_an_empty_run": round(more),
        "most_megabytes": MOST_MEGABYTES,
    }
    assert more <= MOST_MEGABYTES


def open_files() -> dict[str, str]:
    """What every descriptor of this process refers to."""
    found = {}
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found[descriptor] = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue  # the one of listdir itself
    return found


def python_threads() -> set[str]:
    """Names of the threads that run."""
    return {thread.name for thread in threading.enumerate()}


def n_threads() -> int:
    """All threads of this process, those of libraries included."""
    return len(os.listdir("/proc/self/task"))


class StopError(Exception):
    """Something goes wrong in the middle of a run."""


def stop_after_two(n_done: int, n_all: int) -> None:
    """Let a run fail when it is on its way."""
    assert n_all > 2
    if n_done >= 2:
        raise StopError


def test_a_run_leaves_no_open_files_and_no_threads(
    season: Path, second_bundle: Bundle, tmp_path: Path, figures: Figures
) -> None:
    files = open_files()
    run(season, second_bundle, tmp_path / "first")
    assert open_files() == files
    threads = python_threads()  # OpenVINO starts one when it is imported
    assert not [name for name in threads if name.startswith("decode")]
    n_native = n_threads()  # the engine keeps its pool for the next run
    run(season, second_bundle, tmp_path / "second", n_workers=3)
    with pytest.raises(StopError):
        run(season, second_bundle, tmp_path / "third", batch_size=1, n_workers=3, on_progress=stop_after_two)
    figures["descriptors and threads after three runs, one of which fails"] = {
        "more_descriptors": len(open_files()) - len(files),
        "more_python_threads": len(python_threads()) - len(threads),
        "more_threads_than_after_the_first": n_threads() - n_native,
    }
    assert (open_files(), python_threads()) == (files, threads)
    assert n_threads() <= n_native


def test_an_open_file_and_a_thread_would_be_seen() -> None:
    files, threads, n_native = open_files(), python_threads(), n_threads()
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="left behind")
    thread.start()
    with Path(os.devnull).open("rb"):
        assert (open_files() != files, python_threads() - threads) == (True, {"left behind"})
        assert n_threads() == n_native + 1
    end.set()
    thread.join()
    assert (open_files(), python_threads()) == (files, threads)
