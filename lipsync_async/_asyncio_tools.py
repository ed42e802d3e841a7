"""Values that belong to one event loop, calls that end, cancellations that were not asked for.

A client may be used by several loops in a row. Locks and events of a loop that was closed,
or of the process that this one was forked from, are never released; a new loop must not wait
for them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Self, TypeVar
from weakref import WeakKeyDictionary

import anyio
import attrs
from anyio.lowlevel import current_token

from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from types import TracebackType


T = TypeVar("T")


@attrs.define(slots=True, eq=False, repr=False)
class LoopLocal(Generic[T]):
    """One value for each event loop."""

    _make: Callable[[], T]
    _process: int = attrs.field(default=0, init=False)
    _by_loop: WeakKeyDictionary[object, T] = attrs.field(factory=WeakKeyDictionary, init=False)

    def get(self) -> T:
        """Return the running loop's value; a new one in a forked child that goes on with it."""
        # Asking anyio takes ten times as long, and this is done for each request.
        loop = asyncio._get_running_loop() or current_token().native_token  # noqa: SLF001
        if self._process != (process := os.getpid()):
            self._process = process
            self._by_loop = WeakKeyDictionary()
        found = self._by_loop.get(loop)
        if found is None:
            found = self._by_loop[loop] = self._make()
        return found


@attrs.define(slots=True, eq=False)
class OpenCalls:
    """Calls in flight over a transport, which end when it is closed.

    A closed connection alone does not do it: aiohttp forgets the timer and the reader of a
    connection that is closed under them, and a task that reads a body then waits for ever.
    """

    is_closed: bool = False
    calls: set[OpenCall] = attrs.field(factory=set)

    def close(self) -> None:
        """End all calls of this process, in whatever loop they run."""
        self.is_closed = True
        for call in list(self.calls):
            if call.process != os.getpid():  # the parent's, which goes on with it
                continue
            with suppress(RuntimeError):  # its loop has been closed, and the call with it
                call.loop.call_soon_threadsafe(call.scope.cancel)


@attrs.define(slots=True, eq=False)
class OpenCall:
    """Block that runs as a call, which ends when the transport is closed.

    It is made for each request, so it is no generator, which would take longer.

    Attributes:
        calls: Where it is kept while it is in flight.
        scope: What ends it.
        loop: The event loop that it runs in.
        process: The process that it runs in.
        is_sent: Whether any of its bytes may have left this machine.
    """

    calls: OpenCalls
    scope: anyio.CancelScope = attrs.field(init=False)
    loop: asyncio.AbstractEventLoop = attrs.field(init=False)
    process: int = attrs.field(factory=os.getpid)
    is_sent: bool = False

    def __enter__(self) -> Self:
        if self.calls.is_closed:
            raise ConfigurationError("This client is closed. Build a new one to go on.")
        loop = asyncio._get_running_loop()  # noqa: SLF001 - as above
        if loop is None:
            raise ConfigurationError(
                "There is no asyncio event loop here (aiohttp needs one; trio will not do). "
                "Await this from asyncio.run or anyio.run with the asyncio backend."
            )
        self.loop = loop
        self.scope = anyio.CancelScope().__enter__()
        self.calls.calls.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.calls.calls.discard(self)
        self.scope.__exit__(kind, error, traceback)
        if self.scope.cancelled_caught:
            raise self.closed_meanwhile() from None

    def closed_meanwhile(self) -> ConfigurationError:
        """Return the error of a call whose client was closed while it was under way."""
        error = ConfigurationError("The client was closed while this call was under way.")
        error.may_have_worked = self.is_sent
        return error


def unexpected_cancellation(error: BaseException, whose: str) -> Exception | None:
    """Return the error that replaces a cancellation which was not asked for, or `None`.

    A task that awaits a cancelled task gets its `CancelledError`. A task group takes that for
    its own cancellation, and ends without an error.
    """
    task = asyncio.current_task()
    is_asked_for = task is not None and task.cancelling() > 0
    if is_asked_for or not isinstance(error, asyncio.CancelledError):
        return None
    return cancellation_error(whose)


def cancellation_error(whose: str) -> RuntimeError:
    """Return the error that replaces an unexpected cancellation."""
    return RuntimeError(
        f"{whose} raised CancelledError, though this was not cancelled. Catch it where a task or "
        "a future is awaited that may be cancelled."
    )
