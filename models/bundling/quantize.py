"""The networks of a bundle in int8, by post-training quantisation with NNCF.

Photos calibrate them: they show which values occur in each layer. Other photos show how much the answers change. Layers
stay in float32 until the change is small enough. Running such a network takes OpenVINO alone.
"""

import logging
import math
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from inference.api.jobs import build_job
from inference.bundle.manifest import Int8Figures, Manifest, Network
from inference.bundle.reader import Bundle, open_bundle
from inference.core.choices import DecoderName, EngineName
from inference.core.errors import BundleError, InputError, counted
from inference.core.files import output_errors
from inference.core.iteration import batched
from inference.core.sequences import Probabilities, Sequence
from inference.execution.job import Job, RunOptions
from inference.execution.worker import Worker
from inference.images.decoder import find_decoder
from inference.networks.engine import network_path
from inference.networks.forward import Image, images_of
from inference.precision.comparison import compare_precisions
from inference.process.children import exit_with_parent
from inference.process.progress import Progress
from inference.process.stopwatch import Stopwatch
from inference.settings.packages import require
from models.bundling.import_assets import check_new, file_entry, new_bundle, run_in_child, save_manifest

log = structlog.get_logger()

N_SEQUENCES = 128
"""Sequences, taken evenly from all: every other one calibrates, the others compare."""
FEWEST_IMAGES = 8
"""For calibrating a network, and for comparing it. A network on whole sequences gets one image from each sequence."""
RANKED_IMAGES = 16
"""About the number of compared images that show which layers cost most. Each image is answered once without each quantiser."""
BIAS_PIXELS = 800_000
"""Of all images that correct biases. NNCF keeps their values in many layers: 1.2 GB an image of InceptionResNetV2."""
BIAS_SHARE = 5
"""NNCF corrects biases with the first fifth of its items."""
PRODUCTS = ("Convolution", "GroupConvolution", "MatMul")
"""Layers that multiply by weights."""
QUANTISER = "FakeQuantize"
"""The layer that rounds the values which products in int8 read."""
INT8_TYPES = ("i8", "u8")

Images = dict[str, Image]
"""One image (H, W, 3) for each input of a network, RGB, 0-255."""


@dataclass(frozen=True)
class _Task:
    """A network to quantise. The sequences of `job` calibrate and compare it."""

    job: Job
    network: Network
    bound: float
    xml: Path


def quantize_bundle(
    bundle: Bundle,
    photos: Path,
    out: Path,
    bound: float | None = None,
    *,
    metadata: Path | None = None,
    force: bool = False,
    on_progress: Progress = lambda *_: None,
) -> Bundle:
    """Write a bundle with all files of another one, and its networks in int8, to the new folder `out`.

    The same bundle and photos give the same bytes on the same kind of processor.

    Parameters
    ----------
    photos : folder with photos
    metadata : their metadata; default: test_metadata.csv in that folder
    bound : largest mean KL(float32 || int8) of a network, relative to the mean entropy of its answers in float32; default:
        the bundle's bound for a lower precision
    force : replace an existing bundle once the new one is complete
    on_progress : called with the number of finished networks

    Raises
    ------
    UsageError
        NNCF or OpenVINO is not installed.
    InputError
        The metadata cannot be read, or too few photos can be used.
    BundleError
        A network exceeds the bound; nothing is written. Or `out` exists, or has other files than a bundle.
    """
    for package in (EngineName.OPENVINO.value, "nncf"):
        require(package)
    check_new(out, force=force)
    job = build_job(photos, bundle, metadata=metadata, submission_format="none")
    chosen = _evenly([one for one in job.sequences if one.images], N_SEQUENCES)
    job = replace(job, plan=replace(job.plan, sequences=chosen))
    manifest, networks = bundle.manifest, []
    limit = manifest.ensemble.max_mixed_loss_increase if bound is None else bound
    with new_bundle(out) as work:
        _copy_others(bundle, work)
        for number, network in enumerate(manifest.networks):
            on_progress(number, len(manifest.networks))
            path = network_path(bundle, network, EngineName.OPENVINO)
            task = _Task(job, network, limit, work / network.int8_files[0])
            figures = run_in_child(path, _quantize, task, begin=exit_with_parent)
            log.info("network quantised", name=network.name, **figures.model_dump())
            networks.append(network.model_copy(update={"int8": figures}))
        made = {path: file_entry(work / path) for network in networks for path in network.int8_files}
        changed = {"networks": networks, "files": {**manifest.files, **made}}
        save_manifest(Manifest.model_validate({**dict(manifest), **changed}), work)
        open_bundle(work)
    return open_bundle(out)


def _evenly(sequences: list[Sequence], n_wanted: int) -> tuple[Sequence, ...]:
    """At most `n_wanted` sequences, at equal distances."""
    n_taken = min(n_wanted, len(sequences))
    return tuple(sequences[len(sequences) * number // n_taken] for number in range(n_taken))


def _copy_others(bundle: Bundle, work: Path) -> None:
    """Copy the files of a bundle, except earlier networks in int8."""
    earlier = {path for network in bundle.manifest.networks for path in network.int8_files}
    for name in bundle.manifest.files.keys() - earlier:
        with output_errors(work / name):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path(name), work / name)


def _quantize(task: _Task) -> Int8Figures:
    """Write a network in int8. Raises InputError for too few images, BundleError if it exceeds the bound."""
    from inference.networks.engine_openvino import FrozenNetwork, read_model, save_model

    network, bundle = task.network, task.job.bundle
    names, path = tuple(one.name for one in network.inputs), network_path(bundle, network, EngineName.OPENVINO)
    calibration, compared = (_images(task, task.job.sequences[first::2]) for first in (0, 1))
    float32 = _answers(FrozenNetwork(path, names), compared)

    def increase(model: Any, step: int = 1) -> float:
        """The relative increase of the log loss on every `step`-th image; the model becomes the file."""
        save_model(model, task.xml)
        int8 = _answers(FrozenNetwork(task.xml, names), compared[::step])
        return compare_precisions(float32[::step], int8, task.bound).relative_increase

    model, reached = _search(read_model(path), calibration, increase, task.bound, -(-len(compared) // RANKED_IMAGES))
    n_layers, n_float32 = _count_layers(model)
    if not reached <= task.bound or n_float32 == n_layers:
        raise BundleError(
            f"{bundle.folder}, network {network.name}: must lose {task.bound:.3%} at most in int8, "
            f"got {reached:.3%} with {n_float32} of {n_layers} layers in float32",
            hint="calibrate on photos of more cameras, or accept more with --max-loss-increase",
        )
    return Int8Figures(
        n_calibration_images=len(calibration),
        n_compared_images=len(compared),
        relative_loss_increase=max(0.0, reached),
        n_float32_layers=n_float32,
    )


def _images(task: _Task, sequences: Iterable[Sequence]) -> list[Images]:
    """The images of a network for some sequences, at all its sizes."""
    job, network = task.job, task.network
    manifest = job.bundle.manifest.model_copy(update={"networks": (network,)})
    alone = replace(job, bundle=replace(job.bundle, manifest=manifest))  # only the views of this network are made
    options = RunOptions(n_workers=len(os.sched_getaffinity(0)))
    viewed = list(Worker(alone, options, find_decoder(DecoderName.FAST), Stopwatch()).prepared(sequences))
    by_size = [images_of(viewed, network, size.as_image_size()) for size in network.sizes]
    split = [[dict(zip(one, row, strict=True)) for row in zip(*one.values(), strict=True)] for one in by_size]
    images = [image for of_all_sizes in zip(*split, strict=True) for image in of_all_sizes]
    if len(images) < FEWEST_IMAGES * len(network.sizes):
        raise InputError(
            f"{job.photos}: must have {FEWEST_IMAGES} images of network {network.name} to calibrate it and as many to "
            f"compare it, got {len(images) // len(network.sizes)} in one half of {counted(len(job.sequences), 'sequence')}",
            hint="a network on whole sequences needs two photos of each; use a folder with more sequences",
        )
    return images


def _answers(network: Callable[..., Probabilities], images: list[Images]) -> Probabilities:
    return np.concatenate([network(_as_inputs([one])) for one in images])


def _as_inputs(images: list[Images]) -> dict[str, npt.NDArray[np.float32]]:
    """Images of one size as float32 (N, H, W, 3) by input name."""
    return {name: np.stack([one[name] for one in images]).astype(np.float32) for name in images[0]}


def _items(images: list[Images]) -> list[list[Images]]:
    """Calibration images as items for NNCF: first single images that correct biases, then the others in batches.

    The batches are so large that the single images are a fifth of the items. All images count for the ranges.
    """
    n_pixels = sum(math.prod(image.shape[:2]) for image in images[0].values())
    n_single = max(1, min(len(images) // BIAS_SHARE, BIAS_PIXELS // n_pixels))
    others = images[n_single:]
    n_together = max(1, len(others) // ((BIAS_SHARE - 1) * n_single))
    by_size: dict[tuple[int, ...], list[Images]] = {}
    for one in others:
        by_size.setdefault(next(iter(one.values())).shape, []).append(one)
    return [[one] for one in images[:n_single]] + [
        part for of_one_size in by_size.values() for part in batched(of_one_size, n_together)
    ]


def _search(
    source: Any, calibration: list[Images], increase: Callable[..., float], bound: float, step: int
) -> tuple[Any, float]:
    """A model in int8 with its relative increase. More layers stay in float32 each time until it is within the bound.

    Layers that read the same values return to float32 together: first the group that costs most, then 2, 4, 8, ... groups.
    The other layers are then quantised anew, because each corrects the errors of those before it.
    """
    edges = _edges(source)
    model = _quantized(source, calibration, edges)
    groups = _groups(model)  # before its layers get other names
    reached, n_kept = increase(model), 1
    ranked = [] if reached <= bound else _ranked(model, groups, partial(increase, step=step))
    while not reached <= bound and n_kept < len(ranked):
        model = _quantized(source, calibration, edges.union(*ranked[:n_kept]))
        reached = increase(model)
        n_kept *= 2
    return model, reached


def _quantized(source: Any, calibration: list[Images], in_float32: set[str]) -> Any:
    """A model in int8, except for some layers and those that NNCF never quantises.

    The range of a layer's values is that of all calibration images: with the usual mean over their ranges, images with
    unusually large values are cut off, and the answers for them are wrong.
    """
    import nncf  # after OpenVINO, whose module turns the reporting of both off
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    items = _items(calibration)
    nncf.set_log_level(logging.ERROR)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # progress bars
        return nncf.quantize(
            source,
            nncf.Dataset(items, _as_inputs),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(items),
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(names=sorted(in_float32), validate=False),
            advanced_parameters=AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
        )


def _groups(model: Any) -> list[tuple[Any, set[str]]]:
    """Each quantiser of a model, and the names of the layers that read its values."""
    quantisers = [layer for layer in model.get_ordered_ops() if layer.get_type_name() == QUANTISER]
    return [(one, _until_products(_after(one), _after)) for one in quantisers]


def _ranked(model: Any, groups: list[tuple[Any, set[str]]], increase: Callable[[Any], float]) -> list[set[str]]:
    """Names of the layers in each group: first the one without whose quantiser the increase is smallest."""
    increases = []
    for quantiser, _ in groups:
        readers = list(quantiser.output(0).get_target_inputs())
        for reader in readers:
            reader.replace_source_output(quantiser.input_value(0))
        increases.append(increase(model))
        for reader in readers:
            reader.replace_source_output(quantiser.output(0))
    order = sorted(range(len(groups)), key=increases.__getitem__)
    return [groups[number][1] for number in order]


def _edges(model: Any) -> set[str]:
    """Names of the layers from the inputs to the first products, and from the last product to the output."""
    return _until_products(model.get_parameters(), _after) | _until_products(model.get_results(), _before)


def _until_products(layers: Iterable[Any], neighbours: Callable[[Any], list[Any]]) -> set[str]:
    """Names of some layers and all their neighbours, up to the first products on each way."""
    names: set[str] = set()
    waiting = list(layers)
    while waiting:
        layer = waiting.pop()
        if layer.get_friendly_name() not in names:
            names.add(layer.get_friendly_name())
            waiting += [] if layer.get_type_name() in (*PRODUCTS, QUANTISER) else neighbours(layer)
    return names


def _after(layer: Any) -> list[Any]:
    return [target.get_node() for one in layer.outputs() for target in one.get_target_inputs()]


def _before(layer: Any) -> list[Any]:
    return [one.get_node() for one in layer.input_values()]


def _count_layers(model: Any) -> tuple[int, int]:
    """The number of products of a model, and of those in float32."""
    products = [layer for layer in model.get_ops() if layer.get_type_name() in PRODUCTS]
    return len(products), sum(_weights_type(layer) not in INT8_TYPES for layer in products)


def _weights_type(product: Any) -> str:
    """The type in which a product's weights are stored: the layers after them restore float32."""
    layer = product.input_value(1).get_node()
    while layer.get_input_size():
        layer = layer.input_value(0).get_node()
    return str(layer.get_element_type().get_type_name())
