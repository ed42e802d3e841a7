"""What a client has once for each event loop."""

import gc
from itertools import count

import anyio
import pytest
from anyio import NoEventLoopError

from lipsync_async._asyncio_tools import PerLoop


def test_each_loop_has_its_own() -> None:
    """The same thing for all who ask in one loop, another in the next."""
    numbers = count()
    things = PerLoop(lambda: [next(numbers)])

    async def ask() -> list[int]:
        first = things.here()
        assert things.here() is first
        return first

    assert [anyio.run(ask), anyio.run(ask)] == [[0], [1]]


def test_nothing_is_kept_of_a_loop_that_is_gone() -> None:
    """A client that is used by many loops in a row does not grow."""
    things = PerLoop(object)

    async def ask() -> None:
        things.here()

    for _ in range(3):
        anyio.run(ask)
    gc.collect()
    assert len(things._by_loop) == 0  # noqa: SLF001


def test_there_must_be_a_loop() -> None:
    """Outside of any there is none to have something for."""
    with pytest.raises(NoEventLoopError):
        PerLoop(object).here()
