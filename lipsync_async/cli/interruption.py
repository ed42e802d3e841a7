"""Ctrl-C: the first ends a command in good order, and impatience does not break that."""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from lipsync_async._threads import SLICE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


def run_interruptibly(work: Callable[[], Awaitable[T]]) -> T:
    """Run async work to its end, or until Ctrl-C. Call it from the main thread.

    The first Ctrl-C cancels the work, which then closes what it has opened. The second is
    passed over: wrappers such as `timeout` deliver one key twice. The third kills.

    Raises:
        KeyboardInterrupt: It was interrupted, and everything is closed.

    """
    # Signals interrupt the main thread wherever it is: here, and never in the event loop.
    begun: Future[asyncio.Task[Any]] = Future()
    pressed: list[int] = []

    async def run() -> T:
        begun.set_result(own_task())
        return await work()

    def heed(number: int, _: object) -> None:
        signal.signal(signal.SIGINT, _pass_over)
        pressed.append(number)
        begun.add_done_callback(_cancel)

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as a shell sets it for background jobs
        signal.signal(signal.SIGINT, heed)
    try:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(anyio.run, run)
            while not running.done():
                wait([running], SLICE)  # a longer one may be deaf to signals
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
    return running.result()


def own_task() -> asyncio.Task[Any]:
    """Return the running task."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - there is one in every coroutine
    return task


def _cancel(begun: Future[asyncio.Task[Any]]) -> None:
    task = begun.result()
    with suppress(RuntimeError):  # the loop has just come to its end
        task.get_loop().call_soon_threadsafe(task.cancel)


def _pass_over(*_: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
