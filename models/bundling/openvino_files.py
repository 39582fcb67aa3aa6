"""The networks of a bundle in OpenVINO's own format: written from their SavedModels, and compared with them."""

from pathlib import Path

import numpy as np
import structlog

from inference.bundle.reader import Bundle
from inference.core.choices import EngineName
from inference.core.errors import BundleError
from inference.core.sequences import MAX_PIXEL
from inference.networks.engine import network_path
from inference.settings.packages import is_installed

log = structlog.get_logger()

COMPARED_IMAGES = 2
LARGEST_DIFFERENCE = 1e-6
"""Between both formats: the same version of OpenVINO gives the same bits."""


def write_openvino(folder: Path, xml: Path) -> bool:
    """Write a SavedModel in OpenVINO's format too, if OpenVINO is installed and the network is plain enough."""
    if not is_installed(EngineName.OPENVINO):
        return False
    from inference.networks.engine_openvino import write_network

    try:
        write_network(folder, xml)
    except BundleError as error:
        log.warning("OpenVINO will read the SavedModel, which takes longer", reason=str(error))
        return False
    return True


def check_formats(bundle: Bundle) -> None:
    """Compare both formats of each network on noise. Raises BundleError if one answers differently."""
    if not is_installed(EngineName.OPENVINO):
        return
    from inference.networks.engine_openvino import FrozenNetwork

    for network in bundle.manifest.networks:
        folder, xml = bundle.path(network.folder), network_path(bundle, network, EngineName.OPENVINO)
        names, size = tuple(one.name for one in network.inputs), network.sizes[0].as_image_size()
        random = np.random.default_rng(0)
        images = {one: random.uniform(0, MAX_PIXEL, (COMPARED_IMAGES, *size, 3)).astype(np.float32) for one in names}
        if xml == folder:
            continue
        difference = float(np.abs(FrozenNetwork(folder, names)(images) - FrozenNetwork(xml, names)(images)).max())
        if not difference <= LARGEST_DIFFERENCE:
            raise BundleError(
                f"{xml}: must be the network in {folder}, got answers that differ by {difference:.2g}; "
                "`hakuna bundle import` or `hakuna bundle build` recreates the bundle"
            )
