"""What is under way on a transport, and how closing it ends all of that."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import attrs

from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.define(slots=True, eq=False)
class OpenCall:
    """Hold one request, stream or pause that is under way.

    Attributes:
        scope: What ends it.
        loop: The event loop that it runs in.
        process: The process that it runs in.
        is_sent: Whether any of its bytes may have left this machine.

    """

    scope: anyio.CancelScope
    loop: asyncio.AbstractEventLoop
    process: int
    is_sent: bool = False


class OpenCalls:
    """End everything that is under way when the transport is closed.

    A closed connection alone does not do it: aiohttp forgets the timer and the reader of a
    connection that is closed under them, and whoever reads a body then waits for ever.
    """

    def __init__(self) -> None:
        self.is_closed: bool = False
        self._calls: set[OpenCall] = set()

    def refuse_if_closed(self) -> None:
        """Raise where the transport is closed.

        Raises:
            ConfigurationError: It is.

        """
        if self.is_closed:
            raise ConfigurationError("This client is closed. Build a new one to go on.")

    @contextmanager
    def under_way(self) -> Iterator[OpenCall]:
        """Run the block as a call that ends when the transport is closed.

        Raises:
            ConfigurationError: The transport is closed, or was closed meanwhile.

        """
        self.refuse_if_closed()
        with anyio.CancelScope() as scope:
            call = OpenCall(scope, asyncio.get_running_loop(), os.getpid())
            self._calls.add(call)
            try:
                yield call
            finally:
                self._calls.discard(call)
        if scope.cancelled_caught:
            raise closed_meanwhile(call)

    def close(self) -> None:
        """End all calls of this process, in whatever loop they run."""
        self.is_closed = True
        for call in list(self._calls):
            if call.process != os.getpid():  # the parent's, which goes on with it
                continue
            with suppress(RuntimeError):  # its loop has been closed, and the call with it
                call.loop.call_soon_threadsafe(call.scope.cancel)


def closed_meanwhile(call: OpenCall) -> ConfigurationError:
    """Return the error of a call whose client was closed while it was under way."""
    error = ConfigurationError("The client was closed while this call was under way.")
    error.may_have_worked = call.is_sent
    return error
