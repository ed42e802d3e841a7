"""Outcomes on their way to the caller."""

import asyncio

import anyio
import pytest
from hypothesis import given, strategies as st

from lipsync_async import Outcome
from lipsync_async._bulk.results import MAX_WAITING, OutcomeQueue
from tests.bulk.jobs import request


def queue_of(*, is_ordered: bool = True, room: asyncio.Event | None = None) -> OutcomeQueue:
    """Return an empty queue."""
    return OutcomeQueue(is_ordered=is_ordered, room=room or asyncio.Event())


def outcome(index: int) -> Outcome:
    """Return the outcome of the request at an index."""
    return Outcome(index=index, request=request(index))


def taken(queue: OutcomeQueue) -> list[int]:
    """Take all outcomes of a closed queue, and return their indexes."""

    async def take_all() -> list[int]:
        found: list[int] = []
        while (each := await queue.get()) is not None:
            found.append(each.index)
        return found

    return anyio.run(take_all)


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_all_that_is_put_in_comes_out(order: list[int], missing: set[int]) -> None:
    """Unordered as it came, ordered by index; gaps are closed at the end, and none is lost."""
    come = [index for index in order if index not in missing]
    for is_ordered in (False, True):
        queue = queue_of(is_ordered=is_ordered)
        for index in come:
            queue.put(outcome(index))
        queue.close()
        assert taken(queue) == (sorted(come) if is_ordered else come)


@pytest.mark.parametrize("is_ordered", [True, False])
def test_it_is_full_of_what_was_not_taken(is_ordered: bool) -> None:  # noqa: FBT001
    """What waits for its turn counts like what waits for the caller; taking makes room."""
    room = asyncio.Event()
    queue = queue_of(is_ordered=is_ordered, room=room)
    for index in [*range(1, MAX_WAITING), 0]:
        assert queue.waiting < MAX_WAITING
        queue.put(outcome(index))
    assert queue.waiting == MAX_WAITING
    assert anyio.run(queue.get) is not None
    assert queue.waiting < MAX_WAITING
    assert room.is_set()
