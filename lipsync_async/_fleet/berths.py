"""The account's slots as a run takes them, in the creates that it has under way at once."""

from __future__ import annotations

from math import ceil, inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lipsync_async._account import SharedSlots
    from lipsync_async._exchange import Exchange
    from lipsync_async._rules.slots import Slot
    from lipsync_async._values.models import Generation
    from lipsync_async.errors import ConcurrencyLimitError


# Creates under way at once: the service's answer takes a part of a second, and a plan's
# slots (15 at most, contract section 5.2) must be filled together.
_MOST_CREATES = 32
# With a limit, what is allowed in so many seconds, for no answer takes longer. More would
# only wait, and those that wait are sent even when nothing more was to be begun.
_LONGEST_ANSWER = 4.0


class Berths:
    """Take slots of the account for the jobs of runs, within a client's limits.

    Args:
        exchange: The client's.

    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._most = exchange.limits.concurrent_generations
        self.creates_at_once: int = _creates_at_once(exchange.limits.creates_per_minute)

    @property
    def slots(self) -> SharedSlots:
        """The account's."""
        return self._exchange.account.slots

    @property
    def _now(self) -> float:
        return self._exchange.transport.now()

    def take(self, key: str | None, wake: Callable[[], None]) -> Slot | None:
        """Take a slot for a create, if it may be sent now.

        Args:
            key: The create's Idempotency-Key; `None`: not known yet.
            wake: The function of the one that waits for it.

        """
        return self.slots.take(self._now, self._most, key, wake=wake)

    def take_anyhow(self, key: str | None) -> Slot:
        """Take a slot for a create that is sent in any case."""
        return self.slots.take_anyhow(self._most, key)

    def occupy(self, job: str) -> Slot:
        """Take a slot for a job that runs already, and hold it."""
        return self.slots.occupied(job, self._most, self._now)

    def accepted(self, slot: Slot, job: Generation) -> Slot:
        """Note that a create has become a job; hold its slot, and return it."""
        return self.slots.accepted(slot, job, self._now, is_held=True)

    def refused(self, slot: Slot, error: ConcurrencyLimitError, patience: float | None) -> None:
        """Learn from a refusal of a create that goes on asking for `patience` seconds."""
        self.slots.refused(slot, self._now, error, most=self._most, patience=patience)

    def release(self, slot: Slot) -> None:
        """Hold a slot no more: it is free if its job has ended, or never was."""
        self.slots.release(slot)

    def next_try(self) -> float:
        """Return when a slot may be free; infinity: when something has happened."""
        moment = self.slots.next_try(self._now, self._most)
        return inf if moment is None else moment

    def words(self) -> str:
        """Say how many slots there are, for the log."""
        return self.slots.words(self._most)

    def awaited(self, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Have a function called when something has changed."""
        return self.slots.awaited(wake, self._most)


def _creates_at_once(per_minute: int | None) -> int:
    if per_minute is None:
        return _MOST_CREATES
    return min(_MOST_CREATES, max(2, ceil(per_minute / 60 * _LONGEST_ANSWER)))
