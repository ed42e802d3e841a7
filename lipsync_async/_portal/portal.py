"""The door from blocking code into an event loop: one call, or one iteration, at a time.

Each process gets a loop thread of its own, so a forked child begins anew and leaves its
parent's loop alone.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from contextlib import aclosing, suppress
from inspect import iscoroutinefunction
from queue import Empty
from typing import TYPE_CHECKING, Any, TypeVar

from lipsync_async._callsite import Place
from lipsync_async._portal.blocking_call import Call, current_call, shorten
from lipsync_async._portal.blocking_iterator import Opened, iterate
from lipsync_async._portal.loop_thread import FAREWELL_SECONDS, LoopThread, prepare
from lipsync_async._threads import Mailbox, has_greenlets
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


T = TypeVar("T")
ResultT = TypeVar("ResultT")


class Portal:
    """Let blocking code use async code; any number of threads may do so at once."""

    def __init__(self) -> None:
        prepare()
        # By process: a fork copies the mapping, and the child must not use the parent's entry.
        self._threads: dict[int, LoopThread] = {}
        self._closings: dict[int, _Closing] = {}
        weakref.finalize(self, _stop, self._threads)

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the loop, wait for it, and return or raise what it does.

        Whatever interrupts the wait cancels the coroutine and waits for its clean-up first.

        Raises:
            ConfigurationError: The client is closed, or was closed meanwhile; or this is
                the loop's own thread.

        """
        call = Call(self._thread(), work, _user_place())
        try:
            call.begin()
            result: T = call.result()
            return result  # noqa: TRY300 - an interruption may come even here
        except BaseException as error:
            if not isinstance(error, Exception):
                call.leave(error)  # it may have come when the wait was over already
            shorten(error)
            raise
        finally:
            call.let_go()
            del call  # it may hold its error, whose traceback holds this frame

    def open(
        self,
        manager: AbstractAsyncContextManager[AsyncIterator[T]],
    ) -> AbstractContextManager[Iterator[T]]:
        """Return a blocking context manager over the items of an async one."""
        return Opened(self, self._thread(), manager, _user_place())

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Return a blocking generator over an async one; leaving it closes both."""
        return iterate(Opened(self, self._thread(), aclosing(items), _user_place()))

    def close(self, farewell: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a last coroutine, then end the thread; closing twice is fine.

        Calls that are under way in other threads end with an error.
        """
        thread, mine = self._thread(), _Closing()
        thread.refuse_itself()
        first = self._closings.setdefault(os.getpid(), mine)
        try:
            if first is not mine:
                first.wait()
            elif not thread.is_stopped:
                self.call(farewell)
        finally:
            thread.stop()
            mine.end()

    def _thread(self) -> LoopThread:
        process = os.getpid()
        # `setdefault` is atomic: of threads that begin at once all get the same.
        return self._threads.get(process) or self._threads.setdefault(process, LoopThread())


class _Closing:
    """Let those who close as well wait for the first."""

    def __init__(self) -> None:
        self._over: Mailbox[None] = Mailbox()
        self._thread = threading.get_ident()

    def end(self) -> None:
        """Let those that wait go on."""
        self._over.put(None)

    def wait(self) -> None:
        """Wait, but not for what a signal handler has interrupted in this very thread."""
        if self._thread != threading.get_ident() or has_greenlets():
            with suppress(Empty):
                self._over.get(FAREWELL_SECONDS)
            self._over.put(None)  # for others that wait


def at_caller(
    name: str,
    function: Callable[..., ResultT] | None,
) -> Callable[..., Awaitable[ResultT]] | None:
    """Let async code call a function in the thread that waits for it.

    Args:
        name: The parameter's name, for the error.
        function: The function; `None`, and what is no function, stays what it is.

    Raises:
        ConfigurationError: It is a coroutine function, which nobody would await.

    """
    if function is None or not callable(function):  # the async code refuses what is neither
        return function
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
        thread.is_silent = not threading.main_thread().is_alive()
        thread.stop()


def _user_place() -> Place:
    """Return the line that called the verb that called the portal's method.

    The verb itself may be called by no Python code at all.
    """
    frame = sys._getframe(2)  # noqa: SLF001 - the public ways build a list of all frames
    return Place.of(frame.f_back or frame)


class Mirror:
    """Hold the async object and the way to it."""

    _portal: Portal
    _source: Any

    def _reflect(self, portal: Portal, source: Any) -> None:
        self._portal = portal
        self._source = source

    def __repr__(self) -> str:
        """Show what the async object shows, if it shows anything, under this one's name."""
        source = getattr(self, "_source", None)
        if "__repr__" not in vars(type(source)):
            return super().__repr__()
        shown = repr(source)
        return shown.replace(type(source).__name__, type(self).__name__, 1)


MirrorT = TypeVar("MirrorT", bound=Mirror)


def reflected(kind: type[MirrorT], portal: Portal, source: Any) -> MirrorT:
    """Return the reflection of an async object, without building another one first."""
    mirror = object.__new__(kind)
    mirror._reflect(portal, source)
    return mirror
