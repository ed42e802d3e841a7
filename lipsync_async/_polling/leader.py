"""One of those who wait works for all; nobody is hired for it.

There is no background task that could be left over, crash unseen or outlive its client.
The first task that waits leads: it does the work that all wait for. When its own wait is
over, or it is cancelled, the lead goes to the one who came last, since that one will
probably stay longest and the lead changes hands least often.
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
    """Stand for one task that waits.

    Args:
        is_over: Tells whether it has nothing to wait for any more.

    """

    is_over: Callable[[], bool]
    wake_up: Callable[[], object] | None = None

    def wake(self) -> None:
        """Let the task go if its wait is over; otherwise it is not disturbed."""
        if self.wake_up is not None and self.is_over():
            self.wake_up()


class LeaderFollower:
    """Choose the one that works."""

    def __init__(self) -> None:
        """Start without anybody."""
        self._leader: Waiter | None = None
        self._followers: dict[Waiter, anyio.Event] = {}

    async def wait_or_lead(self, attendant: Waiter, work: Callable[[], Awaitable[None]]) -> None:
        """Wait until the attendant's wait is over, and work meanwhile if it is its turn.

        Args:
            attendant: The task's own; `wake` it when something has happened to it.
            work: Works for all until it is cancelled. What it raises is the attendant's.

        """
        while not attendant.is_over():
            if self._leader is None:
                await self._lead(attendant, work)
            else:
                await self._follow(attendant)

    def wake_all(self) -> None:
        """Let everybody go whose wait is over."""
        for attendant in [*self._followers, *filter(None, [self._leader])]:
            attendant.wake()

    async def _lead(self, attendant: Waiter, work: Callable[[], Awaitable[None]]) -> None:
        self._leader = attendant
        try:
            with anyio.CancelScope() as scope:
                attendant.wake_up = scope.cancel
                await work()
        finally:
            attendant.wake_up = self._leader = None
            self._elect()

    async def _follow(self, attendant: Waiter) -> None:
        called = self._followers[attendant] = anyio.Event()
        attendant.wake_up = called.set
        try:
            await called.wait()
        finally:
            attendant.wake_up = None
            del self._followers[attendant]
            # Who was called to lead may leave instead: cancelled, or not in need any more.
            if self._leader is None:
                self._elect()

    def _elect(self) -> None:
        """Call the one who came last; it leads, or calls another when it leaves."""
        for called in reversed(self._followers.values()):
            called.set()
            return
