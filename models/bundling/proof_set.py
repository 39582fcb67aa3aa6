"""Writes the proof set of a new bundle: synthetic bursts, and the records that its networks make of them in float32.

The photos are the first two of four bursts of `hakuna synth --role train --sequences 24 --cameras 12 --size 384x512
--seed 2029`, saved again in quality 50: an elephant, an empty one at night, a bright empty one, a zebra at the edge.
"""

from contextlib import closing
from pathlib import Path

import numpy as np

from inference.bundle.manifest import PROOF_FOLDER, PROOF_RECORDS, Manifest, Network
from inference.bundle.passes import passes_for
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.files import output_errors
from inference.core.sequences import ViewedSequence
from inference.execution.proof import EFFORT, proof_sequences
from inference.execution.worker import as_record
from inference.networks.engine import installed_engines, load_known_networks
from inference.networks.forward import NetworkOutputs, forward
from inference.records.jsonl import RecordWriter
from inference.records.schema import RecordsHeader, outputs_of

PHOTOS = Path(__file__).parent / PROOF_FOLDER


def copy_photos(folder: Path) -> None:
    """Copy the photos into the folder of a bundle."""
    with output_errors(folder):
        (folder / PROOF_FOLDER).mkdir(parents=True, exist_ok=True)
        for photo in sorted(PHOTOS.iterdir()):
            (folder / PROOF_FOLDER / photo.name).write_bytes(photo.read_bytes())


def write_records(folder: Path, manifest: Manifest) -> None:
    """Write the answers of a bundle's networks on its photos. Raises BundleError if one answers no probability."""
    viewed = proof_sequences(Bundle(folder, manifest, ""))
    by_network = [_answers(Bundle(folder, _alone(manifest, one), ""), viewed) for one in manifest.networks]
    records = [as_record(one, _joined(answers), EFFORT) for one, *answers in zip(viewed, *by_network, strict=True)]
    header = RecordsHeader(
        fingerprint={},
        outputs=outputs_of(manifest),
        labels=manifest.labels,
        n_sequences=len(records),
        first=0,
        n_all=len(records),
        precision={"used": Precision.FLOAT32.value},
    )
    with closing(RecordWriter(folder / PROOF_RECORDS, header)) as writer:
        writer.append(records)


def _alone(manifest: Manifest, network: Network) -> Manifest:
    return manifest.model_copy(update={"networks": (network,)})


def _answers(bundle: Bundle, viewed: list[ViewedSequence]) -> list[NetworkOutputs]:
    """The answers of a bundle's networks for some sequences. One network at a time takes the least memory."""
    networks = load_known_networks(bundle, installed_engines()[0], Precision.FLOAT32, lambda: None)
    return forward(viewed, passes_for(bundle.manifest, EFFORT, flip_tta=False), networks)


def _joined(answers: list[NetworkOutputs]) -> NetworkOutputs:
    """The answers of all networks for a sequence, in the order of the manifest."""
    frames, sequences = ([getattr(one, name) for one in answers] for name in ("frame_outputs", "sequence_outputs"))
    return NetworkOutputs(np.concatenate(frames, axis=1), np.concatenate(sequences))
