"""Training: the same weights after a kill, the first-frame rule, joint mirroring, frozen layers, what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from inference.decode_pillow import decode
from inference.decoding import find_decoder
from inference.domain import LABELS, CheckpointError, DecoderName, ImageSize, Preset, UsageError, View
from inference.metadata import read_metadata
from models.frame_cache import CacheKey, FrameCache
from models.kinds import Classes, Kind
from models.labels import read_labels
from models.network_plan import NetworkPlan, check_plan
from models.training_data import (
    Examples,
    examples_of,
    load_batches,
    load_example,
    ordered_batches,
    photos_needed,
    shuffled_batches,
)
from runtime_tests.models.seasons import SCHEDULE, write_seasons
from runtime_tests.naive import black_out
from runtime_tests.running import ignore_progress

SIZE = ImageSize(48, 64)
SLOW_STEPS = """
import sys, time
import hakuna
from models.learner import Learner
learn = Learner.learn

def learn_and_wait(self, batch, rate):
    loss = learn(self, batch, rate)
    print("step", file=sys.stderr, flush=True)
    time.sleep(0.05)
    return loss

Learner.learn = learn_and_wait
hakuna.main()
"""
"""The command, with steps that tell when they are done and wait a moment: time to be killed."""


@pytest.fixture(scope="module")
def seasons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_seasons(tmp_path_factory.mktemp("seasons"), {"S1": 18, "S2": 8})
    (folder / "schedule.toml").write_text(SCHEDULE)
    return folder


@pytest.fixture(scope="module")
def cache(seasons: Path) -> Iterator[FrameCache]:
    """Three frames of every sequence."""
    sequences = read_metadata(seasons / "train_metadata.csv").sequences
    decoder = find_decoder(DecoderName.AUTO)
    with FrameCache(seasons / "frames", CacheKey(Preset.QUARTER, decoder.pixels, 3)) as opened:
        opened.prepare(sequences.values(), seasons, decoder, 2, ignore_progress, lambda: None)
        yield opened


def examples(seasons: Path, cache: FrameCache, views: tuple[View, ...]) -> Examples:
    ids = sorted(read_metadata(seasons / "train_metadata.csv").sequences)
    return examples_of(ids, read_labels(seasons / "train_labels.csv", ids), cache, views)


def command(seasons: Path, out: Path, *more: object, code: tuple[str, ...] = ("-m", "hakuna")) -> list[str]:
    words = [sys.executable, *code, "train", "frames", seasons, "--train", "S1", "--valid", "S2", "--backbone", "tiny"]
    words += [
        "--schedule",
        seasons / "schedule.toml",
        "--out",
        out,
        "--cache",
        seasons / "frames",
        "--workers",
        2,
        *more,
    ]
    return list(map(str, words))


def train(seasons: Path, out: Path, *more: object) -> tuple[int, str]:
    result = subprocess.run(command(seasons, out, *more), capture_output=True, text=True, check=False, timeout=300)
    return result.returncode, result.stderr


def weights(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file["model_weights"].visititems(
            lambda name, node: found.update({name: np.asarray(node)}) if isinstance(node, h5py.Dataset) else None
        )
    return found


def assert_same_training(one: Path, other: Path) -> None:
    for name in ("network.h5", "network_48x64.h5", "network_60x80.h5"):
        first, second = weights(one / name), weights(other / name)
        assert first.keys() == second.keys()
        for key, array in first.items():
            np.testing.assert_array_equal(array, second[key], err_msg=f"{name} {key}")
    histories = [[json.loads(line) for line in (folder / "history.jsonl").open()] for folder in (one, other)]
    for first, second in zip(*histories, strict=True):
        assert {**first, "images_per_second": 0} == {**second, "images_per_second": 0}


@pytest.fixture(scope="module")
def undisturbed(seasons: Path) -> Path:
    out = seasons / "undisturbed"
    code, said = train(seasons, out)
    assert code == 0, said
    return out


def test_killed_and_resumed_it_ends_in_the_same_weights(seasons: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    words = command(seasons, out, "--checkpoint-minutes", 0, code=("-c", SLOW_STEPS))
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr
    n_steps = 0
    for line in process.stderr:
        n_steps += line.startswith("step")
        if n_steps == 13:  # in the middle of the third of five epochs, each of five batches
            process.kill()
            break
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "network.h5").exists()
    code, said = train(seasons, out)
    assert code == 0, said
    continued = next(json.loads(line) for line in said.splitlines() if '"continuing"' in line)
    assert continued["epoch"] == 3
    assert continued["batch"] in (2, 3)
    assert_same_training(out, undisturbed)


def test_stopped_by_a_signal_it_saves_and_goes_on(seasons: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    process = subprocess.Popen(
        command(seasons, out, code=("-c", SLOW_STEPS)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr
    for line in process.stderr:
        if line.startswith("step"):
            break
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert time.monotonic() - sent < 8
    assert "progress is saved" in said
    code, said = train(seasons, out)
    assert code == 0, said
    assert '"continuing"' in said
    assert_same_training(out, undisturbed)


def test_another_seed_gives_another_network_and_a_checkpoint_is_not_mixed_up(
    seasons: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "other"
    assert train(seasons, out, "--seed", 2)[0] == 0
    kernels = [weights(folder / "network.h5")["frames/frames/conv2d/kernel"] for folder in (out, undisturbed)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01
    code, said = train(seasons, out)
    assert code == CheckpointError.exit_code
    assert "these differ: seed; --fresh starts over" in said


def test_a_finished_training_tells_what_it_was(undisturbed: Path) -> None:
    report = json.loads((undisturbed / "training.json").read_text())
    assert report["inputs"] == [{"view": "frame", "scaling": "symmetric"}]
    assert report["counts"] == {"training_sequences": 18, "validation_sequences": 8, "left_out_sequences": 0}
    history = [json.loads(line) for line in (undisturbed / "history.jsonl").open()]
    assert [entry["size"] for entry in history] == ["48x64"] * 3 + ["60x80"] * 2
    for entry in history:
        by_class = entry["validation_log_loss_by_class"]
        assert list(by_class) == list(LABELS)
        assert entry["validation_log_loss"] == pytest.approx(np.mean(list(by_class.values())))
    assert history[-1]["training_loss"] < history[0]["training_loss"]
    assert list((undisturbed / "tensorboard").glob("events.out.tfevents.*"))


def test_a_network_on_frames_sees_the_first_frame_as_the_pipeline_does(seasons: Path, cache: FrameCache) -> None:
    views = (View.FRAME,)
    assert photos_needed(views) == 1
    found = examples(seasons, cache, views)
    sequences = read_metadata(seasons / "train_metadata.csv").sequences
    for row in (0, 7):
        first = sequences[found.seq_ids[row]].images[0].file_name
        [expected] = black_out([decode((seasons / first).read_bytes(), Preset.QUARTER)])
        expected = cv2.resize(expected, (SIZE.width, SIZE.height), interpolation=cv2.INTER_LINEAR)
        for mirror in (False, True):
            [image] = load_example(cache, found.frames[row], views, SIZE, mirror=mirror)
            np.testing.assert_array_equal(image, expected[:, ::-1] if mirror else expected)


def test_both_branches_are_mirrored_together_and_hold_mean_and_background(seasons: Path, cache: FrameCache) -> None:
    views = (View.BACKGROUND, View.MEAN)
    found = examples(seasons, cache, views)
    n_frames = [len(frames) for frames in found.frames]
    assert min(n_frames) == 2, "sequences of one frame have no background"
    assert found.n_left_out > 0
    sequences = read_metadata(seasons / "train_metadata.csv").sequences
    row = n_frames.index(3)
    names = [image.file_name for image in sequences[found.seq_ids[row]].images[:3]]
    frames = black_out([decode((seasons / name).read_bytes(), Preset.QUARTER) for name in names])
    mean = np.mean(frames, axis=0)
    moved = np.clip(sum(np.abs(frame - mean) for frame in frames), 0, 255)
    for mirror in (False, True):
        background, average = load_example(cache, found.frames[row], views, SIZE, mirror=mirror)
        for image, whole in ((background, moved), (average, mean)):
            expected = cv2.resize(whole, (SIZE.width, SIZE.height), interpolation=cv2.INTER_LINEAR)
            np.testing.assert_allclose(image, expected[:, ::-1] if mirror else expected, atol=1e-4)


def test_batches_do_not_depend_on_the_number_of_workers(seasons: Path, cache: FrameCache) -> None:
    found = examples(seasons, cache, (View.FRAME,))
    plans = shuffled_batches(len(found), 4, seed=1, epoch=0)
    made = [list(load_batches(cache, found, plans, (View.FRAME,), SIZE, n_workers)) for n_workers in (1, 3)]
    for one, other in zip(*made, strict=True):
        np.testing.assert_array_equal(one.images[0], other.images[0])
        np.testing.assert_array_equal(one.targets, other.targets)


def test_an_epoch_sees_every_sequence_once_half_of_them_mirrored() -> None:
    plans = shuffled_batches(1001, 32, seed=1, epoch=3)
    assert sorted(np.concatenate([plan.rows for plan in plans])) == list(range(1001))
    assert [len(plan.rows) for plan in plans] == [32] * 31 + [9]
    assert 400 < sum(int(plan.is_mirrored.sum()) for plan in plans) < 600
    again, other = shuffled_batches(1001, 32, seed=1, epoch=3), shuffled_batches(1001, 32, seed=1, epoch=4)
    assert all(np.array_equal(one.rows, two.rows) for one, two in zip(plans, again, strict=True))
    assert not np.array_equal(plans[0].rows, other[0].rows)
    assert not any(plan.is_mirrored.any() for plan in ordered_batches(10, 4))
    assert [list(plan.rows) for plan in ordered_batches(10, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (NetworkPlan(Kind.FRAMES, "tiny", mean=Path("m.h5")), "--mean-network: must come with two-branch, got frames"),
        (NetworkPlan(Kind.TWO_BRANCH, "tiny", mean=Path("m.h5")), "must be given together, got only --mean-network"),
        (
            NetworkPlan(Kind.TWO_BRANCH, "tiny", mean=Path("m.h5"), background=Path("b.h5"), weights=Path("w.h5")),
            "--weights: must not be given where the branches are trained networks",
        ),
        (NetworkPlan(Kind.MEAN, "tiny", weights=Path("nowhere.h5")), "--weights nowhere.h5: must be a file"),
    ],
)
def test_what_does_not_go_together_is_refused(plan: NetworkPlan, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_plan(plan)


def test_the_fingerprint_of_a_plan_tells_plans_apart(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"weights")
    plan = NetworkPlan(Kind.FRAMES, "tiny")
    others = [
        replace(plan, kind=Kind.MEAN),
        replace(plan, backbone="MobileNetV2"),
        replace(plan, classes=Classes.EMPTY),
        replace(plan, weights=tmp_path / "w.h5"),
    ]
    fingerprints = [json.dumps(one.fingerprint(), sort_keys=True) for one in (plan, *others)]
    assert len(set(fingerprints)) == 5


@pytest.mark.parametrize("content", [b"", b"PK no archive", b"\x00" * 1000])
def test_a_damaged_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    from models.checkpoint import CHECKPOINT_NAME, read_checkpoint

    (tmp_path / CHECKPOINT_NAME).write_bytes(content)
    with pytest.raises(CheckpointError, match="must be a checkpoint, got: .*; --fresh starts over"):
        read_checkpoint(tmp_path, {})
    os.unlink(tmp_path / CHECKPOINT_NAME)
    assert read_checkpoint(tmp_path, {}) is None
