"""Work between requests ends with the sandbox, threads included."""

import threading

import anyio
import anyio.from_thread
import anyio.to_thread

from lipsync_async.sandbox.tasks import Tasks


async def test_closing_waits_for_threads() -> None:
    """A thread that is still writing is waited for, so its folder can be removed."""
    tasks, begun, let_go, seen = Tasks(), anyio.Event(), threading.Event(), []

    def write() -> None:
        anyio.from_thread.run_sync(begun.set)
        let_go.wait()

    async def close() -> None:
        await tasks.aclose()
        seen.append("closed")

    tasks.start(anyio.to_thread.run_sync(write))
    await begun.wait()
    async with anyio.create_task_group() as group:
        group.start_soon(close)
        await anyio.wait_all_tasks_blocked()
        assert seen == []
        let_go.set()
    assert seen == ["closed"]
