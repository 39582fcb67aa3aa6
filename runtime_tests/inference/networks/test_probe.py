"""What every network answers to fixed noise: the same everywhere on one kind of processor, and never what is no probability."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.bundle.manifest import Network
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import EngineName, Precision
from inference.core.errors import BundleError
from inference.core.labels import N_CLASSES
from inference.core.sequences import Probabilities
from inference.networks.engine import find_engine, load_networks
from inference.networks.forward import LoadedNetworks
from inference.networks.probe import answers_to_probe, run_at_every_size
from runtime_tests.damage import rewrite_manifest
from runtime_tests.running import environment, hakuna_here

PROBE_OF = """
import sys
from pathlib import Path
from inference.bundle.reader import open_bundle
from inference.core.choices import EngineName, Precision
from inference.networks.engine import find_engine, load_networks
engine = find_engine(EngineName.OPENVINO)
networks = load_networks(open_bundle(Path(sys.argv[1])), engine, Precision.FLOAT32, lambda: None)
sys.stdout.buffer.write(networks.probe.tobytes())
"""


def probe_of(bundle: Bundle, engine: EngineName) -> Probabilities:
    return load_networks(bundle, find_engine(engine), Precision.FLOAT32, lambda: None).probe


def test_every_network_answers_the_same_in_another_process_on_one_core(quick_bundle: Bundle) -> None:
    networks, probe = quick_bundle.manifest.networks, probe_of(quick_bundle, EngineName.OPENVINO)
    assert probe.shape == (sum(2 if one.per_frame else 1 for one in networks), N_CLASSES)
    assert len(np.unique(probe, axis=0)) == len(probe)
    one_core = ("taskset", "-c", str(min(os.sched_getaffinity(0))))
    command = [*one_core, sys.executable, "-c", PROBE_OF, str(quick_bundle.folder)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=300, env=environment())
    assert done.stdout == probe.tobytes()


@pytest.fixture
def damaged(second_bundle: Bundle, tmp_path: Path) -> Bundle:
    """A bundle whose network on the background has weights that are NaN; the manifest fits."""
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    copy = Path(shutil.copytree(second_bundle.folder, tmp_path / "bundle"))
    network = second_bundle.manifest.sequence_networks[-1]
    path = copy / network.folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    [meta_graph] = model.meta_graphs
    functions = meta_graph.graph_def.library.function
    nodes = [*meta_graph.graph_def.node, *(node for function in functions for node in function.node_def)]
    tensors = [node.attr["value"].tensor for node in nodes if node.op == "Const"]
    biases = [
        one for one in tensors
        if one.dtype == types_pb2.DT_FLOAT and [axis.size for axis in one.tensor_shape.dim] == [N_CLASSES]
    ]  # fmt: skip
    assert biases
    for one in biases:
        del one.float_val[:]
        one.tensor_content = np.full(N_CLASSES, np.nan, np.float32).tobytes()
    path.write_bytes(model.SerializeToString())
    shutil.rmtree(copy / "openvino")
    rewrite_manifest(copy)
    return open_bundle(copy)


def test_a_network_whose_weights_are_nan_is_refused_before_the_first_photo(
    damaged: Bundle, season: Path, tmp_path: Path
) -> None:
    name = damaged.manifest.sequence_networks[-1].name
    for engine in (EngineName.OPENVINO, EngineName.TENSORFLOW):
        with pytest.raises(BundleError, match=f"network {name} at .*: must answer with a probability.* got nan"):
            probe_of(damaged, engine)
    for command in (
        ("bundle", "verify", damaged.folder),
        ("predict", season, "--bundle", damaged.folder, "--out", tmp_path / "out"),
    ):
        done = hakuna_here(*command)
        assert done.returncode == 4
        assert f"network {name} at" in done.stderr
    assert not (tmp_path / "out" / "submission.csv").exists()
    assert not (tmp_path / "out" / "records.jsonl").exists()


class OnlyAt:
    """A network that runs at its own sizes, and keeps them."""

    def __init__(self, network: Network, error: Exception | None) -> None:
        self.sizes = {(one.height, one.width) for one in network.sizes}
        self.error = error
        self.ran: list[tuple[int, int]] = []

    def __call__(self, inputs: Mapping[str, Any], /) -> Probabilities:
        images = next(iter(inputs.values()))
        size = images.shape[1:3]
        if size not in self.sizes and self.error:
            raise self.error
        self.ran.append(size)
        answer = images.mean(axis=(1, 2, 3))[:, None] / 255 if size in self.sizes else np.full((len(images), 1), np.nan)
        return np.tile(answer.astype(np.float32), (1, N_CLASSES))


@pytest.mark.parametrize("error", [RuntimeError("another size"), None])
def test_a_network_that_needs_its_own_size_is_probed_at_the_smallest(
    error: Exception | None, second_bundle: Bundle
) -> None:
    manifest = second_bundle.manifest
    by_name = {network.name: OnlyAt(network, error) for network in manifest.networks}
    answers = answers_to_probe(manifest, LoadedNetworks(by_name))
    assert answers.shape == (sum(2 if one.per_frame else 1 for one in manifest.networks), N_CLASSES)
    assert np.isfinite(answers).all()
    for network in manifest.networks:
        smallest = min((one.height, one.width) for one in network.sizes)
        assert by_name[network.name].ran[-1] == smallest


def test_every_size_of_every_network_runs_where_no_later_call_may_be_the_first(second_bundle: Bundle) -> None:
    manifest = second_bundle.manifest
    by_name = {network.name: OnlyAt(network, RuntimeError("another size")) for network in manifest.networks}
    run_at_every_size(manifest, LoadedNetworks(by_name))
    assert all({*one.ran} == one.sizes for one in by_name.values())
