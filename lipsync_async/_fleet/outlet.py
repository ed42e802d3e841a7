"""Hands outcomes to whoever iterates over them, and holds the fleet back if he is slow."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from lipsync_async._fleet.bell import Bell

if TYPE_CHECKING:
    from lipsync_async._fleet.outcomes import Outcome

# Outcomes that may wait to be taken before no more jobs are begun.
_MOST_WAITING = 1000


class Outlet:
    """Keep outcomes until they are taken.

    Args:
        is_ordered: Whether they are given out in the order of the input.

    """

    def __init__(self, *, is_ordered: bool) -> None:
        self._is_ordered = is_ordered
        self._early: dict[int, Outcome] = {}
        self._next = 0
        self._ready: deque[Outcome] = deque()
        self._is_closed = False
        self._error: BaseException | None = None
        self._changed = Bell()

    @property
    def is_full(self) -> bool:
        """Whether so many wait that it is time to wait for their taker."""
        return len(self._ready) + len(self._early) >= _MOST_WAITING

    def put(self, outcome: Outcome) -> None:
        """Give an outcome out, now or when its turn has come."""
        if not self._is_ordered:
            self._ready.append(outcome)
        else:
            self._early[outcome.index] = outcome
            while self._next in self._early:
                self._ready.append(self._early.pop(self._next))
                self._next += 1
        self._changed.ring()

    def close(self, error: BaseException | None = None) -> None:
        """Say that nothing more will come, and why, if that is an error; the first word counts.

        What has waited for a turn that never came is given out now.
        """
        self._ready.extend(self._early[index] for index in sorted(self._early))
        self._early.clear()
        if not self._is_closed:
            self._is_closed, self._error = True, error
        self._changed.ring()

    async def take(self) -> Outcome | None:
        """Wait for an outcome; `None`: there are no more.

        Raises:
            Exception: What ended the fleet.

        """
        while not self._ready:
            if self._is_closed:
                if self._error is not None:
                    raise self._error
                return None
            await self._changed.heard()
        return self._ready.popleft()
