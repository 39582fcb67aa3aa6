"""The first load of boosters in a child process, which may die, hang or outlive nobody."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from inference.bundle.manifest import booster_paths
from inference.bundle.reader import Bundle, open_bundle
from inference.core.errors import BundleError, HakunaError
from inference.ensemble import booster_probe, booster_probe_child
from inference.ensemble.booster_probe import BoosterProbe, probe_boosters, start_probe
from inference.ensemble.stackers import Stackers
from runtime_tests.damage import rewrite_manifest
from runtime_tests.running import is_running, run


@pytest.fixture
def copy(second_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(second_bundle.folder, tmp_path / "bundle"))


def first_booster(folder: Path) -> Path:
    return max(folder.glob("stackers/*/*.txt"))


def replace_child(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> None:
    """Run another program as the child; it has `tell(**message)`."""
    preamble = "import json, os, sys, time, signal\ndef tell(**m): print(json.dumps(m), flush=True)\n"
    (folder / "other_child.py").write_text(preamble + textwrap.dedent(program))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(booster_probe, "CHILD_MODULE", "other_child")


def test_good_boosters_are_tried_once_in_a_process(second_bundle: Bundle) -> None:
    probe = start_probe(second_bundle)
    assert probe is not None
    probe.wait()
    started = time.monotonic()
    probe.wait()
    probe_boosters(second_bundle)
    assert time.monotonic() - started < 0.1
    assert start_probe(second_bundle) is probe
    assert not probe.has_failed


def test_a_bundle_without_stackers_needs_no_child(second_bundle: Bundle) -> None:
    ensemble = second_bundle.manifest.ensemble.model_copy(update={"stacking": None})
    without = second_bundle.manifest.model_copy(update={"ensemble": ensemble})
    bundle = Bundle(second_bundle.folder, without, second_bundle.id)
    assert start_probe(bundle) is None
    probe_boosters(bundle)


def test_a_damaged_booster_is_refused_with_file_line_and_tree_before_it_is_loaded(copy: Path) -> None:
    path = first_booster(copy)
    lines = path.read_text().split("\n")
    position = next(i for i, line in enumerate(lines) if line.startswith("left_child="))
    lines[position] = "left_child=" + "9 " * lines[position].count(" ") + "9"
    path.write_text("\n".join(lines))
    rewrite_manifest(copy)
    bundle = open_bundle(copy)
    for _ in range(2):  # a bundle that was refused is tried again
        with pytest.raises(BundleError, match=f"{path.name}, line") as error:
            probe_boosters(bundle)
        assert error.value.exit_code == 4
    stacking = bundle.manifest.ensemble.stacking
    assert stacking
    with pytest.raises(BundleError, match=f"{path.name}, line"):
        Stackers(bundle, stacking)


def test_a_damaged_booster_ends_a_run_before_its_first_photo(copy: Path, season: Path, tmp_path: Path) -> None:
    path = first_booster(copy)
    path.write_bytes(path.read_bytes().replace(b"num_leaves=", b"num_leaves=9", 1))
    rewrite_manifest(copy)
    bundle = open_bundle(copy)
    with pytest.raises(BundleError, match=f"{path.name}, line"):
        run(season, bundle, tmp_path / "out")
    assert not (tmp_path / "out" / "records.jsonl").exists()


def test_verify_tries_the_boosters_and_reads_the_operations(copy: Path) -> None:
    def verify() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hakuna", "bundle", "verify", str(copy)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    assert verify().stdout.startswith(f"{copy}: intact, ")
    path = first_booster(copy)
    good = path.read_bytes()
    path.write_bytes(good.replace(b"num_leaves=", b"num_leaves=9", 1))
    rewrite_manifest(copy)
    refused = verify()
    assert (refused.returncode, refused.stdout) == (4, "")
    assert re.search(rf"hakuna: .*{path.name}, line \d+", refused.stderr)
    path.write_bytes(good)
    network = copy / "networks" / "small" / "saved_model.pb"
    network.write_bytes(network.read_bytes().replace(b"Sigmoid", b"Evilops"))
    rewrite_manifest(copy)
    refused = verify()
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "must be an operation of a plain network, got 'Evilops'" in refused.stderr


def test_a_booster_that_changes_after_the_bundle_was_opened_is_refused(copy: Path) -> None:
    bundle = open_bundle(copy)
    path = first_booster(copy)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(BundleError, match=f"{path.name}: must have SHA-256"):
        probe_boosters(bundle)
    path.unlink()
    with pytest.raises(BundleError, match=f"{path.name}: must be readable"):
        probe_boosters(bundle)


def test_a_manifest_that_changes_after_the_bundle_was_opened_is_refused(copy: Path) -> None:
    bundle = open_bundle(copy)
    manifest = copy / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    with pytest.raises(BundleError, match=f"must be bundle {bundle.id}, got"):
        probe_boosters(bundle)


def test_a_booster_that_answers_with_anything_but_probabilities_is_refused(
    second_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass
    class Strange:
        answer: float

        def predict(self, rows: np.ndarray) -> np.ndarray:
            return np.full(len(rows), self.answer)

    lines = os.open(os.devnull, os.O_WRONLY)
    for answer in (np.nan, 1.5, -0.1):
        monkeypatch.setattr(booster_probe_child, "load_booster", lambda *_, answer=answer: Strange(answer))
        with pytest.raises(BundleError, match="must give probabilities"):
            booster_probe_child.predict_with_every_booster(second_bundle.folder, second_bundle.id, lines)
    os.close(lines)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            "os.kill(os.getpid(), signal.SIGSEGV)",
            "zebra.txt: must be .*, but the process that loaded it died of SIGSEGV",
        ),
        ("os.abort()", "zebra.txt: must be .*, but the process that loaded it died of SIGABRT"),
        (
            "print('out of luck', file=sys.stderr); os._exit(3)",
            "ended with code 3, the end of its error output: out of luck",
        ),
        ("time.sleep(60)", "zebra.txt: must be .*, but got no answer within 0.5 s"),
        ("while True: pass", "zebra.txt: must be .*, but got no answer within 0.5 s"),
    ],
)
def test_a_booster_that_its_child_dies_of_or_hangs_over_is_refused_by_name(
    program: str, message: str, second_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_child(monkeypatch, tmp_path, f"tell(booster='empty.txt')\ntell(booster='zebra.txt')\n{program}")
    probe = BoosterProbe(second_bundle, seconds_a_booster=0.5 if "0.5 s" in message else 30.0)
    if "0.5 s" in message:
        time.sleep(1.0)  # the start of Python is not what is timed here
    for _ in range(2):
        with pytest.raises(BundleError, match=message) as error:
            probe.wait()
        assert error.value.exit_code == 4
    assert probe.has_failed


def test_a_child_that_fails_before_the_first_booster_is_our_error_and_not_the_bundles(
    second_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_child(monkeypatch, tmp_path, "raise ImportError('no such library')")
    with pytest.raises(
        HakunaError, match="must be loaded in a child process, .* ImportError: no such library"
    ) as error:
        BoosterProbe(second_bundle).wait()
    assert error.value.exit_code == 1


def test_a_probe_that_is_stopped_ends_its_child_and_proves_nothing(second_bundle: Bundle) -> None:
    probe = BoosterProbe(second_bundle)
    probe.stop()
    probe.stop()
    with pytest.raises(HakunaError, match="stopped before its end"):
        probe.wait()


def test_the_child_ends_with_its_parent_and_is_out_of_reach_of_its_terminal(
    second_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent is killed while LightGBM never comes back: the real child, with a booster that takes for ever."""
    program = """
        from inference.ensemble import booster_probe_child
        def for_ever(*_):
            tell(pid=os.getpid(), session=os.getsid(0))
            while True: pass
        booster_probe_child.read_booster = for_ever
        booster_probe_child.main()
    """
    replace_child(monkeypatch, tmp_path, program)
    parent = """
        import sys
        from pathlib import Path
        from inference.ensemble import booster_probe
        from inference.bundle.reader import open_bundle
        booster_probe.CHILD_MODULE = "other_child"
        probe = booster_probe.BoosterProbe(open_bundle(Path(sys.argv[1])))
        print(probe._child.pid, flush=True)
        import time
        time.sleep(60)
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([booster_probe.PACKAGE_FOLDER, str(tmp_path)])}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(parent), str(second_bundle.folder)],
        stdout=subprocess.PIPE,
        env=environment,
    )
    with process:
        assert process.stdout
        child = int(process.stdout.readline())
        time.sleep(2)
        assert os.getsid(child) == child != os.getsid(process.pid)
        process.kill()
    for _ in range(100):
        if not is_running(child):
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its parent by 5 s")


def test_messages_of_the_child_are_json_lines(second_bundle: Bundle) -> None:
    read, write = os.pipe()
    booster_probe_child.predict_with_every_booster(second_bundle.folder, second_bundle.id, write)
    os.close(write)
    with os.fdopen(read) as lines:
        named = [json.loads(line)["booster"] for line in lines]
    assert [Path(name).name for name in named] == [p.rpartition("/")[2] for p in booster_paths(second_bundle.manifest)]
