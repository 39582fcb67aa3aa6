"""Batches, mirror images, and that no sequence sees its neighbours; with networks made of NumPy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest

from inference.bundle.manifest import Manifest
from inference.bundle.passes import Effort, Pass, passes_for
from inference.bundle.reader import Bundle
from inference.core.errors import BundleError, OutOfMemoryError
from inference.core.labels import LABELS, N_CLASSES
from inference.core.sequences import Sequence, View, ViewedSequence
from inference.networks.forward import MAX_CALL_IMAGES, MIN_CALL_IMAGES, LoadedNetworks, NetworkOutputs, forward

MOST = 8192
"""More than the edges of white inputs add up to; a power of two."""


class LeftColumn:
    """A network that sees only the left edge of each input, so that mirror images answer differently."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, inputs: Mapping[str, npt.NDArray[np.float32]], /) -> npt.NDArray[np.float32]:
        assert {stack.dtype for stack in inputs.values()} == {np.dtype(np.float32)}
        self.batches.append(len(next(iter(inputs.values()))))
        edges = sum(stack[:, :, 0].mean(axis=(1, 2)) * (1 + len(name)) for name, stack in inputs.items())
        return (np.asarray(edges)[:, None] * np.linspace(0.5, 1, N_CLASSES) / MOST).astype(np.float32)


def sequence_with(n_frames: int, manifest: Manifest, random: np.random.Generator) -> ViewedSequence:
    views: dict = {}
    for view, size in manifest.view_keys:
        if view is View.FRAME:
            views[view, size] = random.integers(0, 256, (n_frames, *size, 3), np.uint8)
        elif n_frames > 1:
            views[view, size] = random.uniform(0, 255, (*size, 3)).astype(np.float32)
    return ViewedSequence(Sequence("a", ()), n_frames, views if n_frames else {}, (), 0)


def full(manifest: Manifest, *, tta: bool = True) -> tuple[Pass, ...]:
    return passes_for(manifest, Effort.FULL, flip_tta=tta)


def ask(batch: list[ViewedSequence], manifest: Manifest, *, tta: bool = True) -> tuple[list[NetworkOutputs], dict]:
    networks = {network.name: LeftColumn() for network in manifest.networks}
    return forward(batch, full(manifest, tta=tta), LoadedNetworks(networks)), networks


def naive_answer(viewed: ViewedSequence, manifest: Manifest, *, tta: bool) -> tuple[list, list]:
    """One image at a time, straight from the definition."""
    per_frame: list = []
    per_sequence: list = []
    for network in manifest.networks:
        for size in network.sizes:
            repeats = range(viewed.n_frames) if network.per_frame else [None] * (viewed.n_frames > 1)
            answers = []
            for k in repeats:
                images = {}
                for one in network.inputs:
                    stack = viewed.views[one.view, size.as_image_size()]
                    images[one.name] = (stack if k is None else stack[k]).astype(np.float32)[None]
                straight = LeftColumn()(images)
                mirrored = LeftColumn()({name: image[:, :, ::-1] for name, image in images.items()})
                answers.append(((straight + mirrored) / 2 if tta and network.flip_tta else straight)[0])
            (per_frame if network.per_frame else per_sequence).append(answers)
    return per_frame, per_sequence


@pytest.mark.parametrize("tta", [True, False])
@pytest.mark.parametrize("counts", [[3], [1], [0], [0, 0], [2, 0, 1, 3], [1] * 5, [3] * 9])
def test_answers_are_those_of_single_images(
    counts: list[int], tta: bool, second_bundle: Bundle, random: np.random.Generator
) -> None:
    manifest = second_bundle.manifest
    batch = [sequence_with(min(n, 2), manifest, random) for n in counts]
    answers, _ = ask(batch, manifest, tta=tta)
    for viewed, answer in zip(batch, answers, strict=True):
        per_frame, per_sequence = naive_answer(viewed, manifest, tta=tta)
        assert answer.frame_outputs.shape == (viewed.n_frames, 2, N_CLASSES)
        for column, expected in enumerate(per_frame):
            for k, row in enumerate(expected):
                np.testing.assert_allclose(answer.frame_outputs[k, column], row, rtol=1e-5)
        assert answer.sequence_outputs.shape == (3 if viewed.n_frames > 1 else 0, N_CLASSES)
        for column, expected in enumerate(per_sequence):
            if expected:
                np.testing.assert_allclose(answer.sequence_outputs[column], expected[0], rtol=1e-5)


def test_a_batch_is_one_call_a_network_and_size(tiny_bundle: Bundle, random: np.random.Generator) -> None:
    manifest = tiny_bundle.manifest
    _, networks = ask([sequence_with(n, manifest, random) for n in (3, 2)], manifest)
    assert networks["v1"].batches == [10, 10]  # five frames and their mirror images, at two sizes
    assert networks["background"].batches == [2, 2]


def test_calls_stay_within_their_bounds(tiny_bundle: Bundle, random: np.random.Generator) -> None:
    manifest = tiny_bundle.manifest
    _, networks = ask([sequence_with(3, manifest, random)] * 13, manifest)
    assert networks["v1"].batches[:3] == [MAX_CALL_IMAGES, MAX_CALL_IMAGES, 14]
    _, networks = ask([sequence_with(2, manifest, random)], manifest)
    assert networks["background"].batches == [MIN_CALL_IMAGES, MIN_CALL_IMAGES]  # one image, padded


@pytest.mark.parametrize("n_sequences", [3, 5, 17])
def test_an_odd_number_of_images_is_padded_by_one(
    n_sequences: int, tiny_bundle: Bundle, random: np.random.Generator
) -> None:
    batch = [sequence_with(1, tiny_bundle.manifest, random)] * n_sequences
    _, networks = ask(batch, tiny_bundle.manifest, tta=False)
    assert networks["v1"].batches == [n_sequences + 1] * 2  # at two sizes


def test_frames_that_do_not_exist_cost_nothing(tiny_bundle: Bundle, random: np.random.Generator) -> None:
    manifest = tiny_bundle.manifest
    _, networks = ask([sequence_with(0, manifest, random)] * 3, manifest)
    assert all(network.batches == [] for network in networks.values())
    _, networks = ask([sequence_with(1, manifest, random)], manifest)
    assert networks["background"].batches == networks["two_branch"].batches == []


def test_fixed_shapes_pad_every_call_to_the_full_size(tiny_bundle: Bundle, random: np.random.Generator) -> None:
    manifest = tiny_bundle.manifest
    batch = [sequence_with(n, manifest, random) for n in (3, 1, 2)]
    networks = {network.name: LeftColumn() for network in manifest.networks}
    padded = forward(batch, full(manifest), LoadedNetworks(networks, fixed_shapes=True))
    plain, _ = ask(batch, manifest)
    assert {n for network in networks.values() for n in network.batches} == {MAX_CALL_IMAGES}
    for one, other in zip(padded, plain, strict=True):
        np.testing.assert_array_equal(one.frame_outputs, other.frame_outputs)
        np.testing.assert_array_equal(one.sequence_outputs, other.sequence_outputs)


class SmallMemory(LeftColumn):
    """A network that runs out of memory above some number of images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __call__(self, inputs: Mapping[str, npt.NDArray[np.float32]], /) -> npt.NDArray[np.float32]:
        if len(next(iter(inputs.values()))) > self.most:
            raise OutOfMemoryError(f"more than {self.most}")
        return super().__call__(inputs)


def test_out_of_memory_halves_the_calls_and_goes_on(tiny_bundle: Bundle, random: np.random.Generator) -> None:
    manifest = tiny_bundle.manifest
    batch = [sequence_with(3, manifest, random)] * 8
    networks = LoadedNetworks({network.name: SmallMemory(9) for network in manifest.networks})
    got = forward(batch, full(manifest), networks)
    assert networks.max_call_images == 8
    expected, _ = ask(batch, manifest)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one.frame_outputs, other.frame_outputs)
    hopeless = LoadedNetworks({network.name: SmallMemory(1) for network in manifest.networks})
    with pytest.raises(OutOfMemoryError):
        forward(batch, full(manifest), hopeless)


class Overflowing(LeftColumn):
    """A network whose answer is `value` wherever an image is bright at its left edge."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def __call__(self, inputs: Mapping[str, npt.NDArray[np.float32]], /) -> npt.NDArray[np.float32]:
        answers = super().__call__(inputs)
        answers[answers[:, -1] > BRIGHT, 7] = self.value
        return answers


BRIGHT = 0.4 * 255 * 7 / MOST
"""What the last class of a frame network ("images") is for a rather dark edge."""


def shaded(manifest: Manifest, edges: list[float], random: np.random.Generator) -> list[ViewedSequence]:
    """Sequences of one frame whose left and right edges have such a grey, from 0 to 1."""
    batch = [sequence_with(1, manifest, random) for _ in edges]
    for viewed, edge in zip(batch, edges, strict=True):
        for frames in viewed.views.values():
            frames[:, :, 0] = 255 * edge
            frames[:, :, -1] = 0
    return batch


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0, -(2.0**-20), 1 + 2.0**-20])
@pytest.mark.parametrize("tta", [True, False])
def test_an_answer_that_is_no_probability_ends_the_run(
    value: float, tta: bool, tiny_bundle: Bundle, random: np.random.Generator
) -> None:
    """With mirror images too, whose mean could hide it."""
    manifest = tiny_bundle.manifest
    networks = {one.name: Overflowing(value) if one.name == "v2" else LeftColumn() for one in manifest.networks}
    [size] = [one.sizes[0] for one in manifest.networks if one.name == "v2"]
    message = (
        rf"network v2 at {size.height}x{size.width}, class {LABELS[7]}: must answer with a probability.* got {value}"
    )
    with pytest.raises(BundleError, match=message.replace("+", r"\+")) as error:
        forward(shaded(manifest, [0, 0, 1], random), full(manifest, tta=tta), LoadedNetworks(networks))
    assert error.value.exit_code == 4
    forward(shaded(manifest, [0, 0, 0], random), full(manifest, tta=tta), LoadedNetworks(networks))


@pytest.mark.parametrize("n_together", [1, 2, 5])
def test_what_half_precision_cannot_hold_comes_from_float32_for_that_image_alone(
    n_together: int, tiny_bundle: Bundle, random: np.random.Generator
) -> None:
    manifest = tiny_bundle.manifest

    class Exact(LeftColumn):
        def __call__(self, inputs: Mapping[str, npt.NDArray[np.float32]], /) -> npt.NDArray[np.float32]:
            return super().__call__(inputs) / 2

    exact = {network.name: Exact() for network in manifest.networks}
    mixed = {network.name: Overflowing(np.inf) for network in manifest.networks}
    networks = LoadedNetworks(mixed, in_float32=exact.__getitem__)
    edges = [0.1, 0.9, 0.2, 0.8, 0.3]
    batch = shaded(manifest, edges, random)
    parts = [batch[first : first + n_together] for first in range(0, 5, n_together)]
    got = [one for part in parts for one in forward(part, full(manifest, tta=False), networks)]
    plain, _ = ask(batch, manifest, tta=False)
    for edge, one, expected in zip(edges, got, plain, strict=True):
        np.testing.assert_array_equal(one.frame_outputs, expected.frame_outputs / (2 if edge > 0.4 else 1))
    n_passes = sum(len(network.sizes) for network in manifest.frame_networks)
    n_bright_calls = sum(
        any(edge > 0.4 for edge in edges[first : first + n_together]) for first in range(0, 5, n_together)
    )
    assert networks.n_repeated == n_passes * n_bright_calls
    hopeless = LoadedNetworks(mixed, in_float32=mixed.__getitem__)
    with pytest.raises(BundleError, match="got inf"):
        forward(batch, full(manifest), hopeless)
