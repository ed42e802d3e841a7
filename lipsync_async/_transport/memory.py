"""A transport without sockets, on a clock that jumps instead of waiting.

The clock moves only when every task of the event loop stays blocked: then it jumps to the
next timer. So hours of jobs run in milliseconds, in the order in which they would have
run, on an ordinary asyncio loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

import anyio
import attrs
from anyio.lowlevel import checkpoint

from lipsync_async._transport.protocol import CUT_BYTES, OpenCalls, most_bytes, seconds_within
from lipsync_async.errors import RequestTimeoutError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from lipsync_async._models.http import Request, Response

_CHUNK_BYTES = 65_536
_BUSY_TURNS = 3  # so many turns with something to run are believed before every task is asked


@attrs.define(slots=True, eq=False)
class Timer:
    """Hold one callback that is due at a virtual time."""

    when: float
    order: int
    callback: Callable[[], object] | None

    def __lt__(self, other: Timer) -> bool:
        """Tell which is first, by hand: a heap of ten thousand asks a dozen times a push."""
        if self.when == other.when:
            return self.order < other.order
        return self.when < other.when

    def cancel(self) -> None:
        """Make sure that the callback never runs; harmless afterwards."""
        self.callback = None


class VirtualClock:
    """Tell and pass virtual time.

    Args:
        start: Seconds that the clock shows at first.

    """

    def __init__(self, start: float = 0.0) -> None:
        """Start without timers; the event loop is needed only by the first one."""
        self._now = start
        self._timers: list[Timer] = []
        self._orders = count()
        # The loop whose turns the clock watches while timers are left; a clock may outlive it.
        self._ticks_in: asyncio.AbstractEventLoop | None = None
        self._holds = 0
        self._is_idle = False
        self._busy_turns = 0

    def now(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task for virtual seconds."""
        if seconds <= 0:
            await checkpoint()
            return
        due = anyio.Event()
        timer = self.call_later(seconds, due.set)
        try:
            await due.wait()
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` in the event loop when `seconds` have passed."""
        timer = Timer(self._now + max(seconds, 0.0), next(self._orders), callback)
        heappush(self._timers, timer)
        loop = asyncio.get_running_loop()
        if self._ticks_in is not loop:
            self._ticks_in = loop
            loop.call_soon(self._tick)
        return timer

    def advance(self, seconds: float) -> None:
        """Move the time on by hand, running every timer that falls due."""
        target = self._now + seconds
        while self._timers and self._timers[0].when <= target:
            self._run_next()
        self._now = max(self._now, target)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the clock from jumping while something real, like a thread, is at work."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def _run_next(self) -> None:
        timer = heappop(self._timers)
        if timer.callback is not None:
            self._now = max(self._now, timer.when)
            timer.callback()

    def _tick(self) -> None:
        """Jump if everybody waits; look again in the loop's next turn while timers are left."""
        loop = asyncio.get_running_loop()
        while self._timers and self._timers[0].callback is None:
            heappop(self._timers)
        if not self._timers:
            self._ticks_in = None
            return
        if self._holds:
            # Somebody waits for the real world: look again soon, without a busy loop.
            loop.call_later(0.001, self._tick)
            return
        # One idle turn is not enough: who waits for a task that has just ended, such as a
        # task group, is woken in the turn after.
        was_idle = self._is_idle
        self._is_idle = self._sees_idle(loop)
        try:
            if was_idle and self._is_idle:
                self._is_idle = False
                self._run_next()
        finally:  # a callback that raises must not stop the clock
            loop.call_soon(self._tick)

    def _sees_idle(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether every task is blocked, and ask each of them only where it is needed.

        A loop that has nothing to run next is idle. One that has is not, as a rule; but what
        runs in every turn, such as another clock, must not stop this one.
        """
        if not getattr(loop, "_ready", True):
            self._busy_turns = 0
            return True
        self._busy_turns += 1
        if self._busy_turns <= _BUSY_TURNS:
            return False
        if all(_is_blocked(task) for task in asyncio.all_tasks(loop)):
            return True
        self._busy_turns = 0
        return False


def _is_blocked(task: asyncio.Task[object]) -> bool:
    """Tell whether a task waits for something that has not happened yet.

    asyncio has no public word for it; anyio's own test tool reads the same attribute.
    """
    waits_for: asyncio.Future[object] | None = getattr(task, "_fut_waiter", None)
    return waits_for is not None and not waits_for.done()


class _MemoryStream:
    """Hand out a whole answer in pieces."""

    def __init__(self, response: Response) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._body = response.body

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(self._body), _CHUNK_BYTES):
            await checkpoint()
            yield self._body[start : start + _CHUNK_BYTES]


class MemoryTransport:
    """Carry requests to a function in this process, on a virtual clock.

    Args:
        handle: Answers one request; may sleep on `clock` and raise `TransportError`.
        clock: The time that both sides share.

    """

    def __init__(
        self,
        handle: Callable[[Request], Awaitable[Response]],
        clock: VirtualClock,
    ) -> None:
        """Hold on to both."""
        self._handle = handle
        self._clock = clock
        self._calls = OpenCalls()

    def now(self) -> float:
        """Return the virtual time in seconds."""
        return self._clock.now()

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task for virtual seconds.

        Raises:
            ConfigurationError: The transport is closed, or was closed meanwhile.

        """
        with self._calls.under_way():
            await self._clock.sleep(seconds)

    def hold(self) -> AbstractContextManager[None]:
        """Keep the clock from jumping while something real, like a thread, is at work."""
        return self._clock.hold()

    async def send(
        self,
        request: Request,
        *,
        timeout: float | None,
        deadline: float | None = None,
    ) -> Response:
        """Let the function answer, within virtual seconds.

        Raises:
            TransportError: Whatever the function raised.
            RequestTimeoutError: It took longer than `timeout`.
            ConfigurationError: The transport is closed, or was closed meanwhile.

        """
        with self._calls.under_way() as call:
            call.is_sent = True
            timeout = seconds_within(timeout, deadline, self.now())
            answer = await self._answer(request, timeout)
        if len(answer.body) > most_bytes(answer.status):
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
        self,
        request: Request,
        *,
        timeout: float | None,
    ) -> AsyncIterator[_MemoryStream]:
        """Let the function answer, then hand out its body in pieces."""
        with self._calls.under_way() as call:
            call.is_sent = True
            yield _MemoryStream(await self._answer(request, timeout))

    async def aclose(self) -> None:
        """End all that is under way; closing twice is fine."""
        self._calls.close()
