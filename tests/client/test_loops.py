"""What a client has once for each event loop."""

import gc
from itertools import count

import anyio
import pytest
from anyio import NoEventLoopError

from lipsync_async._asyncio_tools import LoopLocal


def test_each_loop_has_its_own() -> None:
    """The same thing for all who ask in one loop, another in the next."""
    numbers = count()
    things = LoopLocal(lambda: [next(numbers)])

    async def ask() -> list[int]:
        first = things.get()
        assert things.get() is first
        return first

    assert [anyio.run(ask), anyio.run(ask)] == [[0], [1]]


def test_nothing_is_kept_of_a_loop_that_is_gone() -> None:
    """A client that is used by many loops in a row does not grow."""
    things = LoopLocal(object)

    async def ask() -> None:
        things.get()

    for _ in range(3):
        anyio.run(ask)
    gc.collect()
    assert len(things._by_loop) == 0  # noqa: SLF001


def test_there_must_be_a_loop() -> None:
    """Outside of any there is none to have something for."""
    with pytest.raises(NoEventLoopError):
        LoopLocal(object).get()
