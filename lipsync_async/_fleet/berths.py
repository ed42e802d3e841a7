"""The slots of an account, shared by all fleets of a client."""

from __future__ import annotations

from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING

from lipsync_async._rules.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lipsync_async._values.policies import Limits


# Creates under way at once: the service's answer takes a part of a second, and a plan's
# slots (15 at most, contract section 5.2) must be filled together.
_MOST_CREATES = 32
# With a limit, what is allowed in so many seconds, for no answer takes longer. More would
# only wait, and those that wait are sent even when nothing more was to be begun.
_LONGEST_ANSWER = 4.0


class Berths:
    """Keep the slots, and tell those who wait for one when something has changed.

    Args:
        limits: What the account allows.

    """

    def __init__(self, limits: Limits) -> None:
        self.slots = Slots(limits.concurrent_generations)
        self.creates_at_once: int = _creates_at_once(limits.creates_per_minute)
        self._waiting: list[Callable[[], None]] = []

    @contextmanager
    def awaited(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have somebody told of changes, in the order in which they came."""
        self._waiting.append(wake)
        try:
            yield
        finally:
            self._waiting.remove(wake)

    def stir(self) -> None:
        """Tell all: a slot may be free, or known better."""
        for wake in self._waiting:
            wake()


def _creates_at_once(per_minute: int | None) -> int:
    if per_minute is None:
        return _MOST_CREATES
    return min(_MOST_CREATES, max(2, ceil(per_minute / 60 * _LONGEST_ANSWER)))
