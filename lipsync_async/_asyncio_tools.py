"""Values that belong to one event loop, and cancellations that were not asked for.

A client may be used by several loops in a row. Locks and events of a loop that was closed,
or of the process that this one was forked from, are never released; a new loop must not wait
for them.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import WeakKeyDictionary

from anyio.lowlevel import current_token

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")


class LoopLocal(Generic[T]):
    """One value for each event loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._process = 0
        self._by_loop: WeakKeyDictionary[object, T] = WeakKeyDictionary()

    def get(self) -> T:
        """Return the running loop's value; a new one in a forked child that goes on with it."""
        # Asking anyio takes ten times as long, and this is done for each request.
        loop = asyncio._get_running_loop() or current_token().native_token  # noqa: SLF001
        if self._process != (process := os.getpid()):
            self._process = process
            self._by_loop = WeakKeyDictionary()
        found = self._by_loop.get(loop)
        if found is None:
            found = self._by_loop[loop] = self._make()
        return found


def unexpected_cancellation(error: BaseException, whose: str) -> Exception | None:
    """Return the error that replaces a cancellation which was not asked for, or `None`.

    A task that awaits a cancelled task gets its `CancelledError`. A task group takes that for
    its own cancellation, and ends without an error.
    """
    task = asyncio.current_task()
    is_asked_for = task is not None and task.cancelling() > 0
    if is_asked_for or not isinstance(error, asyncio.CancelledError):
        return None
    return cancellation_error(whose)


def cancellation_error(whose: str) -> RuntimeError:
    """Return the error that replaces an unexpected cancellation."""
    return RuntimeError(
        f"{whose} raised CancelledError, though this was not cancelled. Catch it where a task or "
        "a future is awaited that may be cancelled.",
    )
