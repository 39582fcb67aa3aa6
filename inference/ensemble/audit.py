"""The audit of a lower precision: a random sample of a run's sequences is computed in float32 too.

A proof set is not the season. The verdict covers the whole plan and is made once, at the end: of shards, by
`hakuna merge`.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from inference.bundle.passes import Effort
from inference.core.choices import Precision
from inference.core.errors import CheckpointError
from inference.ensemble.estimator import Estimator
from inference.precision.betting import judge
from inference.precision.comparison import increases_and_entropies
from inference.records.jsonl import SEQ_IDS, digest_of_seq_ids, read_header, read_records
from inference.records.schema import AUDIT_NAME, RECORDS_NAME, Record, RecordsHeader

SHARE = 0.01
"""Share of the sequences in the sample: 5 % of the work where the lower precision is five times as fast."""


def sample_of(seq_ids: Iterable[str], n_all: int) -> list[str]:
    """A random sample of some of the `n_all` sequences of a plan, in random order.

    It depends on their names alone, so every shard finds the same one.
    """
    return heapq.nsmallest(int(SHARE * n_all), seq_ids, key=lambda one: hashlib.sha256(one.encode()).digest())


def audit_header(header: RecordsHeader, seq_ids: list[str]) -> RecordsHeader:
    """The header of the audited records of a run with this one."""
    return replace(
        header,
        fingerprint=header.fingerprint | {SEQ_IDS: digest_of_seq_ids(seq_ids)},
        n_sequences=len(seq_ids),
        precision={"used": Precision.FLOAT32.value},
    )


def audited_records(folder: Path) -> Iterator[Record]:
    """The audited records of a run or shard; none where there was no audit. Raises CheckpointError."""
    path = folder / AUDIT_NAME
    if path.exists():
        header = read_header(path)
        yield from islice(read_records(path, header), header.n_sequences)


def n_audited(folder: Path, header: RecordsHeader) -> int:
    """The number of audited records of the same run that are there already."""
    try:
        is_same = (folder / AUDIT_NAME).exists() and read_header(folder / AUDIT_NAME) == header
        return sum(1 for _ in audited_records(folder)) if is_same else 0
    except CheckpointError:
        return 0


def verdict(
    records_folder: Path, header: RecordsHeader, estimator: Estimator, check: Callable[[], None]
) -> dict[str, Any] | None:
    """The figures of the audit for `run.json`: is the loss of the lower precision within its bound on all sequences?

    None if the records are in float32. The probabilities are those before the scores of neighbours.
    """
    if not header.is_lower_precision:
        return None
    exact = {one.seq_id: one for one in audited_records(records_folder)}
    with_photos: list[str] = []
    pairs: dict[str, tuple[Record, Record]] = {}
    n_population = 0
    for record in read_records(records_folder / RECORDS_NAME, header, check):
        if record.seq_id in exact:
            with_photos.append(record.seq_id)
        if record.n_frames and record.effort is Effort.FULL and not record.is_mixed:
            n_population += 1
            other = exact.get(record.seq_id)
            if other is not None and other.n_frames == record.n_frames:
                pairs[record.seq_id] = other, record
    ordered = [pairs[seq_id] for seq_id in sample_of(with_photos, header.n_all) if seq_id in pairs]
    increases, entropies = _costs(ordered, estimator)
    return asdict(judge(increases, entropies, header.precision["bound"], n_population))


def _costs(pairs: list[tuple[Record, Record]], estimator: Estimator) -> tuple[Any, Any]:
    """The increase of the loss and the entropy of each sequence: float64 (N,)."""
    if not pairs:
        return np.empty(0), np.empty(0)
    exact, lower = (estimator(list(records)).probabilities for records in zip(*pairs, strict=True))
    return increases_and_entropies(exact, lower)
