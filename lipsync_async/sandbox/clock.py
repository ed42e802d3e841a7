"""The sandbox's time: real, faster than real, or virtual; and what a client is told of it.

Jobs, limits and the lifetimes of links go by the sandbox's clock. A client that is told to
wait waits by its own; so whatever is said about waiting is said in real seconds. It is
rounded up, since a client that comes back too early is refused once more.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

import anyio
import attrs

from lipsync_async._clock import Timer, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


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
        due = anyio.Event()
        timer = self.call_later(seconds, due.set)
        try:
            await due.wait()
        finally:
            timer.cancel()

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


Clock = RealClock | VirtualClock


@attrs.frozen(slots=True)
class Calendar:
    """A clock's seconds as dates, those of a client's calendar.

    A client compares a date with a calendar that runs at its usual speed: a fast clock's own
    dates would soon lie in the future, where no webhook's signature is good. So do those of a
    real clock that was moved on by hand, for receivers outside.
    """

    _clock: Clock
    _epoch: float
    _speed: float = 1.0

    def unix(self) -> float:
        """Return the present moment as Unix time."""
        return self._epoch + self._clock.now() / self._speed

    def timestamp(self) -> str:
        """Return the present moment as the service writes it: ISO 8601, milliseconds, Z."""
        moment = datetime.fromtimestamp(self.unix(), UTC)
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
