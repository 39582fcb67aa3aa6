"""One frozen network -> a callable, with OpenVINO on CPUs. The only module of `inference` that imports it.

It reads the SavedModel or, in a fifth of the time, the same network in OpenVINO's own format: an XML file with layers, and
a file with their weights beside it.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.bundle.graph_check import check_operations, check_signature
from inference.bundle.manifest import OUTPUT_NAME
from inference.core.choices import Precision
from inference.core.errors import BundleError
from inference.core.files import output_errors
from inference.core.labels import N_CLASSES
from inference.core.sequences import Probabilities
from inference.networks.engine import has_fast_bfloat16, processor_words

# OpenVINO's tools would report every import to a web service and store a client id in the home folder. If the reporting
# package cannot be imported, they use a stub instead.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # makes the import fail
import openvino  # noqa: E402

VERSION = str(openvino.__version__).split("-", maxsplit=1)[0]
"""Without the build number."""
DEVICE = "CPU"
N_DIMENSIONS, N_CHANNELS = 4, 3

VNNI = frozenset(("avx512_vnni", "avx_vnni", "amx_int8"))
"""Flags of processors that add products of int8 in 32 bits."""
XML = ".xml"
LAYERS = {
    "frame": "Constant Parameter Result",
    "layers": "AvgPool Convolution GroupConvolution MatMul MaxPool",
    "activations": "Clamp Elu Gelu HSigmoid HSwish PRelu Relu Selu Sigmoid SoftPlus SoftSign Softmax Swish Tanh",
    "arithmetic": "Abs Add Divide Exp Maximum Minimum Multiply Negative Power Sqrt SquaredDifference Subtract",
    "others": "Concat Convert FakeQuantize",
}
ARITHMETIC = frozenset(" ".join(LAYERS.values()).split())
"""Layers whose sizes follow from those of their operands."""
SHAPED = frozenset(("Pad", "ReduceMax", "ReduceMean", "ReduceSum", "Reshape", "Squeeze", "Transpose", "Unsqueeze"))
"""Layers whose sizes follow from the values of the other operands than the first: those must be constants."""


class FrozenNetwork:
    """A frozen network in memory."""

    def __init__(self, path: Path, input_names: tuple[str, ...], precision: Precision = Precision.FLOAT32) -> None:
        """Load a folder with a SavedModel or an XML file of OpenVINO.

        Raises BundleError if its operations or its signature are not those of a bundle's network. Mixed precision
        multiplies in bfloat16. The file of a network in int8 marks its layers; all others are float32.
        """
        if path.suffix != XML:
            check_operations(path)
        model = read_model(path)
        if path.suffix == XML:
            check_layers(path, model)
        inputs = {one.any_name: one.partial_shape for one in model.inputs}
        outputs = {name: one.partial_shape for one in model.outputs for name in one.names}
        check_signature(path, input_names, inputs, outputs)
        for name, shape in inputs.items():
            if len(shape) != N_DIMENSIONS or shape[3] != N_CHANNELS:
                raise BundleError(f"{path}, input {name}: must be (?, ?, ?, 3), got {shape}")
        if outputs[OUTPUT_NAME][1] != N_CLASSES:
            raise BundleError(f"{path}: must give {N_CLASSES} classes, got {outputs[OUTPUT_NAME]}")
        self._compiled = compiled(model, precision, {"PERFORMANCE_HINT": "LATENCY"})

    def __call__(self, inputs: Mapping[str, npt.NDArray[np.float32]], /) -> Probabilities:
        """Probabilities of a batch: float32 (N, H, W, 3) by input name, RGB, 0-255 -> float32 (N, C)."""
        answers = self._compiled({name: np.ascontiguousarray(images) for name, images in inputs.items()})
        return np.array(answers[OUTPUT_NAME], dtype=np.float32)


def compiled(model: Any, precision: Precision, settings: dict[str, object]) -> Any:
    """OpenVINO's model, ready to run with some settings."""
    hint = "bf16" if precision is Precision.MIXED else "f32"
    return openvino.Core().compile_model(model, DEVICE, {"INFERENCE_PRECISION_HINT": hint, **settings})


def check_layers(path: Path, model: Any) -> None:
    """Reject a model with anything but arithmetic on images of bounded size: as OpenVINO has read it, not as it is written.

    Raises BundleError.
    """
    for layer in model.get_ops():
        kind = layer.get_type_name()
        if kind not in ARITHMETIC | SHAPED:
            raise BundleError(f"{path}: must have layers of plain arithmetic, got {kind}")
        sources = [one.get_node().get_type_name() for one in layer.input_values()[1:]] if kind in SHAPED else []
        if other := next((one for one in sources if one != "Constant"), None):
            raise BundleError(f"{path}: sizes must be constants, got {kind} with one from {other}")


def read_model(path: Path) -> Any:
    """OpenVINO's model of a SavedModel or an XML file. Raises BundleError if OpenVINO does not read it."""
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # a mapped file that vanishes with its mount ends the process
    try:
        model = core.read_model(str(path))
    except RuntimeError as error:
        raise BundleError(f"{path}: must be a network that OpenVINO reads, got: {error}") from error
    _name_layers(model)
    return model


def save_model(model: Any, xml: Path) -> None:
    """Write a model in OpenVINO's format: `xml`, and its weights beside it. The same model gives the same bytes.

    Raises OutputError.
    """
    _name_layers(model)
    with output_errors(xml):
        xml.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(model, str(xml), compress_to_fp16=False)


def _name_layers(model: Any) -> None:
    """Name layers after their kinds and order instead of numbers that differ each time."""
    for number, layer in enumerate(model.get_ordered_ops()):
        if layer.get_type_name() not in ("Parameter", "Result"):
            layer.set_friendly_name(f"{layer.get_type_name()}_{number}")


def write_network(saved_model: Path, xml: Path) -> None:
    """Write a SavedModel in OpenVINO's format: `xml`, and its weights beside it. The same network gives the same bytes.

    Raises BundleError, and writes nothing, if OpenVINO does not read it or it has layers that such a file must not have.
    """
    model = read_model(saved_model)
    check_layers(saved_model, model)
    save_model(model, xml)


def device() -> str:
    """Always the CPU: OpenVINO is used on CPUs only."""
    return DEVICE


def lower_precisions() -> tuple[Precision, ...]:
    """The precisions in which this processor is faster than in float32, in the order in which `auto` tries them.

    Without VNNI, sums of products of int8 saturate at 16 bits: OpenVINO would run such networks, with other answers.
    """
    int8 = [Precision.INT8] if not VNNI.isdisjoint(processor_words()) else []
    return (*int8, *([Precision.MIXED] if has_bfloat16() and has_fast_bfloat16() else []))


def has_bfloat16() -> bool:
    """Whether OpenVINO multiplies in bfloat16 here, fast or not."""
    return "BF16" in openvino.Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
