"""The graph that TensorFlow's optimiser makes of a network for a GPU of some compute capability, without such a GPU.

python -m runtime_tests.optimised_graph SAVED_MODEL     (prints what it fuses in both precisions)
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.core.protobuf.device_properties_pb2 import DeviceProperties, NamedDevice
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.python.grappler import cluster, tf_optimizer

from inference.networks.tensorflow_graph import FlatNetwork, efficient_network, read_saved_model

PLACE = "/job:localhost/replica:0/task:0/device:"


def optimised(network: FlatNetwork, capability: str = "7.0") -> GraphDef:
    """The optimised graph, its weights as arguments in the way of `FrozenNetwork`."""
    graph = tf.Graph()
    with graph.as_default():
        frames = {name: tf.compat.v1.placeholder(tf.uint8, (None, None, None, 3), name) for name in network.inputs}
        weights = {
            name: tf.compat.v1.placeholder(network.kind(name), value.shape, name=f"weight_{number}")
            for number, (name, value) in enumerate(network.weights.items())
        }
        output = network.answer({name: tf.cast(one, tf.float32) for name, one in frames.items()}, weights)
    meta_graph = MetaGraphDef(graph_def=graph.as_graph_def())
    for node in meta_graph.graph_def.node:
        node.device = f"{PLACE}GPU:0"
    meta_graph.collection_def["train_op"].node_list.value.append(output.op.name)
    gpu = DeviceProperties(
        type="GPU", vendor="NVIDIA", frequency=1380, num_cores=80, memory_size=16 << 30, bandwidth=900_000_000,
        environment={"architecture": capability, "cuda": "12050", "cudnn": "9000"},
    )  # fmt: skip
    cpu = DeviceProperties(type="CPU", frequency=2000, num_cores=2)
    devices = [
        NamedDevice(name=f"{PLACE}GPU:0", properties=gpu),
        NamedDevice(name=f"{PLACE}CPU:0", properties=cpu),
    ]
    config = ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1
    found: GraphDef = tf_optimizer.OptimizeGraph(config, meta_graph, cluster=cluster.Cluster(devices=devices))
    return found


def between(graph: GraphDef) -> Counter[str]:
    """The operations on the ways from convolutions to the activations behind them."""
    nodes = {node.name: node for node in graph.node}
    found: Counter[str] = Counter()
    waiting = [one for node in graph.node if node.op == "Relu" for one in node.input]
    seen = set[str]()
    while waiting:
        node = nodes[waiting.pop().partition(":")[0].lstrip("^")]
        if node.name in seen or node.op in ("Conv2D", "_FusedConv2D", "Relu", "ConcatV2", "MaxPool", "Reshape"):
            continue
        seen.add(node.name)
        found[node.op] += 1
        waiting.extend(node.input)
    return found


def main() -> None:
    """Print the convolutions of a network, and those that are one operation with bias and activation."""
    saved, found = read_saved_model(Path(sys.argv[1])), {}
    for half in (None, tf.float16):
        network = efficient_network(saved, half)
        kernels = [network.weights[node.input[1]].shape for node in network.graph.node if node.op == "Conv2D"]
        graph = optimised(network)
        fused = [node.attr["fused_ops"].list.s for node in graph.node if node.op == "_FusedConv2D"]
        found[half.name if half else "float32"] = {
            "kernels": len(kernels),
            "square kernels": sum(min(shape[:2]) > 1 for shape in kernels),
            "fused": Counter(b" ".join(one).decode() for one in fused),
            "between convolution and activation": between(graph),
        }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
