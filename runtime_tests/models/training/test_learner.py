"""What a step does: which layers move, what the targets are, the loss against a loop."""

from __future__ import annotations

import errno
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from inference.core.errors import OutOfMemoryError, OutputError, UsageError
from inference.core.labels import EMPTY, LABELS, N_CLASSES
from models.data.batches import Batch
from models.keras_io.architectures import backbone, leaf_layers, single_view_network, two_branch_network
from models.keras_io.h5_file import load_keras_network, save_network
from models.spec.kinds import EMPTY_CLASSES, Head, NetworkKind, Scaling
from models.spec.network_plan import NetworkPlan
from models.spec.schedule import load_schedule
from models.training.build_network import build_network
from models.training.learner import Learner, init_head_bias, log_loss_by_class, network_targets, unfreeze


@pytest.fixture
def targets() -> np.ndarray:
    targets = np.zeros((4, N_CLASSES), np.uint8)
    targets[0, LABELS.index("zebra")] = targets[0, LABELS.index("wildebeest")] = 1
    targets[1, EMPTY] = targets[2, EMPTY] = 1
    targets[3, LABELS.index("aardvark")] = 1
    return targets


@pytest.fixture
def batch(targets: np.ndarray, random: np.random.Generator) -> Batch:
    return Batch((random.integers(0, 256, (4, 48, 64, 3)).astype(np.uint8),), targets)


def trainable(network: keras.Model) -> list[bool]:
    return [layer.trainable for layer in leaf_layers(network) if layer.weights]


def test_only_the_last_layers_are_unfrozen() -> None:
    network = single_view_network(backbone("tiny", "tiny"))  # conv, conv, pool, dropout, dense
    unfreeze(network, 1, None)
    assert trainable(network) == [False, False, True]
    unfreeze(network, 4, None)
    assert trainable(network) == [False, True, True]
    unfreeze(network, None, None)
    assert trainable(network) == [True, True, True]
    unfreeze(network, 200, None)
    assert trainable(network) == [True, True, True]


def test_of_two_branches_the_last_layers_of_each_and_the_head_are_unfrozen() -> None:
    network = two_branch_network(backbone("tiny", "background"), backbone("tiny", "mean"))
    unfreeze(network, None, 1)
    assert trainable(network) == [False, True, False, True, True, True]


def test_frozen_layers_do_not_move_and_the_others_do(batch: Batch) -> None:
    keras.utils.set_random_seed(1)
    network = single_view_network(backbone("tiny", "tiny"))
    learner = Learner(network, (Scaling.SYMMETRIC,), Head.SIGMOID, None)
    for n_layers, moved in ((1, [False, False, True]), (None, [True, True, True])):
        before = [layer.get_weights()[0] for layer in leaf_layers(network) if layer.weights]
        learner.begin_phase(n_layers)
        learner.learn(batch, 1e-3)
        after = [layer.get_weights()[0] for layer in leaf_layers(network) if layer.weights]
        assert [not np.array_equal(one, other) for one, other in zip(before, after, strict=True)] == moved


@pytest.mark.parametrize("head", [Head.SIGMOID, Head.SOFTMAX])
def test_the_loss_of_a_step_is_that_of_a_loop_and_steps_lower_it(head: Head, batch: Batch, targets: np.ndarray) -> None:
    keras.utils.set_random_seed(1)
    network = single_view_network(backbone("tiny", "tiny"), head=head)
    network.get_layer(index=-2).rate = 0.0  # the loss is that of the answers
    learner = Learner(network, (Scaling.SYMMETRIC,), head, None)
    learner.begin_phase(None)
    answers = learner.predict(batch).astype(float)
    if head is Head.SIGMOID:
        terms = [-math.log(p if y else 1 - p) for p, y in zip(answers.ravel(), targets.ravel(), strict=True)]
        expected = sum(terms) / len(terms)
    else:
        terms = [
            -sum(math.log(p) for p, y in zip(row, seen, strict=True) if y) / seen.sum()
            for row, seen in zip(answers, targets, strict=True)
        ]
        expected = sum(terms) / len(terms)
    losses = [learner.learn(batch, 1e-2) for _ in range(15)]
    assert losses[0] == pytest.approx(expected, rel=1e-4)
    assert losses[-1] < 0.7 * losses[0]


def test_the_network_sees_scaled_pixels(random: np.random.Generator) -> None:
    keras.utils.set_random_seed(1)
    network = two_branch_network(backbone("tiny", "background"), backbone("tiny", "mean"))
    learner = Learner(network, (Scaling.UNIT, Scaling.SYMMETRIC), Head.SIGMOID, None)
    background, mean = random.uniform(0, 255, (2, 3, 48, 64, 3)).astype(np.float32)
    batch = Batch((background, mean), np.zeros((3, N_CLASSES), np.uint8))
    np.testing.assert_allclose(learner.predict(batch), network([background / 255, mean / 127.5 - 1]), atol=1e-6)


def test_a_restored_learner_goes_on_as_if_nothing_had_happened(batch: Batch) -> None:
    def fresh() -> Learner:
        keras.utils.set_random_seed(1)
        learner = Learner(single_view_network(backbone("tiny", "tiny")), (Scaling.UNIT,), Head.SIGMOID, None)
        learner.begin_phase(None)
        return learner

    undisturbed, interrupted = fresh(), fresh()
    for learner in (undisturbed, interrupted):
        for _ in range(3):
            learner.learn(batch, 1e-3)
    state = interrupted.state()
    resumed = fresh()
    resumed.restore(*state)
    for _ in range(3):
        assert resumed.learn(batch, 1e-3) == undisturbed.learn(batch, 1e-3)
    for one, other in zip(resumed.state()[0], undisturbed.state()[0], strict=True):
        np.testing.assert_array_equal(one, other)


class TooLarge:
    """Images that TensorFlow finds no memory for."""

    shape, dtype = (4, 48, 64, 3), np.dtype(np.uint8)

    def __array__(self) -> np.ndarray:
        raise tf.errors.ResourceExhaustedError(None, None, "no memory")


def test_a_batch_that_does_not_fit_into_memory_is_reported(targets: np.ndarray) -> None:
    learner = Learner(single_view_network(backbone("tiny", "tiny")), (Scaling.UNIT,), Head.SIGMOID, None)
    learner.begin_phase(None)
    with pytest.raises(
        OutOfMemoryError, match=r"a batch of \(4, 48, 64\) \(images, height, width\) must fit into memory"
    ):
        learner.learn(Batch((TooLarge(),), targets), 1e-3)  # type: ignore[arg-type]


def test_targets_of_every_head(targets: np.ndarray) -> None:
    np.testing.assert_array_equal(network_targets(targets, N_CLASSES, Head.SIGMOID), targets)
    shared = network_targets(targets, N_CLASSES, Head.SOFTMAX)
    np.testing.assert_allclose(shared.sum(axis=1), 1)
    assert shared[0, LABELS.index("zebra")] == 0.5
    two = network_targets(targets, EMPTY_CLASSES, Head.SIGMOID)
    np.testing.assert_array_equal(two, [[1, 0], [0, 1], [0, 1], [1, 0]])
    assert not network_targets(np.zeros((1, N_CLASSES), np.uint8), N_CLASSES, Head.SOFTMAX).any()


def test_a_new_head_begins_with_the_shares_of_the_classes(targets: np.ndarray, random: np.random.Generator) -> None:
    network = single_view_network(backbone("tiny", "tiny"))
    init_head_bias(network, network_targets(targets, N_CLASSES, Head.SIGMOID), Head.SIGMOID)
    kernel, _ = network.layers[-1].get_weights()
    _, bias = network.layers[-1].get_weights()
    network.layers[-1].set_weights([np.zeros_like(kernel), bias])
    answers = np.asarray(network(random.uniform(-1, 1, (1, 48, 64, 3)).astype(np.float32)))[0]
    assert answers[EMPTY] == pytest.approx(2.5 / 5)
    assert answers[LABELS.index("zebra")] == pytest.approx(1.5 / 5)
    assert answers[LABELS.index("bat")] == pytest.approx(0.5 / 5)


def test_validation_log_loss_is_the_metric(random: np.random.Generator) -> None:
    answers = random.uniform(0, 1, (5, 3)).astype(np.float32)
    answers[0, 0] = 0.0
    wanted = (random.random((5, 3)) < 0.5).astype(np.float32)
    wanted[0, 0] = 1
    losses = log_loss_by_class(answers, wanted)
    for c in range(3):
        clipped = [min(max(float(p), 1e-15), 1 - 1e-15) for p in answers[:, c]]
        terms = [-math.log(p) if y else -math.log1p(-p) for p, y in zip(clipped, wanted[:, c], strict=True)]
        assert losses[c] == pytest.approx(sum(terms) / 5)


def test_a_training_that_goes_on_anywhere_in_an_epoch_rounds_as_an_undisturbed_one(
    batch: Batch, random: np.random.Generator
) -> None:
    """At its short last batch too: a graph that was first made for three images must round as one made for four."""
    images = random.integers(0, 256, (4, 4, 48, 64, 3)).astype(np.uint8)
    epochs = [Batch((images[number, :n],), batch.targets[:n]) for number, n in enumerate((4, 4, 3, 4))]

    def begun() -> Learner:
        keras.utils.set_random_seed(1)
        learner = Learner(single_view_network(backbone("small", "small")), (Scaling.SYMMETRIC,), Head.SIGMOID, None)
        learner.begin_phase(None)
        return learner

    undisturbed, states = begun(), []
    for one in epochs:
        states.append(undisturbed.state())
        undisturbed.learn(one, 1e-3)
    for n_done in range(1, len(epochs)):
        resumed = begun()
        resumed.restore(*states[n_done])
        for one in epochs[n_done:]:
            resumed.learn(one, 1e-3)
        for own, wanted in zip(resumed.state()[0], undisturbed.state()[0], strict=True):
            np.testing.assert_array_equal(own, wanted, err_msg=f"{n_done} batches done")


def test_networks_are_saved_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = single_view_network(backbone("tiny", "tiny"))
    path = tmp_path / "network.h5"
    save_network(network, path)
    for own, read in zip(network.get_weights(), load_keras_network(path).get_weights(), strict=True):
        np.testing.assert_array_equal(own, read)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("inference.core.files.os.fsync", full)
    with pytest.raises(OutputError, match="network.h5 must be writable, got: No space left on device"):
        save_network(network, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("application", ["MobileNetV3Small", "EfficientNetV2B0"])
def test_a_backbone_that_could_not_be_read_again_is_refused_before_it_learns(application: str) -> None:
    with pytest.raises(UsageError, match="must be made of layers of plain arithmetic .* of class Rescaling"):
        build_network(NetworkPlan(kind=NetworkKind.FRAMES, backbone=application), load_schedule("v1"))


def test_a_backbone_for_one_size_is_refused_before_it_learns() -> None:
    with pytest.raises(
        UsageError, match="--backbone NASNetMobile: must take images of 240x320, a size of the schedule"
    ):
        build_network(NetworkPlan(kind=NetworkKind.FRAMES, backbone="NASNetMobile"), load_schedule("v1"))
