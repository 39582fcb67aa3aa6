"""The first load of anything in a child process, which may die, hang or outlive nobody; what passes is remembered by its hash."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from inference.bundle import probe as probes
from inference.bundle.probe import Probe, Trial, start_probe
from inference.bundle.reader import Bundle
from inference.core.errors import BundleError, HakunaError, InterruptedRunError, OutOfMemoryError
from inference.process.children import PACKAGE_FOLDER
from inference.settings import cache
from runtime_tests.running import is_running

Child = Callable[..., Trial]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    """Makes a trial whose child is another program; it has `tell(**message)`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(probes, "_probes", {})

    def make(program: str, seconds: float = 30.0) -> Trial:
        preamble = "import json, os, sys, time, signal\ndef tell(**m): print(json.dumps(m), flush=True)\n"
        (tmp_path / "other_child.py").write_text(preamble + textwrap.dedent(program))
        return Trial("things", "other_child", "a thing that loads", "a library 1.0", seconds)

    return make


PASSES = "tell(part='one'); tell(error=None)"
FAILS = "tell(part='one'); tell(error='one: must be whole')"


def passed(folder: Path) -> int:
    return len(list((folder / "cache").rglob("hakuna/passed/*")))


def test_what_passed_is_not_tried_again_by_another_process(
    second_bundle: Bundle, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = start_probe(second_bundle, child(PASSES))
    assert probe
    probe.wait()
    assert start_probe(second_bundle, child(FAILS)) is probe
    probe.wait()
    assert passed(tmp_path) == 1
    monkeypatch.setattr(probes, "_probes", {})  # as in another process
    assert start_probe(second_bundle, child(FAILS)) is None


def test_a_child_that_the_kernel_kills_for_want_of_memory_does_not_condemn_the_bundle(
    second_bundle: Bundle, child: Child
) -> None:
    probe = start_probe(second_bundle, child("tell(part='one'); os.kill(os.getpid(), signal.SIGKILL)"))
    assert probe
    with pytest.raises(OutOfMemoryError, match=r"one: the process .* was killed \(SIGKILL\), .* allow more memory"):
        probe.wait()
    again = start_probe(second_bundle, child(PASSES))
    assert again
    again.wait()


def test_another_bundle_or_library_is_unknown(
    second_bundle: Bundle, quick_bundle: Bundle, child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = child(PASSES)
    others = (
        (quick_bundle, trial),
        (second_bundle, Trial(trial.parts, trial.child_module, trial.wanted, "a library 1.1", 30.0)),
        (second_bundle, Trial("others", trial.child_module, trial.wanted, trial.library, 30.0)),
        (second_bundle, Trial(trial.parts, trial.child_module, trial.wanted, trial.library, 30.0, ("fast",))),
    )
    for bundle, other in ((second_bundle, trial), *others):
        probe = start_probe(bundle, other)
        assert probe
        probe.wait()
    monkeypatch.setattr(probes, "_probes", {})
    monkeypatch.setattr(cache, "hakuna_version", lambda: "999.0")
    probe = start_probe(second_bundle, child(FAILS))
    assert probe
    with pytest.raises(BundleError, match="one: must be whole"):
        probe.wait()


def test_what_failed_is_not_remembered_and_tried_again(second_bundle: Bundle, child: Child, tmp_path: Path) -> None:
    for program in (FAILS, "tell(part='one'); os._exit(0)", "os._exit(0)"):
        probe = start_probe(second_bundle, child(program))
        assert probe
        with pytest.raises(HakunaError):
            probe.wait()
        assert probe.has_failed
    assert passed(tmp_path) == 0


@pytest.mark.parametrize("cache", ["/proc/nowhere", "relative"])
def test_without_a_cache_folder_every_process_tries(
    cache: str, second_bundle: Bundle, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = child(PASSES)
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.setenv("HOME", "also/relative")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        monkeypatch.setattr(probes, "_probes", {})
        probe = start_probe(second_bundle, trial)
        assert probe
        probe.wait()
    assert {path.name for path in tmp_path.iterdir()} <= {"other_child.py", "__pycache__"}


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "two: must be .*, but the process that loaded it died of SIGSEGV"),
        ("os.abort()", "two: must be .*, but the process that loaded it died of SIGABRT"),
        (
            "print('out of luck', file=sys.stderr); os._exit(3)",
            "two: must be .* ended with code 3, the end of its error output: out of luck",
        ),
        ("time.sleep(60)", "two: must be a thing that loads, but got no answer within 0.5 s"),
        ("while True: pass", "two: must be a thing that loads, but got no answer within 0.5 s"),
    ],
)
def test_what_its_child_dies_of_or_hangs_over_is_refused_by_name(
    program: str, message: str, second_bundle: Bundle, child: Child
) -> None:
    is_slow = "0.5 s" in message
    probe = Probe(second_bundle, child(f"tell(part='one')\ntell(part='two')\n{program}", 0.5 if is_slow else 30.0))
    if is_slow:
        time.sleep(1.0)  # the start of Python is not what is timed here
    for _ in range(2):
        with pytest.raises(BundleError, match=message) as error:
            probe.wait()
        assert error.value.exit_code == 4
    assert probe.has_failed


def test_a_child_that_fails_before_the_first_part_is_our_error_and_not_the_bundles(
    second_bundle: Bundle, child: Child
) -> None:
    probe = Probe(second_bundle, child("raise ImportError('no such library')"))
    with pytest.raises(HakunaError, match="the things must be loaded in .*, but .* ImportError: no such lib") as error:
        probe.wait()
    assert error.value.exit_code == 1


def test_a_run_that_has_to_stop_does_not_wait(second_bundle: Bundle, child: Child) -> None:
    def check() -> None:
        raise InterruptedRunError("stopped", 15)

    probe = Probe(second_bundle, child("tell(part='one'); time.sleep(60)"))
    with pytest.raises(InterruptedRunError):
        probe.wait(check)
    with pytest.raises(HakunaError, match="probe of the things stopped before its end"):
        probe.wait()


def test_a_probe_that_is_stopped_ends_its_child_and_proves_nothing(second_bundle: Bundle, child: Child) -> None:
    probe = Probe(second_bundle, child(PASSES))
    probe.stop()
    probe.stop()
    with pytest.raises(HakunaError, match="stopped before its end"):
        probe.wait()


TRIES = """
    from inference.bundle import probe_child
    def try_parts(bundle, report):
        report("one")
        {}
    probe_child.run(try_parts)
"""


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("bytearray(20 << 30)", "one: must be .* ended with code 1, .*: MemoryError"),
        (
            "print(open('/proc/self/oom_score_adj').read().strip(), file=sys.stderr); os._exit(1)",
            "one: must be .* output: 1000$",
        ),
        ("print('not for the parent'); sys.stdout.flush(); os._exit(1)", "one: must be .* output: not for the parent$"),
    ],
)
def test_the_child_has_bounded_memory_is_ended_first_and_keeps_its_lines_clean(
    program: str, message: str, second_bundle: Bundle, child: Child
) -> None:
    with pytest.raises(BundleError, match=message):
        Probe(second_bundle, child(TRIES.format(program))).wait()


def test_a_manifest_that_changes_after_the_bundle_was_opened_is_refused(second_bundle: Bundle, child: Child) -> None:
    changed = Bundle(second_bundle.folder, second_bundle.manifest, "0" * 64)
    with pytest.raises(BundleError, match=f"must be bundle {'0' * 64}, got {second_bundle.id}"):
        Probe(changed, child(TRIES.format("pass"))).wait()


def test_the_child_ends_with_its_parent_and_is_out_of_reach_of_its_terminal(
    second_bundle: Bundle, child: Child, tmp_path: Path
) -> None:
    """The parent is killed while a library never comes back: the real child, with a part that takes for ever."""
    child(TRIES.format("while True: pass"))
    parent = """
        import sys
        from pathlib import Path
        from inference.bundle.probe import Probe, Trial
        from inference.bundle.reader import open_bundle
        trial = Trial("things", "other_child", "a thing that loads", "a library 1.0", 30.0)
        probe = Probe(open_bundle(Path(sys.argv[1])), trial)
        print(probe._child.pid, flush=True)
        import time
        time.sleep(60)
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([PACKAGE_FOLDER, str(tmp_path)])}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(parent), str(second_bundle.folder)],
        stdout=subprocess.PIPE,
        env=environment,
    )
    with process:
        assert process.stdout
        pid = int(process.stdout.readline())
        time.sleep(2)
        assert os.getsid(pid) == pid != os.getsid(process.pid)
        process.kill()
    for _ in range(100):
        if not is_running(pid):
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its parent by 5 s")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to become another user (root)")
def test_a_cache_folder_that_may_not_be_read_is_none(
    second_bundle: Bundle, child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "Probe", lambda _, trial: SimpleNamespace(trial=trial, stop=lambda: None))
    (tmp_path / "cache").mkdir(mode=0o700)
    trial = child(PASSES)
    os.seteuid(65534)
    try:
        assert start_probe(second_bundle, trial)
    finally:
        os.seteuid(0)
