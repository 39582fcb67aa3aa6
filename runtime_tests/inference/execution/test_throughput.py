"""How long a run takes; expected values are worked out by hand or by a simulation of cores that are shared."""

from __future__ import annotations

import pytest

from inference.bundle.passes import Effort
from inference.execution.throughput import (
    CPU_LOAD,
    GPU_LOAD,
    WINDOW_BATCHES,
    BatchTiming,
    MeasuredThroughput,
    fits,
    run_seconds,
    seconds_per_sequence,
)

COSTS = {(Effort.FULL, 3): 36.0, (Effort.FULL, 1): 12.0, (Effort.ONE_SIZE, 3): 9.0, (Effort.ONE_SIZE, 1): 3.0}
COSTS |= {(Effort.FIRST_NETWORK, 3): 3.0, (Effort.FULL, 0): 0.0, (Effort.ONE_SIZE, 0): 0.0}


def throughput(load: float, *batches: BatchTiming) -> MeasuredThroughput:
    measured = MeasuredThroughput(COSTS, load)
    for batch in batches:
        measured.observe(batch)
    return measured


def test_photos_and_networks_add_up_on_cpus_and_overlap_on_gpus() -> None:
    assert seconds_per_sequence(3.0, 2.0, CPU_LOAD) == 5.0
    assert seconds_per_sequence(3.0, 2.0, GPU_LOAD) == 3.0
    assert seconds_per_sequence(2.0, 3.0, GPU_LOAD) == 3.0
    assert seconds_per_sequence(4.0, 1.0, 0.5) == 4.0  # 3 s of the cores are enough
    assert seconds_per_sequence(4.0, 3.0, 0.5) == 5.0


def test_a_run_is_its_start_its_sequences_and_its_end() -> None:
    assert run_seconds(10.0, 100, 0.5, 400, 0.01) == pytest.approx(64.0)
    assert fits(95.0, 100.0)
    assert not fits(95.1, 100.0)


def test_batches_that_were_measured_one_stage_after_the_other_say_it_directly() -> None:
    batch = BatchTiming((3,) * 10, Effort.FULL, 36.0, 20.0, wait_seconds=20.0)
    assert throughput(CPU_LOAD, batch).seconds_per_sequence(Effort.FULL) == pytest.approx(3.6 + 2.0)
    assert throughput(CPU_LOAD, batch).seconds_per_sequence(Effort.ONE_SIZE) == pytest.approx(0.9 + 2.0)
    assert throughput(GPU_LOAD, batch).seconds_per_sequence(Effort.FULL) == pytest.approx(3.6)
    assert throughput(GPU_LOAD, batch).seconds_per_sequence(Effort.ONE_SIZE) == pytest.approx(2.0)


def test_rates_measured_at_little_effort_show_what_more_would_cost() -> None:
    measured = throughput(GPU_LOAD, BatchTiming((3,) * 10, Effort.ONE_SIZE, 9.0, 0.0, 0.0))
    assert measured.seconds_per_sequence(Effort.FULL) == pytest.approx(3.6)
    assert measured.seconds_per_sequence(Effort.FIRST_NETWORK) == pytest.approx(0.3)
    assert measured.seconds_per_sequence(Effort.PRIORS) == 0.0


def test_sequences_of_other_lengths_cost_in_proportion() -> None:
    measured = throughput(GPU_LOAD, BatchTiming((1, 3, 0), Effort.FULL, 48.0, 0.0, 0.0))
    assert measured.seconds_per_sequence(Effort.FULL) == pytest.approx(48.0 / 3)
    assert measured.seconds_per_sequence(Effort.ONE_SIZE) == pytest.approx(12.0 / 3)


def shared_cores(networks: float, photos: float) -> tuple[float, float, float]:
    """Seconds in the networks, of the decoding threads, and waited, for one sequence after the other on shared cores.

    Simulated in small steps: whoever is at work at the same time gets half of the cores; decoding is two sequences ahead
    at most. The sums of the second half of 40 sequences, by sequence.
    """
    step, queue, n_done = 0.001, 0, 0
    rest_networks, rest_photos = 0.0, photos
    spent = [0.0, 0.0, 0.0]
    while n_done < 40:
        if rest_networks <= 0 and queue:
            queue, rest_networks = queue - 1, networks
        decodes, predicts = queue < 2, rest_networks > 0
        speed = step / (decodes + predicts)
        if n_done >= 20:
            spent = [
                one + step * is_busy for one, is_busy in zip(spent, (predicts, decodes, not predicts), strict=True)
            ]
        if predicts:
            rest_networks -= speed
            n_done += rest_networks <= 0
        if decodes:
            rest_photos -= speed
            if rest_photos <= 0:
                queue, rest_photos = queue + 1, photos
    return spent[0] / 20, spent[1] / 20, spent[2] / 20


@pytest.mark.parametrize(("networks", "photos"), [(0.3, 0.1), (0.2, 0.2), (0.05, 0.3)])
def test_what_is_measured_on_shared_cores_is_not_counted_twice(networks: float, photos: float) -> None:
    network_seconds, photo_seconds, waited = shared_cores(networks, photos)
    assert network_seconds + photo_seconds > 1.2 * (networks + photos), "they must have slowed each other down"
    measured = throughput(CPU_LOAD, BatchTiming((3,), Effort.FULL, network_seconds, photo_seconds, waited))
    assert measured.seconds_per_sequence(Effort.FULL) == pytest.approx(networks + photos, rel=0.05)
    assert measured.seconds_per_sequence(Effort.ONE_SIZE) == pytest.approx(networks / 4 + photos, rel=0.25)


def test_old_batches_no_longer_count() -> None:
    measured = throughput(GPU_LOAD, BatchTiming((3,), Effort.FULL, 36.0, 0.0, 0.0))
    for _ in range(WINDOW_BATCHES):
        measured.observe(BatchTiming((3,), Effort.FULL, 72.0, 0.0, 0.0))
    assert measured.seconds_per_sequence(Effort.FULL) == pytest.approx(72.0)
    measured.reset()
    assert not measured.is_measured
    assert measured.seconds_per_sequence(Effort.FULL) == 0.0


def test_batches_without_a_readable_photo_measure_nothing() -> None:
    measured = throughput(CPU_LOAD, BatchTiming((0, 0), Effort.FULL, 0.0, 0.1, 0.1))
    assert not measured.is_measured
