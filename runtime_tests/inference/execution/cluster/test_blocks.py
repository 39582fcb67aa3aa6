"""The queue of blocks: every block once, in order, whatever workers do."""

from __future__ import annotations

import random

import pytest

from inference.execution.cluster.blocks import (
    BLOCKS_PER_WORKER,
    MAX_DEATHS,
    MIN_TIMES,
    MIN_WINDOW,
    UNMEASURED_SECONDS,
    BlockQueue,
)


def drained(queue: BlockQueue[int], first: int) -> list[int]:
    """Answers that can be taken now, in order."""
    taken = []
    while (answer := queue.take(first)) is not None:
        taken.append(answer)
        first += 1
    return taken


@pytest.mark.parametrize(
    ("first", "end", "size", "ranges"),
    [
        (0, 10, 4, [(0, 4), (4, 8), (8, 10)]),
        (5, 10, 4, [(5, 8), (8, 10)]),
        (8, 9, 4, [(8, 9)]),
        (3, 3, 4, []),
    ],
)
def test_blocks_are_cut_at_multiples_of_their_size(
    first: int, end: int, size: int, ranges: list[tuple[int, int]]
) -> None:
    queue: BlockQueue[int] = BlockQueue(first, end, size)
    given: list[tuple[int, int]] = []
    while (block := queue.give(f"worker {len(given)}", 0.0)) is not None:
        given.append(queue.range_of(block))
    assert given == ranges


def test_a_worker_has_two_blocks_at_most() -> None:
    queue: BlockQueue[int] = BlockQueue(0, 10, 1)
    assert [queue.give("a", 0.0) for _ in range(3)] == [0, 1, None]
    assert BLOCKS_PER_WORKER == 2
    queue.answer("a", 0, 0, 1.0)
    assert queue.give("a", 1.0) == 2


def test_blocks_of_a_lost_worker_come_first_and_one_at_a_time() -> None:
    queue: BlockQueue[int] = BlockQueue(0, 10, 1)
    for _ in range(2):
        queue.give("a", 0.0)
    queue.lose("a")
    assert [queue.give("b", 0.0), queue.give("b", 0.0)] == [0, None], "block 0 may end the next worker, too"
    assert queue.give("c", 0.0) == 1
    assert queue.n_asked_twice == 2
    queue.answer("b", 0, 0, 1.0)
    assert [queue.give("b", 1.0), queue.give("b", 1.0)] == [2, 3]


def test_a_block_over_which_workers_end_is_found_and_its_neighbours_are_not_blamed() -> None:
    queue: BlockQueue[int] = BlockQueue(0, 10, 1)
    queue.give("w0", 0.0)
    queue.give("w0", 0.0)
    for number in range(MAX_DEATHS):
        assert queue.deadly is None
        queue.lose(f"w{number}")
        assert queue.give(f"w{number + 1}", 0.0) == 0
    assert queue.deadly == 0


def test_a_failed_call_blames_no_block() -> None:
    queue: BlockQueue[int] = BlockQueue(0, 10, 1)
    for number in range(2 * MAX_DEATHS):
        queue.give(f"w{number}", 0.0)
        queue.lose(f"w{number}", has_died=False)
    assert queue.deadly is None


def test_an_overdue_block_is_given_to_a_second_worker_and_the_first_answer_counts() -> None:
    queue: BlockQueue[int] = BlockQueue(0, 100, 1)
    assert queue.give("slow", 0.0) == 0
    now = 0.0
    for block in range(1, MIN_TIMES + 1):
        assert queue.give("fast", now) == block
        now += 1.0
        queue.answer("fast", block, block, now)
    assert queue.give("fast", now + 0.1) == 0, "the head of the line, before new blocks"
    assert queue.give("third", now + 1.0) == MIN_TIMES + 1, "two workers are enough for now"
    queue.answer("fast", 0, 100, now + 1.0)
    queue.answer("slow", 0, 200, now + 2.0)
    assert drained(queue, 0) == [100, 1, 2, 3]


def test_a_block_that_two_workers_hang_on_is_given_to_a_third() -> None:
    queue: BlockQueue[int] = BlockQueue(0, 1, 1)
    assert queue.give("first", 0.0) == 0
    assert queue.give("second", UNMEASURED_SECONDS) is None
    assert queue.give("second", UNMEASURED_SECONDS + 1) == 0
    assert queue.give("third", 2 * UNMEASURED_SECONDS) is None
    assert queue.give("third", 2 * UNMEASURED_SECONDS + 2) == 0


def test_a_worker_that_hangs_gets_no_more_blocks_and_does_not_count() -> None:
    queue: BlockQueue[int] = BlockQueue(0, 100, 1)
    assert [queue.give("hangs", 0.0), queue.give("hangs", 0.0)] == [0, 1]
    assert queue.n_on_time(["hangs", "works"], UNMEASURED_SECONDS) == 2
    assert queue.n_on_time(["hangs", "works"], UNMEASURED_SECONDS + 1) == 1
    now = UNMEASURED_SECONDS + 1
    for expected in range(4):
        assert queue.give("works", now) == expected
        now += 1.0
        queue.answer("works", expected, expected, now)
        assert queue.take(expected) == expected
    assert queue.give("hangs", now) is None, "it still has two calls that do not end"
    queue.answer("hangs", 0, 9, now)
    assert queue.give("hangs", now) == 4


def test_records_wait_within_a_window_when_the_first_block_never_comes() -> None:
    queue: BlockQueue[int] = BlockQueue(0, 1_000_000, 1)
    assert queue.give("hangs", 0.0) == 0
    n_answers = 0
    while (block := queue.give("fast", 0.0)) is not None:
        queue.answer("fast", block, block, 0.0)
        n_answers += 1
    assert n_answers == MIN_WINDOW - 1


def test_a_block_that_is_given_back_goes_to_another_node_if_there_is_one() -> None:
    queue: BlockQueue[int] = BlockQueue(0, 2, 1)
    on_time = {"A", "B"}
    assert queue.give("a", 0.0, 2, "A", on_time) == 0
    queue.give_back("a", 0, "A")
    assert queue.give("a", 0.0, 2, "A", on_time) == 1
    assert queue.give("another", 0.0, 2, "A", on_time) is None
    assert queue.give("b", 0.0, 2, "B", on_time) == 0
    queue.give_back("b", 0, "B")
    queue.answer("a", 1, 1, 0.0)
    assert queue.give("b", 0.0, 2, "B", {"B", "C"}) is None, "C has not tried it"
    assert queue.give("a", 0.0, 2, "A", {"A", "B", "C"}) is None
    assert queue.give("a", 0.0, 2, "A", on_time) == 0, "no other node is on time"


def test_no_block_is_begun_while_the_first_one_waits_for_an_idle_worker() -> None:
    queue: BlockQueue[int] = BlockQueue(0, 100, 1)
    assert [queue.give("dies", 0.0), queue.give("lives", 0.0), queue.give("lives", 0.0)] == [0, 1, 2]
    queue.lose("dies")
    queue.answer("lives", 1, 1, 1.0)
    assert queue.give("lives", 1.0) is None, "block 2 is under way, and block 0 may end the worker"
    queue.answer("lives", 2, 2, 2.0)
    assert queue.give("lives", 2.0) == 0


@pytest.mark.parametrize("seed", range(200))
def test_random_schedules_give_every_block_once_and_in_order(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  # a schedule
    n_sequences, size, first = chance.randint(1, 60), chance.randint(1, 7), chance.randint(0, 5)
    queue: BlockQueue[tuple[int, int]] = BlockQueue(min(first, n_sequences), n_sequences, size)
    running: set[tuple[str, int]] = set()
    done: list[tuple[int, int]] = []
    workers, now, n_born = ["w0", "w1"], 0.0, 2
    head = queue.block_of(min(first, n_sequences))
    while sum(end - start for start, end in done) < n_sequences - min(first, n_sequences):
        now += chance.random()
        worker = chance.choice(workers)
        action = chance.random()
        mine = [one for one in running if one[0] == worker]
        if action < 0.5 and (block := queue.give(worker, now, len(workers))) is not None:
            running.add((worker, block))
        elif action < 0.9 and mine:
            worker, block = one = chance.choice(sorted(mine))
            running.discard(one)
            queue.answer(worker, block, queue.range_of(block), now)
        elif action < 0.92 and chance.random() < 0.3:
            queue.lose(worker, has_died=chance.random() < 0.2)
            running = {one for one in running if one[0] != worker}
            workers.remove(worker)
            workers.append(f"w{n_born}")
            n_born += 1
        if queue.deadly is not None:
            return
        while (answer := queue.take(head)) is not None:
            done.append(answer)
            head += 1
    assert [one for start, end in done for one in range(start, end)] == list(
        range(min(first, n_sequences), n_sequences)
    )
