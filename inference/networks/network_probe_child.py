"""The child process of `engine.probe_networks`: some graphs crash an engine, others make it hang."""

import sys
from dataclasses import replace
from pathlib import Path

from inference.bundle.graph_check import INDEXING, check_operations
from inference.bundle.manifest import SAVED_MODEL_NAME, Network
from inference.bundle.probe_child import Report, run
from inference.bundle.reader import Bundle
from inference.core.choices import Device, EngineName, Precision
from inference.core.errors import BundleError
from inference.networks.engine import Engine, find_engine, installed_engines, load_known_networks, network_path


def answer_with_every_network(bundle: Bundle, report: Report) -> None:
    """Check, load and call every network, one at a time. Raises BundleError for the first unusable one."""
    engine, precision = find_engine(EngineName(sys.argv[3]), Device(sys.argv[4])), Precision(sys.argv[5])
    for network in bundle.manifest.networks:
        path = network_path(bundle, network, engine.name, precision)
        report(str(_file(path)))
        _answer(bundle, network, engine, precision)
        if path.is_dir() and check_operations(path) & INDEXING:  # OpenVINO's files have no such operations
            for other in installed_engines():
                _answer(bundle, network, other, Precision.FLOAT32)


def _file(network: Path) -> Path:
    """The file with a network's graph."""
    return network / SAVED_MODEL_NAME if network.is_dir() else network


def _answer(bundle: Bundle, network: Network, engine: Engine, precision: Precision) -> None:
    alone = replace(bundle, manifest=bundle.manifest.model_copy(update={"networks": (network,)}))
    try:
        load_known_networks(alone, engine, precision, lambda: None, at_all_sizes=True)
    except BundleError:
        raise
    except Exception as error:  # whatever the engine raises, the network is unusable
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        path = _file(network_path(bundle, network, engine.name, precision))
        raise BundleError(f"{path}: must load and answer in {engine}, got {reason}") from error


if __name__ == "__main__":
    run(answer_with_every_network)
