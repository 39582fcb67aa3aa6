"""The first load of networks in a child process: what an engine dies of or never comes back from ends with exit code 4."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from inference.bundle import probe as probes
from inference.bundle.graph_check import check_operations
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import EngineName
from inference.core.errors import BundleError
from inference.ensemble.booster_probe import probe_boosters
from inference.networks.engine import find_engine, probe_networks
from inference.settings.cache import CACHE_VARIABLE
from runtime_tests.damage import rewrite_manifest
from runtime_tests.damaged_networks import ANSWER_MANY, KINDS, mutated_network
from runtime_tests.inference.bundle.test_graph_check import Change, write_network
from runtime_tests.running import environment, run

SECONDS = 120.0
"""After which a child has hung over a network; all of them together take seconds."""


@pytest.fixture
def copy(second_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(second_bundle.folder, tmp_path / "bundle"))


def outcomes(engine: EngineName, good: Path, folders: list[Path]) -> Counter[str]:
    """What an engine makes of networks in a child process; where that dies or hangs another one takes the rest."""
    counts: Counter[str] = Counter()
    while folders:
        command = [sys.executable, "-c", ANSWER_MANY, engine.value, good, *folders]
        child = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )
        try:
            out, err = child.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
        lines = out.splitlines()
        assert lines, err
        counts.update(lines[1::2])
        if len(lines) % 2:
            counts["killed the child"] += 1
        folders = folders[-(-len(lines) // 2) :]
    return counts


def check_mutations(bundle: Bundle, n: int, engine: EngineName, folder: Path) -> None:
    """Each mutation is refused from its file alone, or by an engine in a child, or answers there.

    Where the file alone shows what is wrong, it must be refused before any engine sees it.
    """
    good = bundle.path(bundle.manifest.networks[0].folder)
    data = (good / "saved_model.pb").read_bytes()
    counts: Counter[str] = Counter()
    kept = []
    for seed in range(n):
        kind, mutated = mutated_network(data, seed)
        target = folder / f"{seed}"
        target.mkdir()
        (target / "saved_model.pb").write_bytes(mutated)
        start = time.process_time()
        try:
            check_operations(target)
        except BundleError:
            counts["refused"] += 1
        else:
            assert not KINDS[kind][1], (kind, seed)
            kept.append(target)
        assert time.process_time() - start < 5, (kind, seed)
    counts += outcomes(engine, good, kept)
    assert counts.total() == n
    assert counts["same answer"]
    print(f"{n} mutations of a network, {engine.value}:", dict(counts))  # noqa: T201


def test_mutated_networks_are_refused_or_answer(quick_bundle: Bundle, tmp_path: Path) -> None:
    check_mutations(quick_bundle, 54, EngineName.OPENVINO, tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize("engine", [EngineName.OPENVINO, EngineName.TENSORFLOW])
def test_many_mutated_networks_are_refused_or_answer(engine: EngineName, quick_bundle: Bundle, tmp_path: Path) -> None:
    check_mutations(quick_bundle, 900, engine, tmp_path)


def test_a_known_bundle_starts_no_child_and_an_unknown_one_would(
    season: Path, second_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []

    class Counted(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **options: Any) -> None:
            commands.append(command)
            super().__init__(command, **options)

    probe_networks(second_bundle, find_engine(EngineName.AUTO), lambda: None)
    probe_boosters(second_bundle)
    monkeypatch.setattr(probes, "_probes", {})  # as in another process
    monkeypatch.setattr(subprocess, "Popen", Counted)
    run(season, second_bundle, tmp_path / "out")
    assert not commands
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "other cache"))
    probe_networks(second_bundle, find_engine(EngineName.AUTO), lambda: None)
    assert len(commands) == 1


def takes_a_class_that_is_not_there(probabilities: tf.Tensor, _: Path) -> tf.Tensor:
    return probabilities + tf.gather(probabilities, 60, axis=1)[:, None]


def takes_a_slice_that_is_not_there(probabilities: tf.Tensor, _: Path) -> tf.Tensor:
    return probabilities + 0 * tf.reduce_sum(tf.slice(probabilities, [0, 53], [-1, 2]), axis=1)[:, None]


def needs_64_gigabytes(probabilities: tf.Tensor, _: Path) -> tf.Tensor:
    row = tf.constant([1.0] * 2**17)
    return probabilities + 0 * tf.reduce_sum(row[:, None] + row[None, :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (takes_a_class_that_is_not_there, "small/saved_model.pb: must load and answer in tensorflow 2.*, got Invalid"),
        pytest.param(
            takes_a_slice_that_is_not_there,
            "small/saved_model.pb: must load and answer in tensorflow 2.*, got Invalid",
            marks=pytest.mark.faults,
        ),
        (needs_64_gigabytes, "networks/small.*: must .*bad_alloc"),
    ],
)
def test_networks_that_only_loading_finds_out_about_end_with_4(
    change: Change, message: str, copy: Path, season: Path, tmp_path: Path
) -> None:
    """OpenVINO gives zeros for a position that is not there, and asks for any memory."""
    shutil.rmtree(copy / "networks" / "small", ignore_errors=True)
    shutil.rmtree(copy / "openvino", ignore_errors=True)
    write_network(copy / "networks" / "small", tmp_path, change)
    rewrite_manifest(copy)
    check_operations(copy / "networks" / "small")
    with pytest.raises(BundleError, match=f"(?s){message}") as error:
        run(season, open_bundle(copy), tmp_path / "out", engine=EngineName.OPENVINO)
    assert error.value.exit_code == 4
    assert not (tmp_path / "out" / "records.jsonl").exists()
