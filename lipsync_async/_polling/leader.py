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
class Attendant:
    """Stand for one task that waits.

    Args:
        is_over: Tells whether it has nothing to wait for any more.

    """

    is_over: Callable[[], bool]
    rouse: Callable[[], object] | None = None

    def wake(self) -> None:
        """Let the task go if its wait is over; otherwise it is not disturbed."""
        if self.rouse is not None and self.is_over():
            self.rouse()


class Shift:
    """Choose the one that works."""

    def __init__(self) -> None:
        """Start without anybody."""
        self._leader: Attendant | None = None
        self._standing_by: dict[Attendant, anyio.Event] = {}

    async def attend(self, attendant: Attendant, work: Callable[[], Awaitable[None]]) -> None:
        """Wait until the attendant's wait is over, and work meanwhile if it is its turn.

        Args:
            attendant: The task's own; `wake` it when something has happened to it.
            work: Works for all until it is cancelled. What it raises is the attendant's.

        """
        while not attendant.is_over():
            if self._leader is None:
                await self._lead(attendant, work)
            else:
                await self._stand_by(attendant)

    def wake_all(self) -> None:
        """Let everybody go whose wait is over."""
        for attendant in [*self._standing_by, *filter(None, [self._leader])]:
            attendant.wake()

    async def _lead(self, attendant: Attendant, work: Callable[[], Awaitable[None]]) -> None:
        self._leader = attendant
        try:
            with anyio.CancelScope() as scope:
                attendant.rouse = scope.cancel
                await work()
        finally:
            attendant.rouse = self._leader = None
            self._call_next()

    async def _stand_by(self, attendant: Attendant) -> None:
        called = self._standing_by[attendant] = anyio.Event()
        attendant.rouse = called.set
        try:
            await called.wait()
        finally:
            attendant.rouse = None
            del self._standing_by[attendant]
            # Who was called to lead may leave instead: cancelled, or not in need any more.
            if self._leader is None:
                self._call_next()

    def _call_next(self) -> None:
        """Call the one who came last; it leads, or calls another when it leaves."""
        for called in reversed(self._standing_by.values()):
            called.set()
            return
