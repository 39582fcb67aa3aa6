"""Training: the same weights after a kill, the first-frame rule, joint mirroring, frozen layers, what is refused."""

from __future__ import annotations

import json
import os
import shutil
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

from inference.core.choices import DecoderName, Preset
from inference.core.errors import CheckpointError, InterruptedRunError, UsageError
from inference.core.labels import LABELS
from inference.core.sequences import ImageSize, View
from inference.dataset.label_tables import read_targets
from inference.dataset.metadata import read_metadata
from inference.images.decode_pillow import decode
from inference.images.decoder import find_decoder
from inference.process.lock import locked
from inference.process.progress import RunState
from inference.process.read_timeout import ReadTimeout
from inference.storage.opening import open_storage
from models.data.batches import (
    Examples,
    Views,
    examples_of,
    load_batches,
    ordered_batches,
    photos_needed,
    shuffled_batches,
)
from models.data.frame_cache import CacheKey, FrameCache
from models.data.index_row import CachedFrame
from models.spec.kinds import Classes, NetworkKind
from models.spec.network_plan import NetworkPlan, check_plan
from models.spec.schedule import load_schedule
from models.training.checkpoint import read_checkpoint
from models.training.job import TrainingJob, TrainingOptions
from models.training.train import train as run_training
from runtime_tests.models.seasons import SCHEDULE, write_seasons
from runtime_tests.naive import black_out
from runtime_tests.running import ignore_progress

SIZE = ImageSize(48, 64)
STEPS_THAT_TELL = """
import itertools, os, sys, time
import hakuna
from models.training.learner import Learner
learn, steps = Learner.learn, itertools.count(1)

def learn_and_tell(self, batch, rate):
    step = next(steps)
    print("step", step, file=sys.stderr, flush=True)
    time.sleep(600 if step == int(os.environ["HANG_AT"]) else 0.05)
    return learn(self, batch, rate)

Learner.learn = learn_and_tell
hakuna.main()
"""
"""The command, with steps that tell when they begin; one of them hangs, to be killed there."""


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
        opened.prepare(
            sequences.values(), open_storage(str(seasons), ReadTimeout(60)), decoder, 2, ignore_progress, lambda: None
        )
        yield opened


def examples(seasons: Path, cache: FrameCache, views: tuple[View, ...]) -> Examples:
    ids = sorted(read_metadata(seasons / "train_metadata.csv").sequences)
    return examples_of(ids, read_targets(seasons / "train_labels.csv", ids), cache, views)


def command(seasons: Path, out: Path, *more: object, code: tuple[str, ...] = ("-m", "hakuna")) -> list[str]:
    words = [sys.executable, *code, "train", "frames", seasons, "--train", "S1", "--valid", "S2", "--backbone", "tiny"]
    words += [
        "--schedule",
        seasons / "schedule.toml",
        "--out",
        out,
        "--cache-dir",
        seasons / "frames",
        "--workers",
        2,
        *more,
    ]
    return list(map(str, words))


def start(seasons: Path, out: Path, *more: object, hang_at: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(seasons, out, *more, code=("-c", STEPS_THAT_TELL)),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # NumPy is imported before the command blocks its signals: a thread of NumPy's would receive them.
        env={**os.environ, "HANG_AT": str(hang_at), "OPENBLAS_NUM_THREADS": "1"},
    )


def wait_for_step(process: subprocess.Popen[str], number: int) -> None:
    assert process.stderr
    said = []
    for line in process.stderr:
        said.append(line)
        if line == f"step {number}\n":
            return
    pytest.fail("".join(said))


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


def history_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def assert_same_training(one: Path, other: Path) -> None:
    for name in ("network.h5", "network_48x64.h5", "network_60x80.h5"):
        first, second = weights(one / name), weights(other / name)
        assert first.keys() == second.keys()
        for key, array in first.items():
            np.testing.assert_array_equal(array, second[key], err_msg=f"{name} {key}")
    for first, second in zip(history_of(one), history_of(other), strict=True):
        assert {**first, "images_per_second": 0} == {**second, "images_per_second": 0}


@pytest.fixture(scope="module")
def undisturbed(seasons: Path) -> Path:
    out = seasons / "undisturbed"
    code, said = train(seasons, out)
    assert code == 0, said
    return out


@pytest.mark.e2e
def test_stopped_killed_and_resumed_it_ends_in_the_same_weights(
    seasons: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "disturbed"
    process = start(seasons, out, hang_at=0)
    wait_for_step(process, 3)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "stopped by SIGTERM: progress is saved" in said
    position = read_position(out)
    n_done = 5 * position["epoch"] + position["batch"]  # of five epochs with five batches each
    assert 2 <= n_done < 12

    process = start(seasons, out, "--checkpoint-minutes", 0, hang_at=13 - n_done)
    wait_for_step(process, 13 - n_done)  # twelve are saved
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "network.h5").exists()
    assert {"epoch": 2, "batch": 2}.items() <= read_position(out).items()

    code, said = train(seasons, out)
    assert code == 0, said
    assert_same_training(out, undisturbed)


@pytest.mark.faults
def test_a_training_that_is_killed_again_and_again_ends_in_the_same_weights(
    seasons: Path, undisturbed: Path, seed: int, tmp_path: Path
) -> None:
    random, out = np.random.default_rng(seed), tmp_path / "disturbed"
    n_kills, n_wanted = 0, 10
    for _ in range(3 * n_wanted):
        process = start(seasons, out, "--checkpoint-minutes", 0, hang_at=0)
        wait_for_step(process, 1)
        time.sleep(random.uniform(0, 0.4))
        process.kill()
        process.communicate(timeout=60)
        n_kills += process.returncode == -signal.SIGKILL
        if n_kills == n_wanted or process.returncode == 0:
            break
    assert n_kills > n_wanted // 2
    code, said = train(seasons, out)
    assert code == 0, said
    assert_same_training(out, undisturbed)


def read_position(out: Path) -> dict:
    with np.load(out / "checkpoint.npz") as content:
        return json.loads(str(content["about"]))["position"]


@pytest.mark.e2e
def test_a_training_that_learnt_its_last_epoch_ends_in_the_same_files_again(
    seasons: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """Killed before it wrote its network, or just run again."""
    out = tmp_path / "finished"
    shutil.copytree(undisturbed, out)
    (out / "network.h5").unlink()
    (out / "training.json").unlink()
    code, said = train(seasons, out)
    assert code == 0, said
    assert "all epochs are finished" in said
    assert bytes_of(out) == bytes_of(undisturbed)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


class StopsWhileItTrains(RunState):
    """Asked to stop at that look at it, counted from the first batch."""

    def __init__(self, look: int) -> None:
        super().__init__()
        self.left = look

    def check(self) -> None:
        self.left -= self.stage == "training"
        if self.left == 0:
            raise InterruptedRunError("stop", signal.SIGTERM)


def test_an_epoch_that_an_earlier_run_learnt_has_no_rate_and_fresh_forgets_the_old_figures(
    seasons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "models.training.train.tf.config.experimental.enable_op_determinism", lambda: None
    )  # for all tests
    old = tmp_path / "tensorboard" / "events.out.tfevents.old"
    old.parent.mkdir()
    old.touch()
    (old.parent / "notes.txt").touch()
    job = TrainingJob(
        NetworkPlan(kind=NetworkKind.FRAMES, backbone="tiny"), load_schedule(str(seasons / "schedule.toml")), str(seasons),
        seasons / "train_metadata.csv", seasons / "train_labels.csv", ("S1",), ("S2",), Preset.QUARTER, 1,
    )  # fmt: skip
    options = TrainingOptions(2, seasons / "frames")
    with locked(tmp_path) as out:
        with pytest.raises(InterruptedRunError):
            run_training(job, out, replace(options, fresh=True), StopsWhileItTrains(6))  # five batches, then validation
        assert (old.exists(), (old.parent / "notes.txt").exists()) == (False, True)
        assert {"epoch": 0, "batch": 5}.items() <= read_position(tmp_path).items()
        run_training(job, out, options, RunState())
    first, *others = [epoch["images_per_second"] for epoch in history_of(tmp_path)]
    assert first is None
    assert all(others)


def test_a_checkpoint_of_another_training_is_refused_with_the_difference(undisturbed: Path) -> None:
    fingerprint = json.loads((undisturbed / "training.json").read_text())["fingerprint"]
    found = read_checkpoint(undisturbed, fingerprint)
    assert found
    assert found.position.epoch == 5
    assert found.optimizer
    with pytest.raises(CheckpointError, match="these differ: preprocessing, seed; --restart starts over"):
        read_checkpoint(undisturbed, {**fingerprint, "seed": "2", "preprocessing": "quarter+jpeg"})


def test_a_finished_training_tells_what_it_was(undisturbed: Path) -> None:
    report = json.loads((undisturbed / "training.json").read_text())
    assert report["inputs"] == [{"view": "frame", "scaling": "symmetric"}]
    assert report["counts"] == {"training_sequences": 18, "validation_sequences": 8, "left_out_sequences": 0}
    history = history_of(undisturbed)
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
    made = Views(cache, found, views, SIZE, kept_bytes=0)
    sequences = read_metadata(seasons / "train_metadata.csv").sequences
    for row in (0, 7):
        first = sequences[found.seq_ids[row]].images[0].file_name
        [expected] = black_out([decode((seasons / first).read_bytes(), Preset.QUARTER)])
        expected = cv2.resize(expected, (SIZE.width, SIZE.height), interpolation=cv2.INTER_LINEAR)
        for mirror in (False, True):
            [image] = made.of(row, mirror=mirror)
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
    made = Views(cache, found, views, SIZE, kept_bytes=0)
    for mirror in (False, True):
        background, average = made.of(row, mirror=mirror)
        for image, whole in ((background, moved), (average, mean)):
            expected = cv2.resize(whole, (SIZE.width, SIZE.height), interpolation=cv2.INTER_LINEAR)
            np.testing.assert_allclose(image, expected[:, ::-1] if mirror else expected, atol=1e-4)


@pytest.mark.parametrize("views", [(View.FRAME,), (View.BACKGROUND, View.MEAN)])
def test_batches_do_not_depend_on_workers_nor_on_views_that_are_kept(
    seasons: Path, cache: FrameCache, views: tuple[View, ...]
) -> None:
    found = examples(seasons, cache, views)
    n_bytes = len(found) * SIZE.height * SIZE.width * 3 * (1 if views == (View.FRAME,) else 8)
    kinds = [(Views(cache, found, views, SIZE, kept_bytes), n) for kept_bytes in (n_bytes - 1, n_bytes) for n in (1, 3)]
    for epoch in (0, 1):
        plans = shuffled_batches(len(found), 4, seed=1, epoch=epoch)
        made = [list(load_batches(kind, plans, n_workers)) for kind, n_workers in kinds]
        for one, *others in zip(*made, strict=True):
            for other in others:
                np.testing.assert_array_equal(one.images, other.images)
                np.testing.assert_array_equal(one.targets, other.targets)


def test_views_are_made_once_where_all_of_them_fit(
    seasons: Path, cache: FrameCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = examples(seasons, cache, (View.FRAME,))
    n_bytes = len(found) * SIZE.height * SIZE.width * 3
    read = cache.read
    n_read = [0]

    def counted(frame: CachedFrame) -> np.ndarray:
        n_read[0] += 1
        return read(frame)

    monkeypatch.setattr(cache, "read", counted)
    for kept_bytes, n_expected in ((n_bytes, len(found)), (n_bytes - 1, 2 * len(found))):
        views = Views(cache, found, (View.FRAME,), SIZE, kept_bytes)
        n_read[0] = 0
        for _ in range(2):
            list(load_batches(views, ordered_batches(len(found), 4), n_workers=2))
        assert n_read[0] == n_expected
        views.resize(ImageSize(24, 32))
        [batch, *_] = load_batches(views, ordered_batches(len(found), 4), n_workers=2)
        assert batch.images[0].shape == (4, 24, 32, 3)


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
        (
            NetworkPlan(NetworkKind.FRAMES, "tiny", mean=Path("m.h5")),
            "--mean-network: must come with two-branch, got frames",
        ),
        (
            NetworkPlan(NetworkKind.TWO_BRANCH, "tiny", mean=Path("m.h5")),
            "must be given together, got only --mean-network",
        ),
        (
            NetworkPlan(
                NetworkKind.TWO_BRANCH, "tiny", mean=Path("m.h5"), background=Path("b.h5"), weights=Path("w.h5")
            ),
            "--weights: must not be given together with trained branches",
        ),
        (NetworkPlan(NetworkKind.MEAN, "tiny", weights=Path("nowhere.h5")), "--weights nowhere.h5: must be a file"),
    ],
)
def test_what_does_not_go_together_is_refused(plan: NetworkPlan, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_plan(plan)


def test_the_fingerprint_of_a_plan_tells_plans_apart(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"weights")
    plan = NetworkPlan(NetworkKind.FRAMES, "tiny")
    others = [
        replace(plan, kind=NetworkKind.MEAN),
        replace(plan, backbone="MobileNetV2"),
        replace(plan, classes=Classes.EMPTY),
        replace(plan, weights=tmp_path / "w.h5"),
    ]
    fingerprints = [json.dumps(one.fingerprint(), sort_keys=True) for one in (plan, *others)]
    assert len(set(fingerprints)) == 5
