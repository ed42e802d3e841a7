"""The ends of an aiohttp session: with its loop, after it, or not at all in a forked child."""

from __future__ import annotations

import asyncio
import os
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import aiohttp


def keeper_of(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    """Close the session with its loop, if nobody does so before.

    `asyncio.run` and its like close the generators that are left when they end; a session
    has no other way to learn of that, and would leave open sockets behind.
    """

    async def keep() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await session.close()

    keeper = keep()
    with suppress(StopIteration):  # up to its `yield`, which makes the loop know it
        keeper.asend(None).send(None)
    return keeper


def discard(
    session: aiohttp.ClientSession,
    keeper: AsyncGenerator[None, None],
    loop: asyncio.AbstractEventLoop,
    process: int,
) -> None:
    """Drop a session that its loop can no longer close, without a word on the terminal.

    Args:
        session: What to drop.
        keeper: Its keeper.
        loop: Its loop. While that runs in another thread, letting go of the keeper has it
            close the session there.
        process: The process that it belongs to; in any other it is left alone.

    """
    if process != os.getpid():
        _leave_to_parent(session, keeper, loop)
        return
    if loop.is_running() and asyncio._get_running_loop() is not loop:  # noqa: SLF001 - documented
        return
    connector = session.connector
    if connector is None:
        return
    session.detach()
    with warnings.catch_warnings():
        # "with Connector()" is deprecated, but the only way to close without a loop.
        warnings.simplefilter("ignore", DeprecationWarning)
        with connector:
            pass


def _leave_to_parent(*inherited: object) -> None:
    """Keep for ever what a forked child has inherited, so that no finalizer closes it.

    The child shares connections and selector with its parent: a farewell sent by TLS, or
    a socket taken off the selector, would be missed there, and the parent would hang. A
    reference that nobody gives back is the only thing that keeps finalizers from running
    at the interpreter's end, too.
    """
    import ctypes  # noqa: PLC0415 - hardly ever needed

    for thing in inherited:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
