"""Transport without sockets: an async function answers each request, on a virtual clock."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import anyio
import attrs
from anyio.lowlevel import checkpoint

from lipsync_async._asyncio_tools import OpenCall, OpenCalls
from lipsync_async._transport.protocol import CUT_BYTES, most_bytes
from lipsync_async.errors import RequestTimeoutError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager

    from lipsync_async._models.http import Request, Response

_CHUNK_BYTES = 65_536


class Timer(Protocol):
    """A callback that is due at a time."""

    def cancel(self) -> None:
        """Make sure that the callback never runs; harmless afterwards."""


class Clock(Protocol):
    """Time that jumps when every task waits, such as `lipsync_async.sandbox.VirtualClock`."""

    def now(self) -> float:
        """Return the time in seconds."""

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` when `seconds` have passed."""

    def hold(self) -> AbstractContextManager[None]:
        """Keep the time from jumping."""


class _MemoryStream:
    """Whole answer, handed out in pieces."""

    def __init__(self, response: Response) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._body = response.body

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(self._body), _CHUNK_BYTES):
            await checkpoint()
            yield self._body[start : start + _CHUNK_BYTES]


class MemoryTransport:
    """Transport to a function in this process, on a virtual clock.

    Args:
        handle: Answers one request; may sleep on `clock` and raise `TransportError`.
        clock: The time that both sides share.

    Attributes:
        now: Returns the clock's seconds.

    """

    def __init__(self, handle: Callable[[Request], Awaitable[Response]], clock: Clock) -> None:
        self._handle = handle
        self._clock = clock
        self.now: Callable[[], float] = clock.now
        self._calls = OpenCalls()

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task for virtual seconds.

        Raises:
            ConfigurationError: The transport is closed, or was closed meanwhile.

        """
        with OpenCall(self._calls):
            await self._clock.sleep(seconds)

    def hold(self) -> AbstractContextManager[None]:
        """Keep the clock from jumping while something real, like a thread, is at work."""
        return self._clock.hold()

    async def send(
        self, request: Request, *, timeout: float | None, deadline: float | None = None
    ) -> Response:
        """Let the function answer, within virtual seconds.

        Args:
            request: What to send.
            timeout: As for `Transport.send`.
            deadline: As for `Transport.send`.

        Raises:
            TransportError: Whatever the function raised.
            RequestTimeoutError: It took longer than `timeout`.
            ConfigurationError: The transport is closed, or was closed meanwhile.

        """
        with OpenCall(self._calls) as call:
            call.is_sent = True
            if deadline is not None:
                left = max(deadline - self.now(), 0.0)
                timeout = left if timeout is None else min(timeout, left)
            answer = await self._answer(request, timeout)
        if len(answer.body) > CUT_BYTES and len(answer.body) > most_bytes(answer.status):
            return attrs.evolve(answer, body=answer.body[:CUT_BYTES], is_cut=True)
        return answer

    async def _answer(self, request: Request, timeout: float | None) -> Response:
        with anyio.CancelScope() as scope:
            timer = None if timeout is None else self._clock.call_later(timeout, scope.cancel)
            try:
                return await self._handle(request)
            finally:
                if timer is not None:
                    timer.cancel()
        message = f"no answer within {timeout:g} s; the outcome is unknown."
        raise RequestTimeoutError(message, method=request.method, url=request.url)

    @asynccontextmanager
    async def stream(
        self, request: Request, *, timeout: float | None
    ) -> AsyncIterator[_MemoryStream]:
        """Let the function answer, then hand out its body in pieces."""
        with OpenCall(self._calls) as call:
            call.is_sent = True
            yield _MemoryStream(await self._answer(request, timeout))

    async def aclose(self) -> None:
        """End all that is under way; closing twice is fine."""
        self._calls.close()
