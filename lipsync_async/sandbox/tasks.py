"""Work that goes on between requests; none of it outlives the sandbox."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import anyio
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Tasks:
    """Start tasks and end them all.

    A task group would tie the sandbox's end to the task that began it, which test
    fixtures do not keep.
    """

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[None], anyio.CancelScope] = {}

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` run on its own; may be called from a timer of the event loop."""
        task = asyncio.create_task(self._run(work))
        task.add_done_callback(lambda ended: self._running.pop(ended, None))

    async def aclose(self) -> None:
        """Cancel what still runs and wait until it has cleaned up."""
        await checkpoint()  # a task that has just been started has no scope yet
        running = list(self._running)
        # Not the tasks' own `cancel`: it would not wait for the threads that they wait for,
        # which may be writing files where none is expected any more.
        for scope in self._running.values():
            scope.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        # Not in `start`: under `asyncio.run`, anyio makes no scope outside of a task.
        with anyio.CancelScope() as scope:
            self._running[cast("asyncio.Task[None]", asyncio.current_task())] = scope
            await work
