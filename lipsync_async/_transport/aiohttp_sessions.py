"""What a transport has in one event loop: an aiohttp session and the places on it.

A session ends with its loop, after it, or not at all in a forked child.
"""

from __future__ import annotations

import asyncio
import os
import warnings
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import aiohttp


class LoopSession:
    """Hold what belongs to one event loop of one process.

    Two semaphores stand before the connection pool, because aiohttp counts the wait for a
    pooled connection into a request's timeout.

    Args:
        owner: The transport; when it is dropped, the session is, too.
        session: The session.
        places: Requests under way at once.
        stream_places: Streams under way at once; 0: they take turns with the requests.
        is_own: Whether the session is to be closed with the transport.

    """

    def __init__(
        self,
        owner: object,
        session: aiohttp.ClientSession,
        *,
        places: int,
        stream_places: int,
        is_own: bool,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.session = session
        # A request's own ones take the place of the session's, so these have to be named.
        self.middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = tuple(session._middlewares)  # noqa: SLF001
        self.places = asyncio.Semaphore(places)
        self.stream_places = asyncio.Semaphore(stream_places) if stream_places else self.places
        self.streams: int = stream_places or places
        # Grows with each piece of a stream and with each end of one.
        self.moves: int = 0
        self._process = os.getpid()
        self._keeper: AsyncGenerator[None, None] | None = None
        self._discard: weakref.finalize[..., object] | None = None
        self._ended: asyncio.Event | None = None
        if is_own:
            self._keeper = keeper_of(session)
            self._discard = weakref.finalize(
                owner, discard, session, self._keeper, self.loop, self._process
            )

    @property
    def is_elsewhere(self) -> bool:
        """Whether its loop is at work in another thread of this process."""
        return (
            self.loop is not asyncio.get_running_loop()
            and self.loop.is_running()
            and self._process == os.getpid()
        )

    @property
    def is_here(self) -> bool:
        """Whether it is of the running loop."""
        return self.loop is asyncio.get_running_loop()

    def discard(self) -> None:
        """Drop an own session whose loop is not the running one."""
        if self._discard is not None:
            self._discard()

    async def aclose(self) -> None:
        """Close an own session; who closes it meanwhile waits for its end, too."""
        if self._keeper is None or self._discard is None:
            return
        if not self.is_here:
            self._discard()
            return
        if self._ended is not None:
            await self._ended.wait()
            return
        self._ended = asyncio.Event()
        self._discard.detach()
        try:
            await self._keeper.aclose()
        finally:
            self._ended.set()


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
