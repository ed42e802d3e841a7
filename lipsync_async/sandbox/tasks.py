"""Work that goes on between requests; none of it outlives the sandbox."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Tasks:
    """Start tasks and end them all.

    A task group would tie the sandbox's end to the task that began it, which test
    fixtures do not keep.
    """

    def __init__(self) -> None:
        """Start without tasks."""
        self._running: dict[asyncio.Task[None], anyio.CancelScope] = {}

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` run on its own."""
        scope = anyio.CancelScope()
        task = asyncio.create_task(_run(work, scope))
        self._running[task] = scope
        task.add_done_callback(self._running.pop)

    async def aclose(self) -> None:
        """Cancel what still runs and wait until it has cleaned up."""
        running = list(self._running)
        # Not the tasks' own `cancel`: it would not wait for the threads that they wait for,
        # which may be writing files where nobody expects one any more.
        for scope in self._running.values():
            scope.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _run(work: Coroutine[Any, Any, None], scope: anyio.CancelScope) -> None:
    with scope:
        await work
