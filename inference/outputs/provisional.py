"""The best submission so far, always complete: final rows for finished sequences, the priors for the others."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from inference.core.files import output_errors, sync_folder
from inference.core.sequences import Probabilities
from inference.outputs.submission import PARTIAL_NAME, SUBMISSION_NAME, write_submission
from inference.records.schema import Record

SMALLEST_INTERVAL_SECONDS = 60.0
COST_SHARE = 0.01
"""Share of the time that writing provisional submissions may take."""
CHUNK_ROWS = 1024
"""Most records that wait for their estimate: 10 MB."""
MIN_TIMED_RECORDS = 256
"""Fewest records for timing the second phase: with fewer, the calls of 26 stackers take most of the time."""


class Provisional:
    """One row for every sequence; thread-safe."""

    def __init__(
        self,
        folder: Path,
        seq_ids: list[str],
        labels: tuple[str, ...],
        priors: Probabilities,
        estimate: Callable[[list[Record]], Probabilities],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with the priors (C,) for every sequence; `labels` is the order of the columns.

        `estimate` gives the final probabilities of N records, float32 (N, C).
        """
        self._folder = folder
        self._seq_ids = seq_ids
        self._labels = labels
        self._estimate = estimate
        self._clock = clock
        self._lock = threading.RLock()
        self._rows: Probabilities = np.tile(priors, (len(seq_ids), 1))
        self._waiting: list[Record] = []
        self._n_known = 0
        self._written_at = -np.inf
        self._interval = 0.0
        self._measured_records, self._measured_seconds = 0, 0.0
        self.n_predicted = 0
        """Rows that come from networks; the others are the priors."""
        self.write_seconds = 0.0
        """Time of the last write."""

    @property
    def seconds_per_record(self) -> float:
        """Mean time of a final estimate; 0 until enough of them were made in one call."""
        return self._measured_seconds / self._measured_records if self._measured_records else 0.0

    def add(self, records: list[Record]) -> None:
        """Add the next records of the run, in its order."""
        with self._lock:
            self._waiting += records
            if len(self._waiting) >= CHUNK_ROWS:
                self._estimate_waiting()

    def write_if_due(self) -> None:
        """Write `submission.partial.csv` about once a minute, or less often to take at most 1 % of the time."""
        start = self._clock()
        if start - self._written_at < self._interval:
            return
        self.write()
        self._written_at = self._clock()
        self.write_seconds = self._written_at - start
        self._interval = max(SMALLEST_INTERVAL_SECONDS, self.write_seconds / COST_SHARE)

    def write(self) -> Path:
        """Write `submission.partial.csv` now; returns its path."""
        path = self._folder / PARTIAL_NAME
        with self._lock:
            self._estimate_waiting()
            chunks = (
                (self._seq_ids[first : first + CHUNK_ROWS], self._rows[first : first + CHUNK_ROWS])
                for first in range(0, len(self._seq_ids), CHUNK_ROWS)
            )
            write_submission(path, self._labels, len(self._seq_ids), chunks)
        return path

    def make_final(self) -> int:
        """Write it under the name of the submission; returns the number of finished sequences."""
        with self._lock:
            path, final = self.write(), self._folder / SUBMISSION_NAME
            with output_errors(final):
                os.replace(path, final)
                sync_folder(self._folder)
            return self._n_known

    def _estimate_waiting(self) -> None:
        """Estimate the records added since the last estimate."""
        if not self._waiting:
            return
        start = self._clock()
        n_records = len(self._waiting)
        self._rows[self._n_known : self._n_known + n_records] = self._estimate(self._waiting)
        self._n_known += n_records
        self.n_predicted += sum(record.n_frames > 0 for record in self._waiting)
        self._waiting = []
        if n_records >= MIN_TIMED_RECORDS:
            self._measured_records += n_records
            self._measured_seconds += self._clock() - start
