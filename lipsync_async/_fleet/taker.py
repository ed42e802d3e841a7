"""Gives outcomes to whoever asks for them, and tells how far all are with each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from lipsync_async._fleet.outcomes import Outcome
from lipsync_async._rules.caller import call_back
from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lipsync_async._fleet.fleet import Fleet
    from lipsync_async._fleet.held import Held
    from lipsync_async._fleet.meter import Meter
    from lipsync_async._fleet.outcomes import Progress
    from lipsync_async._fleet.outlet import Outlet


class Taker(AsyncIterator[Outcome]):
    """Iterate over the outcomes of a fleet.

    This is no generator, because one that is interrupted is at its end for ever: here a
    step that is cancelled, or whose callback raises, loses nothing.

    Args:
        fleet: What they come from.
        outlet: Where they come out.
        meter: Counts them.
        on_progress: Called, and awaited if need be, with each.
        held: Where an outcome that is given out is held no more.

    """

    def __init__(
        self,
        fleet: Fleet,
        outlet: Outlet,
        meter: Meter,
        on_progress: Callable[[Progress], Awaitable[None] | None] | None,
        held: Held,
    ) -> None:
        self._fleet = fleet
        self._outlet = outlet
        self._meter = meter
        self._on_progress = on_progress
        self._held = held
        self._kept: deque[Outcome] = deque()
        self._loop = asyncio.get_running_loop()

    async def __anext__(self) -> Outcome:
        outcome = self._kept.popleft() if self._kept else await self._next()
        self._held.hand_over(outcome.index)
        return outcome

    async def take_all(self) -> list[Outcome]:
        """Return all outcomes as they have come; until the run has ended they stay held."""
        found: list[Outcome] = []
        # From Python 3.12 on, `suppress` would raise a copy of a group that a callback raises.
        try:
            while True:
                found.append(await self._next())
        except StopAsyncIteration:
            pass
        self._held.is_taken_whole = True
        return found

    async def _next(self) -> Outcome:
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError(
                "This run belongs to another event loop. Take its outcomes in the loop that "
                "run_many was entered in; its jobs go on, and no outcome is lost.",
            )
        outcome = await self._outlet.take()
        if outcome is None:
            raise StopAsyncIteration
        self._fleet.refresh()
        self._meter.count(outcome)
        try:
            await self._tell()
        except BaseException:
            self._kept.append(outcome)
            raise
        return outcome

    async def _tell(self) -> None:
        if self._on_progress is not None:
            fleet = self._fleet
            progress = self._meter.progress(
                running=fleet.running, total=fleet.total, ended_by=fleet.ended_by
            )
            await call_back(self._on_progress, progress)
