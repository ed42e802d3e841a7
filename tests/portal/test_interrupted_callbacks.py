"""What a callback raises, or leaves undone, when the call around it is given up."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import anyio
import pytest

from lipsync_async._portal import CURRENT_CALL, Portal
from tests.portal.verbs import interrupt, ringing, verb


async def give_up(what_then: Callable[[], Any], ring: Callable[[], Any]) -> Any:
    """Wait for a callback, and end in some way when cancelled in the middle of it."""
    try:
        await ring()
    except asyncio.CancelledError:
        return what_then()


def refuse() -> None:
    """End a clean-up badly."""
    raise LookupError("no such job")


@pytest.mark.parametrize(
    ("what_then", "notes"),
    [
        (lambda: None, []),
        (lambda: "job 7", ["The call had succeeded meanwhile: 'job 7'"]),
        (refuse, ["The call had failed meanwhile: no such job"]),
    ],
    ids=["nothing", "a result", "an error"],
)
def test_what_an_interrupted_call_leaves(
    portal: Portal, what_then: Callable[[], Any], notes: list[str]
) -> None:
    """What the call came to all the same is noted on the interruption."""
    ring = ringing(interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        verb(portal.call, partial(give_up, what_then, ring))
    assert getattr(caught.value, "__notes__", []) == notes


def test_interrupted_beside_an_item(portal: Portal) -> None:
    """An item that comes with the interruption is let go, and the generator is closed."""
    ring = ringing(interrupt)
    is_closed: list[bool] = []

    async def ring_and_yield() -> AsyncGenerator[int, None]:
        rung = asyncio.ensure_future(ring())
        try:
            await anyio.lowlevel.checkpoint()
            yield 1
        finally:
            is_closed.append(rung.cancel())

    with pytest.raises(KeyboardInterrupt):
        next(verb(portal.iterate, ring_and_yield()))
    assert is_closed == [True]


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_interrupted_while_at_work(portal: Portal, ending: type[BaseException]) -> None:
    """What a callback raises while the caller works is raised at its next step, not in the loop."""
    has_rung = threading.Event()

    def end() -> None:
        has_rung.set()
        raise ending

    ring = ringing(end)
    is_closed: list[bool] = []
    begin: list[Callable[[], object]] = []

    async def yield_and_ring() -> AsyncGenerator[int, None]:
        may_begin = asyncio.Event()
        begin.append(partial(asyncio.get_running_loop().call_soon_threadsafe, may_begin.set))

        async def ring_later() -> None:
            await may_begin.wait()
            await ring()

        rung = asyncio.ensure_future(ring_later())
        try:
            yield 1
            await anyio.sleep_forever()  # pragma: no cover - only if the interruption is late
        finally:
            is_closed.append(rung.cancel())

    items = verb(portal.iterate, yield_and_ring())
    assert next(items) == 1
    begin[0]()
    assert has_rung.wait(10)
    with pytest.raises(ending):
        next(items)
    assert is_closed == [True]
    verb(portal.call, anyio.lowlevel.checkpoint)


def test_interrupted_once(portal: Portal) -> None:
    """What a callback raises elsewhere does not cut off a clean-up that is waited for."""
    ring = ringing(interrupt)
    has_cleaned_up: list[bool] = []

    async def clean_up() -> None:
        try:
            await ring()
        finally:
            CURRENT_CALL.get().messages.put(SystemExit())
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            has_cleaned_up.append(True)

    with pytest.raises(KeyboardInterrupt):
        verb(portal.call, clean_up)
    assert has_cleaned_up == [True]


def test_callback_that_is_not_waited_for(portal: Portal) -> None:
    """A callback still runs when the coroutine has stopped to wait for it."""
    rung: list[int] = []
    ring = ringing(lambda: rung.append(1))

    async def hasten() -> bool:
        with anyio.move_on_after(0) as scope:
            await ring()
        await ring()
        return scope.cancelled_caught

    assert verb(portal.call, hasten)
    assert rung == [1, 1]
