"""The door from blocking code into an event loop: one call, or one iteration, at a time.

Each process gets a loop thread of its own, so a forked child begins anew and leaves its
parent's loop alone.
"""

from __future__ import annotations

import os
import sys
import weakref
from contextlib import aclosing
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar

from lipsync_async._portal.calls import Call, current_call, result_of
from lipsync_async._portal.iteration import Opened, iterate
from lipsync_async._portal.loop_thread import LoopThread
from lipsync_async._portal.tracebacks import shorten
from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Generator,
        Iterator,
    )
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from types import FrameType

T = TypeVar("T")
ResultT = TypeVar("ResultT")


class Portal:
    """Let blocking code use async code; any number of threads may do so at once."""

    def __init__(self) -> None:
        # By process: a fork copies the mapping, and the child must not use the parent's entry.
        self._threads: dict[int, LoopThread] = {}
        weakref.finalize(self, _stop, self._threads)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, wait for it, and return or raise what it does.

        Whatever interrupts the wait cancels the coroutine and waits for its clean-up first.

        Raises:
            ConfigurationError: The client is closed, or was closed meanwhile; or this is
                the loop's own thread.

        """
        answer = Call(self._thread(), work, _user_frame()).begin()
        try:
            result: T = result_of(answer)
        except BaseException as error:
            shorten(error)
            raise
        else:
            return result
        finally:
            del answer  # a failed task holds its error, whose traceback holds this frame

    def open(
        self,
        manager: AbstractAsyncContextManager[AsyncIterator[T]],
    ) -> AbstractContextManager[Iterator[T]]:
        """Return a blocking context manager over the items of an async one."""
        return Opened(self._thread(), manager, _user_frame())

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Return a blocking generator over an async one; leaving it closes both."""
        return iterate(Opened(self._thread(), aclosing(items), _user_frame()))

    def close(self, farewell: Coroutine[Any, Any, None]) -> None:
        """Run a last coroutine, then end the thread; closing twice is fine.

        Calls that are under way in other threads end with an error.
        """
        thread = self._thread()
        if thread.is_stopped:
            farewell.close()
            return
        self.call(farewell)
        thread.stop()

    def _thread(self) -> LoopThread:
        process = os.getpid()
        # `setdefault` is atomic: of threads that begin at once all get the same.
        return self._threads.get(process) or self._threads.setdefault(process, LoopThread())


def at_caller(
    name: str,
    function: Callable[..., ResultT] | None,
) -> Callable[..., Awaitable[ResultT]] | None:
    """Let async code call a function in the thread that waits for it.

    Args:
        name: The parameter's name, for the error.
        function: The function; `None` stays `None`.

    Raises:
        ConfigurationError: It is a coroutine function, which nobody would await.

    """
    if function is None:
        return None
    if iscoroutinefunction(function):
        raise ConfigurationError(
            f"{name} is a coroutine function, which the blocking client cannot await. Pass a "
            "plain function, or use AsyncClient.",
        )
    told = function

    async def run_at_caller(*arguments: object) -> Any:
        return await current_call().run_at_caller(told, arguments)

    return run_at_caller


def _stop(threads: dict[int, LoopThread]) -> None:
    """Stop this process's thread; those that were inherited are their parents' business."""
    thread = threads.get(os.getpid())
    if thread is not None:
        thread.stop()


def _user_frame() -> FrameType:
    """Return the frame that called the verb that called the portal's method."""
    return sys._getframe(3)  # noqa: SLF001 - the public ways build a list of all frames
