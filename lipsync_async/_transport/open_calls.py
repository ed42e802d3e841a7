"""What is under way on a transport, and how closing it ends all of that."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import anyio

from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from types import TracebackType


class OpenCall:
    """Run a block as a call that ends when the transport is closed.

    This is done for each request, so it is no generator, which would take longer.

    Args:
        calls: Where it is noted while it is under way.

    Attributes:
        scope: What ends it.
        loop: The event loop that it runs in.
        process: The process that it runs in.
        is_sent: Whether any of its bytes may have left this machine.

    """

    __slots__ = ("_calls", "is_sent", "loop", "process", "scope")

    def __init__(self, calls: set[OpenCall]) -> None:
        self.scope = anyio.CancelScope()
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.process: int = os.getpid()
        self.is_sent: bool = False
        self._calls = calls

    def __enter__(self) -> Self:
        """Begin the call."""
        self.scope.__enter__()
        self._calls.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the call.

        Raises:
            ConfigurationError: The transport was closed meanwhile.

        """
        self._calls.discard(self)
        self.scope.__exit__(kind, error, traceback)
        if self.scope.cancelled_caught:
            raise closed_meanwhile(self) from None


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

    def under_way(self) -> OpenCall:
        """Return a call, which begins with its block and ends when the transport is closed.

        Raises:
            ConfigurationError: The transport is closed.

        """
        self.refuse_if_closed()
        return OpenCall(self._calls)

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
