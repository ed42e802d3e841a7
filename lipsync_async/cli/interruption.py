"""Ctrl-C: the first ends a command in good order, and impatience does not break that."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

T = TypeVar("T")


def run_interruptibly(work: Callable[[], Awaitable[T]]) -> T:
    """Run async work to its end, or until Ctrl-C.

    The first Ctrl-C cancels the work, which then closes what it has opened. The second is
    passed over: wrappers such as `timeout` deliver one key twice. The third kills.

    Raises:
        KeyboardInterrupt: It was interrupted, and everything is closed.

    """
    before = signal.getsignal(signal.SIGINT)
    try:
        return anyio.run(_heeding, work)
    finally:
        signal.signal(signal.SIGINT, before)


async def _heeding(work: Callable[[], Awaitable[T]]) -> T:
    # That of asyncio cancels the main task when it is called first, and raises wherever the
    # program is when it is called again.
    first = signal.getsignal(signal.SIGINT)
    if callable(first):  # a shell may have its background jobs ignore Ctrl-C
        signal.signal(signal.SIGINT, partial(_heed, first))
    return await work()


def _heed(first: Callable[[int, FrameType | None], object], *facts: Any) -> None:
    signal.signal(signal.SIGINT, _pass_over)
    first(*facts)


def _pass_over(*_: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
