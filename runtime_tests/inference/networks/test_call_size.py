"""Small and large calls of a network: the same bits, the faster ones, remembered."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from inference.bundle.reader import Bundle
from inference.core.choices import EngineName, Precision
from inference.core.errors import InterruptedRunError
from inference.networks.call_size import LARGE, N_PAIRS, SMALL, CallSize, SplitNetwork
from inference.networks.engine import find_engine, load_known_networks

Images = npt.NDArray[np.float32]


@dataclass
class Clock:
    """A clock that only the networks move."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Network:
    """The mean of an image; a large call takes `large_seconds` and is off by `error`."""

    clock: Clock
    large_seconds: float
    error: float = 0.0
    calls: list[int] = field(default_factory=list)

    def __call__(self, inputs: Mapping[str, Images], /) -> Images:
        [images] = inputs.values()
        self.calls.append(len(images))
        is_large = len(images) == LARGE
        self.clock.now += self.large_seconds if is_large else 1.0
        return images.mean(axis=(1, 2)) + np.float32(self.error * is_large)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def images(n: int, side: int = 4) -> dict[str, Images]:
    return {"images": np.random.default_rng(n).uniform(0, 255, (n, side, side, 3)).astype(np.float32)}


def mean(inputs: dict[str, Images]) -> Images:
    return inputs["images"].mean(axis=(1, 2))


@pytest.mark.parametrize(("large_seconds", "chosen"), [(3.0, LARGE), (3.95, SMALL), (5.0, SMALL)])
def test_the_faster_calls_are_found_in_the_first_batches_and_used(
    large_seconds: float, chosen: int, clock: Clock
) -> None:
    network, size = Network(clock, large_seconds), CallSize()
    split = SplitNetwork("v1", network, size, lambda: None)
    for n in (2, 8, 10, 26, *[16] * N_PAIRS):
        assert (split(images(n)) == mean(images(n))).all()
    assert size.images == chosen
    assert network.calls[:10] == [SMALL] * 10, "too few images to compare"
    assert network.calls[10:15] == [SMALL] * 4 + [LARGE], "the same images, compared"
    assert network.calls[15:20] == [SMALL] * 4 + [LARGE], "others, timed"
    assert network.calls[20:21] == [SMALL], "the rest of 26"
    network.calls.clear()
    assert (split(images(22)) == mean(images(22))).all()
    assert network.calls == ([LARGE, LARGE, *[SMALL] * 3] if chosen == LARGE else [SMALL] * 11)


def test_large_calls_that_change_a_bit_are_not_used(clock: Clock) -> None:
    network, size = Network(clock, 1.0, error=1e-4), CallSize()
    split = SplitNetwork("v1", network, size, lambda: None)
    for _ in range(2 * N_PAIRS):
        assert (split(images(30)) == mean(images(30))).all()
    assert (size.images, network.calls.count(LARGE)) == (SMALL, 1)


@pytest.mark.parametrize("error", [RuntimeError("no memory"), MemoryError()])
def test_a_large_call_that_fails_is_not_tried_again(error: Exception, clock: Clock) -> None:
    class Small(Network):
        def __call__(self, inputs: Mapping[str, Images], /) -> Images:
            answers = super().__call__(inputs)
            if len(answers) == LARGE:
                raise error
            return answers

    network, size = Small(clock, 1.0), CallSize()
    split = SplitNetwork("v1", network, size, lambda: None)
    for _ in range(3):
        assert (split(images(16)) == mean(images(16))).all()
    assert (size.images, network.calls.count(LARGE)) == (SMALL, 1)


def test_each_network_and_size_is_compared_before_its_calls_are_large(clock: Clock) -> None:
    size = CallSize(LARGE, {"v1 4x4": True})
    inexact = Network(clock, 1.0, error=1e-4)
    split = SplitNetwork("v2", inexact, size, lambda: None)
    for _ in range(3):
        assert (split(images(16)) == mean(images(16))).all()
    assert inexact.calls.count(LARGE) == 1
    exact = Network(clock, 1.0)
    split = SplitNetwork("v1", exact, size, lambda: None)
    split(images(8))
    split(images(8, side=6))
    split(images(8, side=6))
    assert exact.calls == [LARGE, *[SMALL] * 4, LARGE, LARGE]
    assert size.is_exact == {"v1 4x4": True, "v2 4x4": False, "v1 6x6": True}


def test_only_one_network_is_measured(clock: Clock) -> None:
    size, networks = CallSize(), [Network(clock, 1.0) for _ in range(2)]
    one, two = (SplitNetwork(f"v{number}", network, size, lambda: None) for number, network in enumerate(networks))
    for _ in range(N_PAIRS):
        one(images(16))
        two(images(16))
    assert size.images is None
    assert LARGE in networks[0].calls
    assert LARGE not in networks[1].calls
    one(images(16))
    assert size.images == LARGE


@pytest.mark.usefixtures("cache")
def test_the_choice_is_remembered_for_the_same_networks_only(clock: Clock) -> None:
    size = CallSize()
    size.recall("bundle", "int8")
    split = SplitNetwork("v1", Network(clock, 1.0), size, lambda: None)
    for _ in range(N_PAIRS + 1):
        split(images(16))
    again, other = CallSize(), CallSize()
    again.recall("bundle", "int8")
    other.recall("bundle", "float32")
    assert (again.images, again.is_exact) == (LARGE, {"v1 4x4": True})
    assert (other.images, other.is_exact) == (None, {})
    again.compared("v2 4x4", is_exact=False)
    third = CallSize()
    third.recall("bundle", "int8")
    assert third.is_exact == {"v1 4x4": True, "v2 4x4": False}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"images": 8}', '{"images": 3, "is_exact": {}}', '{"images": "8", "is_exact": {"v1 4x4": true}}'],
)
def test_a_damaged_choice_is_measured_anew(text: str, cache: Path) -> None:
    size = CallSize(LARGE, {})
    size.recall("bundle")
    size.images = LARGE
    size.compared("v1 4x4", is_exact=True)
    [kept] = [path for path in cache.rglob("*") if path.is_file()]
    kept.write_text(text)
    again = CallSize()
    again.recall("bundle")
    assert (again.images, again.is_exact) == (None, {})


def test_a_run_can_be_stopped_between_the_calls(clock: Clock) -> None:
    numbers = count()

    def stops_at_the_third() -> None:
        if next(numbers) == 2:
            raise InterruptedRunError("SIGTERM", 15)

    network = Network(clock, 1.0)
    with pytest.raises(InterruptedRunError):
        SplitNetwork("v1", network, CallSize(), stops_at_the_third)(images(16))
    assert network.calls == [SMALL, SMALL]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.MIXED])
def test_no_answer_of_openvino_depends_on_the_images_in_a_call(
    precision: Precision, quick_bundle: Bundle, random: np.random.Generator
) -> None:
    engine = find_engine(EngineName.OPENVINO)
    loaded = load_known_networks(quick_bundle, engine, precision, lambda: None)
    for network in quick_bundle.manifest.networks:
        loaded_network = loaded.by_name[network.name]
        assert isinstance(loaded_network, SplitNetwork)
        split = replace(loaded_network, size=CallSize())
        shape = (30, *network.sizes[0].as_image_size(), 3)
        inputs = {one.name: random.uniform(0, 255, shape).astype(np.float32) for one in network.inputs}
        expected = np.concatenate(
            [split.network({name: one[k : k + SMALL] for name, one in inputs.items()}) for k in range(0, 30, SMALL)]
        )
        for _ in range(N_PAIRS):
            np.testing.assert_array_equal(split(inputs), expected)
        assert split.size.images is not None


def test_a_repetition_in_float32_does_not_use_the_choice_for_bfloat16(quick_bundle: Bundle) -> None:
    engine = find_engine(EngineName.OPENVINO)
    loaded = load_known_networks(quick_bundle, engine, Precision.MIXED, lambda: None)
    assert loaded.in_float32
    for name, one in loaded.by_name.items():
        exact = loaded.in_float32(name)
        assert isinstance(one, SplitNetwork)
        assert isinstance(exact, SplitNetwork)
        assert exact.size is not one.size
        assert exact.size.images == SMALL
