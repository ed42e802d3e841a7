"""The sandbox's time: real, faster than real, or virtual; and what a client is told of it.

Jobs, limits and the lifetimes of links go by the sandbox's clock. A client that is told to
wait waits by its own; so whatever is said about waiting is said in real seconds. It is
rounded up, since a client that comes back too early is refused once more.

A virtual clock moves only when every task of the event loop stays blocked: then it jumps to
the next timer. So hours of jobs run in milliseconds, in the order in which they would have
run, on an ordinary asyncio loop.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

import anyio
import attrs
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

_BUSY_TURNS = 10  # with something to run, before every task is asked: that takes long


@attrs.define(slots=True, eq=False)
class Timer:
    """One callback that is due at a time."""

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


class RealClock:
    """The computer's clock, `speed` times as fast; own timers let `advance` run them early."""

    def __init__(self, speed: float = 1.0) -> None:
        """Start at zero; the event loop is needed only by the first timer."""
        if speed <= 0:
            raise ValueError(f"speed must be above 0, not {speed}.")
        self._speed = speed
        self._origin = time.monotonic()
        self._skipped = 0.0
        self._timers: list[Timer] = []
        self._ties = count()
        self._alarm: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Return the sandbox seconds since this clock was made."""
        return (time.monotonic() - self._origin) * self._speed + self._skipped

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task for sandbox seconds."""
        await _sleep(self, seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` in the event loop when `seconds` have passed."""
        timer = Timer(self.now() + seconds, next(self._ties), callback)
        heappush(self._timers, timer)
        if self._timers[0] is timer:  # most timers are due after others: the alarm stays
            self._set_alarm()
        return timer

    def advance(self, seconds: float) -> None:
        """Move the time on by hand, running every timer that falls due."""
        self._skipped += seconds
        self._ring()

    def hold(self) -> AbstractContextManager[None]:
        """Do nothing: real work takes real time here."""
        return nullcontext()

    def close(self) -> None:
        """Forget every timer."""
        self._timers.clear()
        self._set_alarm()

    def _ring(self) -> None:
        try:
            while self._timers and self._timers[0].when <= self.now():
                callback = heappop(self._timers).callback
                if callback is not None:
                    callback()
        finally:  # a callback that raises must not stop the clock
            self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._timers:
            seconds = (self._timers[0].when - self.now()) / self._speed
            self._alarm = asyncio.get_running_loop().call_later(max(seconds, 0.0), self._ring)


class VirtualClock:
    """Clock that jumps to the next timer when every task of the event loop waits.

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
        await _sleep(self, seconds)

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
        """Jump if every task waits; check again in the next turn while timers are left."""
        loop = asyncio.get_running_loop()
        while self._timers and self._timers[0].callback is None:
            heappop(self._timers)
        if not self._timers:
            self._ticks_in = None
            return
        if self._holds:
            # A task waits for the real world: check again soon, without a busy loop.
            loop.call_later(0.001, self._tick)
            return
        # One idle turn is not enough: a task that waits for one that has just ended, such as
        # a task group, is woken in the turn after.
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


Clock = RealClock | VirtualClock


async def _sleep(clock: Clock, seconds: float) -> None:
    due = anyio.Event()
    timer = clock.call_later(seconds, due.set)
    try:
        await due.wait()
    finally:
        timer.cancel()


@attrs.frozen(slots=True)
class Calendar:
    """A clock's seconds as dates, those of a client's calendar.

    A client compares a date with a calendar that runs at its usual speed: a fast clock's own
    dates would soon lie in the future, where no webhook's signature is good. So do those of a
    real clock that was moved on by hand, for receivers outside.
    """

    clock: Clock
    _epoch: float
    speed: float = 1.0

    def unix(self) -> float:
        """Return the present moment as Unix time."""
        return self.unix_at(self.clock.now())

    def unix_at(self, seconds: float) -> float:
        """Return a moment of the clock as Unix time."""
        return self._epoch + seconds / self.speed

    def timestamp(self) -> str:
        """Return the present moment as the service writes it: ISO 8601, milliseconds, Z."""
        return self.timestamp_at(self.clock.now())

    def timestamp_at(self, seconds: float) -> str:
        """Return a moment of the clock in that form."""
        moment = datetime.fromtimestamp(self.unix_at(seconds), UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_MILLISECONDS = 1000
_NOISE_DIGITS = 6  # of a product of floats; without this, 0.07 s would become 71 ms


def real_seconds(seconds: float, speed: float) -> float:
    """Return sandbox seconds as real ones, for a JSON field, which takes fractions."""
    milliseconds = round(seconds / speed * _MILLISECONDS, _NOISE_DIGITS)
    return math.ceil(milliseconds) / _MILLISECONDS


def retry_after(seconds: float, speed: float) -> str:
    """Return sandbox seconds as the value of a `Retry-After` header.

    The header takes whole seconds only. One that would be 0 is 1: clients without the
    header fall back to pauses of their own, which are longer still.

    Source: RFC 9110, section 10.2.3.
    """
    return str(max(math.ceil(real_seconds(seconds, speed)), 1))
