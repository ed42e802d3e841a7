"""What a client has once for each event loop: it may be used by several in a row.

A loop that is closed without the ends of its tasks, and a process that was forked, leave
things behind to which nothing ever happens again; a new loop must not wait for them.
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
    """Keep one thing for each event loop.

    Args:
        make: Makes it, when it is first asked for.

    """

    def __init__(self, make: Callable[[], T]) -> None:
        """Start without any."""
        self._make = make
        self._process = 0
        self._by_loop: WeakKeyDictionary[object, T] = WeakKeyDictionary()

    def get(self) -> T:
        """Return the running loop's; in a forked child that goes on with it, a new one."""
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
    """Return what to raise in place of a cancellation that nobody has asked for.

    Args:
        error: What was caught, in the task in which it was raised.
        whose: What has raised it, for the message.

    Returns:
        An error that says so; `None`: it is no cancellation, or one to be obeyed.

    """
    task = asyncio.current_task()
    is_asked_for = task is not None and task.cancelling() > 0
    if is_asked_for or not isinstance(error, asyncio.CancelledError):
        return None
    return cancellation_error(whose)


def cancellation_error(whose: str) -> RuntimeError:
    """Return the error that a cancellation is which nobody has asked for."""
    return RuntimeError(
        f"{whose} raised CancelledError, though this was not cancelled. Catch it where a task or "
        "a future is awaited that somebody may cancel.",
    )
