"""Leader/followers: one of the waiting tasks polls for all; there is no background task.

So nothing can be left over, crash unseen or outlive its client. The first task that waits
leads: it does the work that all wait for. When its own wait is over, or it is cancelled, the
newest follower becomes the leader, because it will probably stay longest, and the lead
changes least often.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable


@attrs.define(slots=True, eq=False)
class Waiter:
    """One task that waits."""

    is_over: Callable[[], bool]
    wake_up: Callable[[], object] | None = None

    def wake(self) -> None:
        """Let the task go if its wait is over; otherwise it is not disturbed."""
        if self.wake_up is not None and self.is_over():
            self.wake_up()


class LeaderFollower:
    """Choice of the one waiting task that works for all."""

    def __init__(self) -> None:
        self._leader: Waiter | None = None
        self._followers: dict[Waiter, anyio.Event] = {}

    async def wait_or_lead(self, waiter: Waiter, work: Callable[[], Awaitable[None]]) -> None:
        """Wait until the waiter's wait is over, and work meanwhile while it leads."""
        while not waiter.is_over():
            if self._leader is None:
                await self._lead(waiter, work)
            else:
                await self._follow(waiter)

    async def _lead(self, waiter: Waiter, work: Callable[[], Awaitable[None]]) -> None:
        self._leader = waiter
        try:
            with anyio.CancelScope() as scope:
                waiter.wake_up = scope.cancel
                await work()
        finally:
            waiter.wake_up = self._leader = None
            self._elect()

    async def _follow(self, waiter: Waiter) -> None:
        called = self._followers[waiter] = anyio.Event()
        waiter.wake_up = called.set
        try:
            await called.wait()
        finally:
            waiter.wake_up = None
            del self._followers[waiter]
            # A follower that was called to lead may leave instead: cancelled, or done.
            if self._leader is None:
                self._elect()

    def _elect(self) -> None:
        """Call the newest follower; it leads, or calls another when it leaves."""
        for called in reversed(self._followers.values()):
            called.set()
            return
