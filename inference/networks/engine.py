"""Selects the engine and precision that run the networks."""

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import structlog

from inference.bundle.manifest import Network
from inference.bundle.probe import Trial, start_probe
from inference.bundle.reader import Bundle
from inference.core.choices import GPU_DRIVER, Device, EngineName, Precision
from inference.core.errors import UnusableGpuError, UsageError
from inference.networks.call_size import LARGE, SMALL, CallSize, SplitNetwork
from inference.networks.forward import MAX_CALL_IMAGES, LoadedNetworks
from inference.networks.probe import answers_to_probe, run_at_every_size
from inference.settings.packages import is_installed, require

log = structlog.get_logger()

CPU_FACTS = Path("/proc/cpuinfo")
CPU = "CPU"
"""The device of an engine that shares the cores with all other work."""
SECONDS_A_NETWORK = 120.0
"""Longest time to load one network and get its first answers. A network of 220 MB takes about 10 s."""
GPU_HINT = "`hakuna doctor --gpu` shows the cause; --device cpu runs without a GPU"
SIDE_BY_SIDE = 2
"""Networks that OpenVINO loads at once: reading and compiling one keeps about one core busy."""
CHILD_MODULE = "inference.networks.network_probe_child"


@dataclass(frozen=True)
class Engine:
    """An installed engine: the source of a run's numbers.

    Attributes
    ----------
    lower_precisions : those in which the device is faster than in float32, in the order in which `auto` tries them
    """

    name: EngineName
    version: str
    device: str
    lower_precisions: tuple[Precision, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def find_engine(name: EngineName, device: Device = Device.AUTO) -> Engine:
    """Resolve `auto`: TensorFlow with a GPU or without OpenVINO, otherwise OpenVINO.

    Where a driver is loaded and its GPU is not used, or others are not, a warning is logged.
    Raises UsageError if the engine is not installed, and UnusableGpuError if a GPU is wanted and none can be used.
    """
    if device is Device.GPU and name is EngineName.OPENVINO:
        raise UsageError("--engine openvino: must run on the CPU, got --device gpu")
    if name is EngineName.AUTO:
        name = EngineName.TENSORFLOW if device is Device.GPU else _best_engine(device)
    require(name.value)
    module, gpus = _module(name), []
    if name is EngineName.TENSORFLOW:
        gpus = module.prepare_devices(use_gpu=device is not Device.CPU)
    engine = Engine(name, module.VERSION, module.device(), module.lower_precisions())
    if device is Device.GPU and engine.device == CPU:
        raise UnusableGpuError(f"--device gpu: must be usable by TensorFlow, got {_driver()}", hint=GPU_HINT)
    if name is EngineName.TENSORFLOW and device is Device.AUTO and engine.device == CPU and GPU_DRIVER.exists():
        log.warning("GPU not used: TensorFlow cannot use it", hint=GPU_HINT)
    if others := gpus[1:]:
        log.warning("GPUs not used: a run uses the first one", used=engine.device, others=", ".join(others))
    return engine


def _driver() -> str:
    return "a driver whose GPU it cannot use" if GPU_DRIVER.exists() else f"no NVIDIA driver ({GPU_DRIVER})"


def _best_engine(device: Device) -> EngineName:
    has_gpu = device is not Device.CPU and GPU_DRIVER.exists()
    if is_installed(EngineName.TENSORFLOW) and (has_gpu or not is_installed(EngineName.OPENVINO)):
        return EngineName.TENSORFLOW
    if has_gpu:
        log.warning("GPU not used: TensorFlow is not installed (extra gpu)")
    return EngineName.OPENVINO


def installed_engines() -> list[Engine]:
    """All engines that could run a bundle on this machine."""
    return [find_engine(name) for name in (EngineName.OPENVINO, EngineName.TENSORFLOW) if is_installed(name)]


def _module(name: EngineName) -> ModuleType:
    """The module of an engine. Each provides `VERSION`, `device`, `lower_precisions` and `FrozenNetwork`."""
    if name is EngineName.OPENVINO:
        from inference.networks import engine_openvino

        return engine_openvino
    from inference.networks import engine_tensorflow

    return engine_tensorflow


def probe_networks(
    bundle: Bundle, engine: Engine, check: Callable[[], None], precision: Precision = Precision.FLOAT32
) -> None:
    """Load a bundle's networks in a child process and wait for it, unless they are known to pass.

    `check` is called several times a second and raises to stop the run. Raises like `Probe.wait`.
    """
    wanted, library = "a SavedModel that loads and answers", f"{engine} {engine.device}"
    device = Device.CPU if engine.device == CPU else Device.GPU
    arguments = (engine.name.value, device.value, precision.value)
    trial = Trial("networks", CHILD_MODULE, wanted, library, SECONDS_A_NETWORK, arguments)
    if probe := start_probe(bundle, trial):
        probe.wait(check)


def load_networks(bundle: Bundle, engine: Engine, precision: Precision, check: Callable[[], None]) -> LoadedNetworks:
    """Like `load_known_networks`, after a child process has loaded the networks once.

    Raises BundleError if a network is unusable, including when the child dies or hangs.
    """
    probe_networks(bundle, engine, check, precision)
    return load_known_networks(bundle, engine, precision, check)


def lower_precisions(bundle: Bundle, engine: Engine) -> tuple[Precision, ...]:
    """The precisions beside float32 that both the device and the bundle offer, in the order in which `auto` tries them."""
    return tuple(one for one in engine.lower_precisions if one is not Precision.INT8 or has_int8(bundle))


def has_int8(bundle: Bundle) -> bool:
    """Whether a bundle has every network in int8, too."""
    return all(network.int8 for network in bundle.manifest.networks)


def _processor() -> tuple[object, ...]:
    """The name of the processor, and the number of cores that this process may use."""
    text = CPU_FACTS.read_text(encoding="utf-8")
    return tuple(re.findall("^model name.*", text, re.MULTILINE)[:1]), len(os.sched_getaffinity(0))


def processor_words() -> list[str]:
    """The words of the processor's description, its vendor and its flags among them."""
    return CPU_FACTS.read_text(encoding="utf-8").split()


def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16 faster than in float32: with AMX, and AMD's with AVX-512.

    Intel's with AVX-512 alone took 1.8 times as long (InceptionResNetV2, `benchmark/results/network_calls.json`).
    """
    words = processor_words()
    return "amx_bf16" in words or ("avx512_bf16" in words and "AuthenticAMD" in words)


def network_path(
    bundle: Bundle, network: Network, engine: EngineName, precision: Precision = Precision.FLOAT32
) -> Path:
    """The file or folder that an engine reads: for OpenVINO its own format where the bundle has it."""
    xml, weights = network.int8_files if precision is Precision.INT8 else network.openvino_files
    is_own = engine is EngineName.OPENVINO and bundle.manifest.files.keys() >= {xml, weights}
    return bundle.path(xml if is_own else network.folder)


def load_known_networks(
    bundle: Bundle, engine: Engine, precision: Precision, check: Callable[[], None], *, at_all_sizes: bool = False
) -> LoadedNetworks:
    """Load every network of a bundle and run the probe through it.

    `check` is called before each network is loaded and before each call of one. On a GPU, and with
    `at_all_sizes`, they also run at every size. Raises BundleError if a network does not belong to a
    bundle, or if one of its answers to the probe is not a probability.
    """
    frozen, is_openvino, size = _module(engine.name).FrozenNetwork, engine.name is EngineName.OPENVINO, CallSize()
    by_name = {network.name: network for network in bundle.manifest.networks}

    def load(one_precision: Precision, name: str) -> Any:
        check()
        names = tuple(one.name for one in by_name[name].inputs)
        path = network_path(bundle, by_name[name], engine.name, one_precision)
        network: Any = frozen(path, names, one_precision)
        # A repetition in float32 has another network than the one that the choice is for.
        choice = size if one_precision is precision else CallSize(SMALL)
        return SplitNetwork(name, network, choice, check) if is_openvino else network

    with ThreadPoolExecutor(SIDE_BY_SIDE if is_openvino else 1) as threads:
        loaded = dict(zip(by_name, threads.map(partial(load, precision), by_name), strict=True))
    mirrored = {name: one.with_mirror_images for name, one in loaded.items() if hasattr(one, "with_mirror_images")}
    networks = LoadedNetworks(
        loaded,
        mirrored,
        fixed_shapes=engine.device != CPU,
        max_call_images=2 * LARGE if is_openvino else MAX_CALL_IMAGES,
        before_call=check,
        in_float32=cache(partial(load, Precision.FLOAT32)) if precision is Precision.MIXED else None,
    )
    networks.probe = answers_to_probe(bundle.manifest, networks)
    size.recall(bundle.id, engine, *_processor(), precision, networks.probe.tobytes().hex())
    if at_all_sizes or networks.fixed_shapes:
        run_at_every_size(bundle.manifest, networks)
    if networks.fixed_shapes and networks.mirrored:  # other functions
        run_at_every_size(bundle.manifest, networks, flip_tta=True)
    return networks
