"""What every executor must do; another one is tested by its name in the list of parameters."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inference.bundle.passes import Effort
from inference.bundle.reader import Bundle
from inference.core.choices import Precision
from inference.core.errors import InterruptedRunError
from inference.core.labels import N_CLASSES
from inference.execution.executor import LOAD, NETWORKS, WAIT, Executor
from inference.execution.job import Job, RunOptions, Shard
from inference.execution.worker import priors_record
from inference.process.stopwatch import Stopwatch
from inference.records.schema import Record
from inference.run.context import ExecutorFactory
from runtime_tests.running import job_for
from runtime_tests.stand_in_engine import StandInEngine

FACTORIES: dict[str, Callable[[], ExecutorFactory]] = {"local": StandInEngine}


class Watched:
    """An executor, its stopwatch, and a switch that stops it."""

    def __init__(self, factory: ExecutorFactory, job: Job) -> None:
        self.stopwatch = Stopwatch()
        self.must_stop = False
        self.executor: Executor = factory(job, RunOptions(n_workers=2, batch_size=4), self.stopwatch, self._check)

    def _check(self) -> None:
        if self.must_stop:
            raise InterruptedRunError("stopped", 15)


@pytest.fixture(params=list(FACTORIES))
def watched(request: pytest.FixtureRequest, season: Path, quick_bundle: Bundle) -> Watched:
    return Watched(FACTORIES[request.param](), job_for(season, quick_bundle))


@pytest.fixture
def executor(watched: Watched) -> Executor:
    return watched.executor


@pytest.fixture(scope="module")
def job(season: Path, quick_bundle: Bundle) -> Job:
    return job_for(season, quick_bundle)


def check_same(records: list[Record], others: list[Record]) -> None:
    assert [one.seq_id for one in records] == [other.seq_id for other in others]
    for one, other in zip(records, others, strict=True):
        np.testing.assert_array_equal(one.frame_outputs, other.frame_outputs)
        np.testing.assert_array_equal(one.sequence_outputs, other.sequence_outputs)
        assert (one.failures, one.effort) == (other.failures, other.effort)


def test_records_come_in_order_whatever_is_asked_for_at_once(executor: Executor, job: Job) -> None:
    full = (Effort.FULL, Precision.FLOAT32)
    whole = executor.next_records(0, 12, *full).records
    assert [one.seq_id for one in whole] == [sequence.seq_id for sequence in job.sequences]
    in_parts = [
        record for first, n in ((0, 1), (1, 5), (6, 6)) for record in executor.next_records(first, n, *full).records
    ]
    check_same(in_parts, whole)
    assert len(executor.next_records(12, 4, *full).records) == 0
    assert len(executor.next_records(10, 4, *full).records) == 2
    executor.close()


def test_every_request_has_its_own_effort_and_precision(executor: Executor) -> None:
    requests = [
        (Effort.FULL, Precision.FLOAT32),
        (Effort.FIRST_NETWORK, Precision.FLOAT32),
        (Effort.NO_TTA, Precision.MIXED),
        (Effort.FULL, Precision.FLOAT32),
    ]
    blocks = [executor.next_records(3 * number, 3, *request) for number, request in enumerate(requests)]
    assert [{record.effort for record in block.records} for block in blocks] == [{effort} for effort, _ in requests]
    exact = [
        executor.next_records(3 * k, 3, effort, Precision.FLOAT32).records for k, (effort, _) in enumerate(requests)
    ]
    for number in (0, 1, 3):
        check_same(blocks[number].records, exact[number])
    different = [
        np.abs(one.frame_outputs - other.frame_outputs).max()
        for one, other in zip(blocks[2].records, exact[2], strict=True)
        if one.n_frames
    ]
    assert all(0 < one < 0.02 for one in different)
    executor.close()


def test_timings_are_those_of_the_block(watched: Watched) -> None:
    executor = watched.executor
    executor.load(Precision.FLOAT32)
    cold = executor.next_records(0, 2, Effort.FULL, Precision.FLOAT32)
    warm = executor.next_records(2, 4, Effort.NO_TTA, Precision.FLOAT32)
    assert (cold.is_warm, warm.is_warm) == (False, True)
    assert warm.timing.effort is Effort.NO_TTA
    assert warm.timing.frames == tuple(record.n_frames for record in warm.records)
    assert warm.timing.network_seconds > 0
    assert warm.timing.photo_seconds > 0
    seconds = watched.stopwatch.seconds()
    assert seconds[LOAD] > 0
    in_networks = cold.timing.network_seconds + warm.timing.network_seconds
    assert seconds[NETWORKS] == pytest.approx(in_networks, abs=0.01)
    assert seconds[WAIT] == pytest.approx(cold.timing.wait_seconds + warm.timing.wait_seconds, abs=0.01)
    assert executor.figures()["overlap"]["bottleneck"] in {"networks", "photos"}
    executor.close()


def test_a_sample_is_beside_the_order(watched: Watched, job: Job) -> None:
    executor = watched.executor
    first = executor.next_records(0, 3, Effort.FULL, Precision.FLOAT32)
    before = watched.stopwatch.seconds_per_item("decode (all workers)")
    sample = executor.sample(reversed(job.sequences[:3]), Precision.FLOAT32)
    check_same(sample.records[::-1], first.records)
    assert before > 0
    assert sample.timing.wait_seconds == sample.timing.photo_seconds
    following = executor.next_records(3, 1, Effort.FULL, Precision.FLOAT32)
    assert following.records[0].seq_id == job.sequences[3].seq_id
    executor.close()


def test_a_request_to_stop_is_heard_before_the_next_call_of_a_network(watched: Watched) -> None:
    watched.executor.load(Precision.FLOAT32)
    watched.must_stop = True
    with pytest.raises(InterruptedRunError):
        watched.executor.next_records(0, 12, Effort.FULL, Precision.FLOAT32)
    watched.executor.close()


def test_only_one_set_of_networks_is_loaded_at_a_time_and_none_twice(job: Job) -> None:
    engine = StandInEngine()
    executor = Watched(engine, job).executor
    for precision in (Precision.FLOAT32, Precision.FLOAT32, Precision.MIXED, Precision.FLOAT32):
        executor.load(precision)
    assert engine.loaded == [Precision.FLOAT32, Precision.MIXED, Precision.FLOAT32]


def test_it_gives_what_its_networks_answer_to_the_probe(executor: Executor, job: Job) -> None:
    first = executor.load(Precision.FLOAT32)
    n_outputs = sum(2 if one.per_frame else 1 for one in job.bundle.manifest.networks)  # at one size of each
    assert first.shape == (n_outputs, N_CLASSES)
    executor.load(Precision.MIXED)
    np.testing.assert_array_equal(executor.load(Precision.FLOAT32), first)
    executor.close()


def test_a_job_and_its_options_can_be_sent_to_another_process(job: Job) -> None:
    options = RunOptions(n_workers=3)
    sent_job, sent_options = pickle.loads(pickle.dumps((job, options)))  # noqa: S301  # made here
    assert (sent_job.plan, sent_job.bundle.id, sent_job.bundle.manifest) == (
        job.plan,
        job.bundle.id,
        job.bundle.manifest,
    )
    assert sent_options.read_timeout.seconds == options.read_timeout.seconds
    assert (sent_job.n_photos, len(sent_job.sequences)) == (job.n_photos, 12)


def test_the_sequences_of_a_job_are_cut_once(season: Path, quick_bundle: Bundle) -> None:
    job = job_for(season, quick_bundle)
    object.__setattr__(job, "shard", Shard(2, 3))
    assert job.sequences is job.sequences
    assert [one.seq_id for one in job.sequences] == [one.seq_id for one in job.plan.sequences[4:8]]


def test_the_record_of_the_priors_has_no_frames(job: Job) -> None:
    record = priors_record(job.sequences[0], job.bundle.manifest)
    assert (record.n_frames, record.effort, record.failures) == (0, Effort.PRIORS, ())
    assert record.has_metadata
