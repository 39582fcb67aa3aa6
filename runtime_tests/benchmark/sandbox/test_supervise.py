"""A program under supervision: its output, its end, its children, its memory."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.sandbox.run_log import RunLog
from benchmark.sandbox.supervise import ProcessResult, Signals, catching_signals, supervise
from inference.core.errors import InterruptedRunError

IGNORES_SIGTERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(60)"


@pytest.fixture
def signals() -> Iterator[Signals]:
    with catching_signals() as caught:
        yield caught


@pytest.fixture
def silent() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


def run(
    code: str,
    folder: Path,
    signals: Signals,
    console: int,
    *,
    limit: float | None = 60,
    grace: float = 5,
    log_bytes: int = 1 << 20,
) -> ProcessResult:
    with RunLog(folder / "log.txt", console, fresh=True, limit=log_bytes) as log:
        return supervise(
            [sys.executable, "-S", "-u", "-c", code],
            folder=folder,
            environment={},
            log=log,
            signals=signals,
            limit=limit,
            grace=grace,
        )


def wait_for(path: Path, text: str) -> None:
    for _ in range(1000):
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.01)
    pytest.fail(f"no {text!r} in {path.name} within 10 s")


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_output_is_in_the_log_and_on_the_console_when_it_comes(tmp_path: Path, signals: Signals) -> None:
    read_end, write_end = os.pipe()
    code = "import sys, os, time\nprint('first'); sys.stderr.write('second\\n')\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('third')"
    seen_early: list[bytes] = []

    def look() -> None:
        wait_for(tmp_path / "log.txt", "second")
        seen_early.append(os.read(read_end, 1000))
        (tmp_path / "go").touch()

    thread = threading.Thread(target=look)
    thread.start()
    outcome = run(code, tmp_path, signals, write_end)
    thread.join()
    os.close(write_end)
    assert outcome.code == 0
    assert b"first" in seen_early[0]
    assert b"third" not in seen_early[0]
    assert (tmp_path / "log.txt").read_text() == "first\nsecond\nthird\n"
    assert (b"".join(seen_early) + os.read(read_end, 1000)).decode() == "first\nsecond\nthird\n"
    os.close(read_end)


def test_much_output_fills_neither_memory_nor_disk(tmp_path: Path, signals: Signals, silent: int) -> None:
    code = "import os\nfor _ in range(400): os.write(1, bytes(1 << 20))"
    tracemalloc.start()
    try:
        outcome = run(code, tmp_path, signals, silent, log_bytes=1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outcome.code == 0
    assert peak < 4 << 20
    log = (tmp_path / "log.txt").read_bytes()
    assert log[: 1 << 20] == bytes(1 << 20)
    assert log[1 << 20 :] == b"\nhakuna: log.txt is full, the rest is on the console only\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(0)", 0),
        ("raise SystemExit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("import os; os.kill(os.getpid(), 11)", 139),
        ("1 / 0", 1),
    ],
)
def test_the_exit_code_is_the_programs_own(
    code: str, expected: int, tmp_path: Path, signals: Signals, silent: int
) -> None:
    assert run(code, tmp_path, signals, silent).code == expected


def test_a_program_gets_its_variables_and_no_input(tmp_path: Path, signals: Signals, silent: int) -> None:
    code = "import os, sys; print(sorted(set(os.environ) - {'LC_CTYPE'}), repr(sys.stdin.read()), os.getcwd())"
    run(code, tmp_path, signals, silent)
    assert (tmp_path / "log.txt").read_text() == f"[] '' {tmp_path}\n"


def test_at_the_end_of_its_time_a_program_is_told_and_then_killed(
    tmp_path: Path, signals: Signals, silent: int
) -> None:
    polite = "import signal, sys, time\nsignal.signal(15, lambda *_: (print('told'), sys.exit(5)))\ntime.sleep(60)"
    outcome = run(polite, tmp_path, signals, silent, limit=1.0)
    assert (outcome.timed_out, outcome.code) == (True, 5)
    assert (tmp_path / "log.txt").read_text() == "told\n"
    outcome = run(IGNORES_SIGTERM, tmp_path, signals, silent, limit=1.0, grace=0.5)
    assert (outcome.timed_out, outcome.code) == (True, 137)
    assert 1.4 < outcome.seconds < 4


def test_nothing_that_a_program_starts_outlives_it(tmp_path: Path, signals: Signals, silent: int) -> None:
    daemon = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open('daemon', 'w').write(str(os.getpid()))
    time.sleep(60)
while not os.path.exists('daemon') or not open('daemon').read(): time.sleep(0.01)
"""
    started = time.monotonic()
    outcome = run(daemon, tmp_path, signals, silent)
    assert outcome.code == 0
    assert outcome.n_left_behind == 1
    assert gone(int((tmp_path / "daemon").read_text()))
    assert time.monotonic() - started < 10  # its hold on the output did not keep anybody waiting
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]]


def test_a_child_of_somebody_else_is_left_alone(tmp_path: Path, signals: Signals, silent: int) -> None:
    other = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    try:
        assert run("print(1)", tmp_path, signals, silent).n_left_behind == 0
        assert os.waitpid(other, os.WNOHANG) == (0, 0)
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_known_afterwards(
    number: signal.Signals, tmp_path: Path, signals: Signals, silent: int
) -> None:
    code = "import signal, sys, time\nfor n in (2, 15): signal.signal(n, lambda n, _: (print('got', n), sys.exit(0)))\nprint('ready')\ntime.sleep(60)"

    def send() -> None:
        wait_for(tmp_path / "log.txt", "ready")
        signal.pthread_kill(threading.main_thread().ident or 0, number)

    thread = threading.Thread(target=send)
    thread.start()
    outcome = run(code, tmp_path, signals, silent)
    thread.join()
    assert (outcome.code, outcome.timed_out) == (0, False)
    assert (tmp_path / "log.txt").read_text() == f"ready\ngot {int(number)}\n"
    with pytest.raises(
        InterruptedRunError, match=f"stopped by {'Ctrl-C' if number == signal.SIGINT else number.name}"
    ) as error:
        signals.check()
    assert error.value.exit_code == 128 + number


def test_a_program_that_ignores_a_signal_is_killed_and_at_once_by_the_second(
    tmp_path: Path, signals: Signals, silent: int
) -> None:
    def send() -> None:
        wait_for(tmp_path / "log.txt", "deaf")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        time.sleep(0.5)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    thread = threading.Thread(target=send)
    thread.start()
    outcome = run(IGNORES_SIGTERM, tmp_path, signals, silent, grace=30)
    thread.join()
    assert outcome.code == 137
    assert outcome.seconds < 5


def test_outside_of_a_program_a_signal_waits_until_it_is_asked_for(signals: Signals) -> None:
    signals.check()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    with pytest.raises(InterruptedRunError, match="stopped by SIGTERM"):
        signals.check()
    assert signals.caught == [signal.SIGTERM]


def test_a_signal_that_came_before_the_program_ends_it(tmp_path: Path, signals: Signals, silent: int) -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    outcome = run("import time; time.sleep(60)", tmp_path, signals, silent)
    assert outcome.code == 143
    assert outcome.seconds < 5


def test_peak_memory_is_that_of_all_processes_together(tmp_path: Path, signals: Signals, silent: int) -> None:
    hog = "import os, time\npid = os.fork()\nx = b'x' * (100 << 20)\ntime.sleep(1.2)\nif pid: os.waitpid(pid, 0)"
    outcome = run(hog, tmp_path, signals, silent)
    assert 200 << 20 < outcome.peak_bytes < 300 << 20


def test_peak_memory_of_a_short_program_is_seen(tmp_path: Path, signals: Signals, silent: int) -> None:
    outcome = run("import time\nx = b'x' * (100 << 20)\ntime.sleep(0.15)", tmp_path, signals, silent)
    assert outcome.peak_bytes > 100 << 20


def test_a_console_that_nobody_reads_any_more_does_not_end_the_program(tmp_path: Path, signals: Signals) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    outcome = run("print('one')\nprint('two')", tmp_path, signals, write_end)
    os.close(write_end)
    assert outcome.code == 0
    assert (tmp_path / "log.txt").read_text() == "one\ntwo\n"


def test_a_log_that_cannot_be_written_is_remembered(tmp_path: Path, silent: int) -> None:
    with RunLog(tmp_path / "log.txt", silent, fresh=True) as log:
        os.dup2(os.open("/dev/full", os.O_WRONLY), log._file)
        log.write(b"x")
        assert "log.txt must be writable, got: No space left" in str(log.failure)
        log.write(b"y")  # later output is still taken
