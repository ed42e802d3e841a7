"""The way from blocking code into an event loop: one call, or one iteration, at a time.

Each process gets a loop thread of its own, so a forked child starts anew and leaves its
parent's loop alone.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import aclosing, suppress
from inspect import iscoroutinefunction
from queue import Empty
from typing import TYPE_CHECKING, Any, TypeVar, overload

from lipsync_async._callsite import CallSite
from lipsync_async._portal.blocking_call import BlockingCall, current_call, shorten
from lipsync_async._portal.blocking_iterator import BlockingIterator, BlockingOutcomes, iterate
from lipsync_async._portal.loop_thread import SHUTDOWN_TIMEOUT, LoopThread
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

    from lipsync_async._bulk.results import OutcomeIterator

T = TypeVar("T")
ResultT = TypeVar("ResultT")
OtherT = TypeVar("OtherT")


class Portal:
    """Access to async code for any number of blocking threads at once."""

    def __init__(self) -> None:
        # By process: a fork copies the mapping, and the child must not use the parent's entry.
        self._threads: dict[int, LoopThread] = {os.getpid(): LoopThread()}
        # Who closes first, and where the others wait for that.
        self._closings: dict[int, tuple[int, Mailbox[None]]] = {}
        weakref.finalize(self, _stop, self._threads)

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the loop, wait for it, and return or raise what it does.

        Whatever interrupts the wait cancels the coroutine and waits for its clean-up first.
        """
        call = BlockingCall(self._thread(), work, CallSite.of_caller())
        try:
            call.start()
            result: T = call.result()
            return result  # noqa: TRY300 - an interruption may come even here
        except BaseException as error:
            if not isinstance(error, Exception):
                call.cancel_and_wait(error)  # it may have come when the wait was over already
            shorten(error)
            raise
        finally:
            call.run_cleanups()
            del call  # it may hold its error, whose traceback holds this frame

    def open(
        self,
        manager: AbstractAsyncContextManager[AsyncIterator[T]],
    ) -> AbstractContextManager[Iterator[T]]:
        """Return a blocking context manager over the items of an async one."""
        return BlockingIterator(self, self._thread(), manager, CallSite.of_caller())

    def open_run(self, manager: AbstractAsyncContextManager[OutcomeIterator]) -> BlockingOutcomes:
        """Return a blocking context manager over the outcomes of a run."""
        return BlockingOutcomes(self, self._thread(), manager, CallSite.of_caller())

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Return a blocking generator over an async one; leaving it closes both."""
        return iterate(
            BlockingIterator(self, self._thread(), aclosing(items), CallSite.of_caller())
        )

    def close(self, aclose: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a last coroutine, then end the thread. Idempotent.

        Calls that are under way in other threads end with an error.
        """
        thread, closed = self._thread(), Mailbox[None]()
        thread.check_not_loop_thread()
        mine = (threading.get_ident(), closed)
        first, is_over = self._closings.setdefault(os.getpid(), mine)
        try:
            if is_over is closed:
                if not thread.is_stopped:
                    self.call(aclose)
            # Not for what a signal handler has interrupted in this very thread.
            elif first != threading.get_ident() or has_greenlets():
                with suppress(Empty):
                    is_over.get(SHUTDOWN_TIMEOUT)
                is_over.put(None)  # for others that wait
        finally:
            thread.stop()
            closed.put(None)

    def _thread(self) -> LoopThread:
        process = os.getpid()
        # `setdefault` is atomic: threads that begin at once all get the same.
        return self._threads.get(process) or self._threads.setdefault(process, LoopThread())


class SyncWrapper:
    """Base of the blocking objects: an async object, and the portal to it."""

    _portal: Portal
    _source: Any

    def _wrap(self, portal: Portal, source: Any) -> None:
        self._portal = portal
        self._source = source

    def __repr__(self) -> str:
        """Show what the async object shows, if it has a repr, under this one's name."""
        source = getattr(self, "_source", None)
        if "__repr__" not in vars(type(source)):
            return super().__repr__()
        shown = repr(source)
        return shown.replace(type(source).__name__, type(self).__name__, 1)


SyncWrapperT = TypeVar("SyncWrapperT", bound=SyncWrapper)


def wrapped(kind: type[SyncWrapperT], portal: Portal, source: Any) -> SyncWrapperT:
    """Return the wrapper of an async object that exists already."""
    wrapper = object.__new__(kind)
    wrapper._wrap(portal, source)
    return wrapper


@overload
def call_in_caller(
    name: str, function: Callable[..., ResultT]
) -> Callable[..., Awaitable[ResultT]]: ...


@overload
def call_in_caller(
    name: str, function: Callable[..., ResultT] | OtherT
) -> Callable[..., Awaitable[ResultT]] | OtherT: ...


def call_in_caller(
    name: str,
    function: Callable[..., ResultT] | OtherT,
) -> Callable[..., Awaitable[ResultT]] | OtherT:
    """Let async code call a function in the thread that waits for it."""
    if not callable(function):
        return function
    if iscoroutinefunction(function):
        raise ConfigurationError(
            f"{name} is a coroutine function, which the blocking client cannot await. Pass a "
            "plain function, or use AsyncClient.",
        )
    callback = function

    async def run_in_caller(*arguments: object) -> Any:
        return await current_call().run_in_caller(callback, arguments)

    return run_in_caller


def _stop(threads: dict[int, LoopThread]) -> None:
    """Stop this process's thread; those that were inherited are the parent's."""
    thread = threads.get(os.getpid())
    if thread is not None:
        thread.is_silent = not threading.main_thread().is_alive()
        thread.stop()
