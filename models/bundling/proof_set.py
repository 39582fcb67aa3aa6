"""Writes the proof set of a new bundle: synthetic bursts, and the records that its networks make of them in float32.

The photos are the first two of four bursts of `hakuna synth --role train --sequences 24 --cameras 12 --size 384x512
--seed 2029`, saved again in quality 50: an elephant, an empty one at night, a bright empty one, a zebra at the edge.
"""

from contextlib import closing
from pathlib import Path

from inference.bundle.manifest import PROOF_FOLDER, PROOF_RECORDS, Manifest
from inference.bundle.passes import passes_for
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.files import output_errors
from inference.execution.proof import EFFORT, proof_sequences
from inference.execution.worker import as_record
from inference.networks.engine import installed_engines, load_known_networks
from inference.networks.forward import forward
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
    bundle = Bundle(folder, manifest, "")
    networks = load_known_networks(bundle, installed_engines()[0], Precision.FLOAT32, lambda: None)
    viewed = proof_sequences(bundle)
    outputs = forward(viewed, passes_for(manifest, EFFORT, flip_tta=False), networks)
    records = [as_record(one, answers, EFFORT) for one, answers in zip(viewed, outputs, strict=True)]
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
