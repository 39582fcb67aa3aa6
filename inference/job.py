"""What to compute, and the header of the records that it leaves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference import run_report
from inference.domain import DecoderName, EngineName, Precision, Preset
from inference.records import RecordsHeader, outputs_of

if TYPE_CHECKING:
    from pathlib import Path

    from inference.bundle import Bundle
    from inference.decoding import Decoder
    from inference.engines import Engine
    from inference.metadata import Plan


@dataclass(frozen=True)
class Job:
    """What to compute: the same job gives the same bytes, however it is run."""

    data_folder: Path
    plan: Plan
    bundle: Bundle
    preset: Preset
    flip_tta: bool = True
    decoder: DecoderName = DecoderName.AUTO
    engine: EngineName = EngineName.AUTO
    precision: Precision = Precision.FLOAT32


def records_header(job: Job, engine: Engine, decoder: Decoder, existing: RecordsHeader | None) -> RecordsHeader:
    """Everything that the records depend on."""
    digest = hashlib.sha256()
    for sequence in job.plan.sequences:
        digest.update(repr((sequence.seq_id, [(i.file_name, i.datetime) for i in sequence.images])).encode())
    return RecordsHeader(
        fingerprint={
            "hakuna version": run_report.hakuna_version(),
            "bundle": job.bundle.id,
            "metadata and submission format": digest.hexdigest(),
            "preprocessing": job.preset.value,
            "flip TTA": "on" if job.flip_tta else "off",
            "engine": str(engine),
            "device": engine.device,
            "pixels": decoder.pixels,
            "precision": job.precision.value,
        },
        outputs=outputs_of(job.bundle.manifest),
        labels=job.plan.labels,
        n_sequences=len(job.plan.sequences),
        precision=existing.precision if existing else {},
    )
