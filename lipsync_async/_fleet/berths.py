"""The slots of an account, shared by all fleets of a client."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lipsync_async._rules.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Berths:
    """Keep the slots, and tell those who wait for one when something has changed.

    Args:
        limit: Generations that may run at once; `None`: learn it.

    """

    def __init__(self, limit: int | None) -> None:
        self.slots = Slots(limit)
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
