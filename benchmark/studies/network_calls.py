"""Passes of a network a second, by images in a call, calls at once and kind of shape, beside the choice of a run.

The answers of all settings are compared: a setting that changes them would change a run's results.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmark.provenance import origin
from inference.bundle.manifest import OUTPUT_NAME, Network
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import Device, EngineName, Precision
from inference.core.sequences import MAX_PIXEL, Probabilities
from inference.networks.call_size import CallSize, SplitNetwork
from inference.networks.engine import find_engine, lower_precisions, network_path
from inference.networks.engine_openvino import FrozenNetwork, compiled, has_bfloat16, read_model

CALL_IMAGES, STREAMS, IS_STATIC = (2, 8, 16), (1, 2), (False, True)
N_IMAGES = 16
"""In each round of a setting."""
N_ROUNDS = 3
Images = npt.NDArray[np.float32]


class Setting(NamedTuple):
    """How a network is called."""

    call_images: int
    streams: int
    is_static: bool

    def __str__(self) -> str:
        return f"{self.call_images} images, {self.streams} at once, {'static' if self.is_static else 'dynamic'} shape"


def sweep(bundle: Path, command: str) -> dict[str, Any]:
    """Time the first network of a bundle at its first size, in every precision that it has; returns figures ready for JSON."""
    opened, engine = open_bundle(bundle), find_engine(EngineName.OPENVINO, Device.CPU)
    network = opened.manifest.frame_networks[0]
    bfloat16 = [Precision.MIXED] if has_bfloat16() else []  # which is not offered where it is slower than float32
    precisions = dict.fromkeys((Precision.FLOAT32, *lower_precisions(opened, engine), *bfloat16))
    return {
        "bundle": opened.manifest.name,
        "network": network.name,
        "size": str(network.sizes[0].as_image_size()),
        "precisions": {one.value: _swept(opened, network, one) for one in precisions},
        **origin(command),
    }


def _swept(bundle: Bundle, network: Network, precision: Precision) -> dict[str, Any]:
    path = network_path(bundle, network, EngineName.OPENVINO, precision)
    shape = (N_IMAGES, *network.sizes[0].as_image_size(), 3)
    images = np.random.default_rng(1).uniform(0, MAX_PIXEL, shape).astype(np.float32)
    name, size = network.inputs[0].name, CallSize()
    a_run = SplitNetwork(network.name, FrozenNetwork(path, (name,), precision), size, lambda: None)
    rounds: dict[str, Callable[[], Probabilities]] = {"a run": lambda: a_run({name: images})}
    while size.images is None:  # as in the first batches
        rounds["a run"]()
    for setting in map(Setting._make, product(CALL_IMAGES, STREAMS, IS_STATIC)):
        rounds[str(setting)] = partial(_answers, _caller(path, precision, name, shape, setting), images, setting)
    expected = rounds["a run"]()
    seconds: dict[str, list[float]] = {name: [] for name in rounds}
    differences = {one: float(np.abs(answer() - expected).max()) for one, answer in rounds.items()}  # and warms up
    for _ in range(N_ROUNDS):
        for one, answer in rounds.items():
            start = time.perf_counter()
            answer()
            seconds[one].append(time.perf_counter() - start)
    rates = {one: N_IMAGES / statistics.median(spent) for one, spent in seconds.items()}
    best = max(rates, key=rates.__getitem__)
    return {
        "a_run_uses": str(Setting(size.images, 1, is_static=False)),
        "best": best,
        "share_of_best": round(rates["a run"] / rates[best], 3),
        "passes_per_second": {one: round(rate, 3) for one, rate in rates.items()},
        "largest_difference": max(differences.values()),
    }


def _answers(call: Callable[[Images], Probabilities], images: Images, setting: Setting) -> Probabilities:
    parts = [images[first : first + setting.call_images] for first in range(0, len(images), setting.call_images)]
    with ThreadPoolExecutor(setting.streams) as threads:
        return np.concatenate(list(threads.map(call, parts)))


def _caller(
    path: Path, precision: Precision, name: str, shape: tuple[int, ...], setting: Setting
) -> Callable[[Images], Probabilities]:
    """A network with these settings. Threads may share it."""
    model = read_model(path)
    if setting.is_static:
        model.reshape({name: [setting.call_images, *shape[1:]]})
    network = compiled(model, precision, {"NUM_STREAMS": setting.streams})
    idle = [network.create_infer_request() for _ in range(setting.streams)]

    def call(images: Images) -> Probabilities:
        request = idle.pop()
        answers = np.array(request.infer({name: images})[OUTPUT_NAME], np.float32)
        idle.append(request)
        return answers

    return call
