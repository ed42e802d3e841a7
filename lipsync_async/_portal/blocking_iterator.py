"""Iterations that cross the portal: async items for a blocking caller, and its input for the loop.

A cancel scope must be left by the task that entered it, so successive calls cannot each
drive the async iterator. One task enters it, takes each step and leaves it. Nothing runs
ahead of the demand: what is not asked for is not fetched.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sized
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from lipsync_async._bulk.results import Outcome
from lipsync_async._portal.blocking_call import (
    BlockingCall,
    CallState,
    StepResult,
    current_call,
    shorten,
)
from lipsync_async._threads import may_wait
from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self

    from lipsync_async._bulk.results import OutcomeIterator, Progress
    from lipsync_async._callsite import CallSite
    from lipsync_async._portal.loop_thread import LoopThread

T = TypeVar("T")

# What may be asked for, besides an exception that is to be raised inside.
_NEXT, _STOP = object(), object()
_END = object()


class BlockingIterator(Generic[T]):
    """Async context manager that is kept entered, and whose items are taken one by one."""

    def __init__(
        self,
        owner: object,
        thread: LoopThread,
        manager: AbstractAsyncContextManager[AsyncIterator[T]],
        call_site: CallSite,
    ) -> None:
        self._owner = owner
        self._demands: asyncio.Queue[object] = asyncio.Queue()
        self._stepping = threading.Lock()
        self._is_entered = False
        self._is_left = False
        self._call = BlockingCall(thread, partial(_serve, manager, self._demands), call_site)

    def __enter__(self) -> Self:
        self._enter()
        return self

    def _enter(self) -> Any:
        """Enter the async context manager, and return what it yields."""
        if self._is_entered:
            raise ConfigurationError("This block was entered before. Ask for a new one.")
        self._is_entered = True
        return self._outcome(self._call.start())

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if not self._is_entered:
            raise ConfigurationError("Enter it first: `with ... as items:`, then iterate.")
        if self._is_left or self._call.state is CallState.ABANDONED:
            raise StopIteration
        if self._call.has_ended:  # only by a close of the client
            self._outcome(None)
        if not self._stepping.acquire(blocking=False):
            raise ValueError("this iteration is being asked for its next item already")
        try:
            answer = self._call.request(self._demands.put_nowait, _NEXT)
        finally:
            self._stepping.release()
        item: T = self._outcome(answer)
        return item

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        try:
            self._run_cleanups()
            return self._leave(error, traceback)
        except BaseException as interruption:
            if not isinstance(interruption, Exception):
                self._call.cancel_and_wait(interruption)
            raise
        finally:
            self._run_cleanups()  # the input may have been begun only just now
            self._is_left = True

    def __del__(self) -> None:
        call = getattr(self, "_call", None)  # an interruption may have come before it was made
        if call is not None and self._is_entered and call.state < CallState.DONE:
            self.request_stop()

    def request_stop(self) -> None:
        """Ask for the end without waiting for it."""
        self._is_left = True
        with suppress(ConfigurationError):
            self._call.thread.submit(self._demands.put_nowait, _STOP)

    def _run_cleanups(self) -> None:
        if not self._call.thread.is_current:
            self._call.run_cleanups()

    def _leave(self, error: BaseException | None, traceback: TracebackType | None) -> bool:
        """End the iteration and wait for that; return whether `error` was swallowed inside."""
        call = self._call
        if self._is_left or call.state >= CallState.DONE or call.thread.in_other_process:
            return False
        if call.thread.is_current or self._stepping.locked() or not may_wait():
            # The garbage collector runs this in the loop, or another thread waits here.
            self.request_stop()
            return False
        if error is None or isinstance(error, (GeneratorExit, StopIteration)):
            # The latter two cannot be raised in a coroutine.
            self._demand_last(_STOP)
            return False
        if not isinstance(error, Exception):
            call.cancel_and_wait(error)
            return False
        try:
            return self._demand_last(error)
        except Exception as raised:
            if raised is not error:
                raise
            error.with_traceback(traceback)  # without its way through the loop
            return False

    def _demand_last(self, demand: object) -> bool:
        """Make a last demand; return whether it was met, and not made of a closed client."""
        try:
            answer = self._call.request(self._demands.put_nowait, demand)
        except ConfigurationError:  # pragma: no cover - only if the client is closed just now
            return False
        self._outcome(answer)
        return True

    def _outcome(self, answer: StepResult | None) -> Any:
        """Return or raise what an answer stands for, with a short traceback."""
        try:
            return self._call.result() if answer is None else answer.result()
        except StopIteration:
            raise
        except BaseException as error:
            shorten(error)
            raise
        finally:
            del answer  # it may hold its error, whose traceback holds this frame


class BlockingOutcomes(BlockingIterator[Outcome]):
    """Iterator over a run's outcomes for a blocking caller."""

    _outcomes: OutcomeIterator | None = None

    def __enter__(self) -> Self:
        self._outcomes = self._enter()
        return self

    def progress(self) -> Progress:
        """Return how far the run is: outcomes are counted when they are taken."""
        if self._outcomes is None:
            raise ConfigurationError("Enter it first: `with ... as outcomes:`, then ask.")
        return self._outcomes.progress()


async def _serve(
    manager: AbstractAsyncContextManager[AsyncIterator[Any]],
    demands: asyncio.Queue[object],
) -> None:
    send = current_call().send
    async with manager as items:
        send(StepResult(items))
        while (demand := await demands.get()) is not _STOP:
            if isinstance(demand, BaseException):
                raise demand
            try:
                step = StepResult(await anext(items))
            except StopAsyncIteration:
                step = StepResult(is_last=True)
            except Exception as error:  # noqa: BLE001 - it is raised again, at the caller
                step = StepResult(error=error)
            send(step)


def iterate(iterator: BlockingIterator[T]) -> Generator[T, None, None]:
    """Yield the items; leaving the generator leaves the context manager."""
    with iterator as items:
        try:
            yield from items
        except GeneratorExit:
            # Often raised by the garbage collector, which drops what a generator raises then.
            # A wait here could lose a Ctrl-C; so the loop is told to close, and closes alone.
            iterator.request_stop()
            raise


def iterate_in_caller(items: Iterable[T]) -> Iterable[T] | AsyncIterator[T]:
    """Let async code draw items in the thread that waits for it.

    A generator may be bound to that thread, so it is also let go there. While the thread does
    something else, nothing is drawn; once it leaves, nothing more is.
    """
    # A list runs no code of the user's, and the async code refuses what is no input.
    if isinstance(items, list | tuple | str | bytes | Mapping) or not isinstance(items, Iterable):
        return items
    if isinstance(items, Sized):
        return _SizedCallerIterator(items, len(items))
    return CallerIterator(items)


class CallerIterator(AsyncIterator[T]):
    """Items that are drawn in the caller's thread."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items: Iterator[T] | None = iter(items)

    def __aiter__(self) -> Self:
        current_call().cleanups.append(self._let_go)
        return self

    async def __anext__(self) -> T:
        call = current_call()
        try:
            item = await call.run_in_caller(self._next, (call,), can_wait=True)
        except StopAsyncIteration as error:  # which would end the input in silence
            raise RuntimeError("the input raised StopAsyncIteration") from error
        if item is _END:
            raise StopAsyncIteration
        return cast("T", item)

    def _next(self, call: BlockingCall) -> Any:
        if call.state >= CallState.LEAVING or self._items is None:
            return _END
        return next(self._items, _END)

    def _let_go(self) -> None:
        self._items = None


class _SizedCallerIterator(CallerIterator[T]):
    """Items whose number is known."""

    def __init__(self, items: Iterable[T], length: int) -> None:
        super().__init__(items)
        self._length = length

    def __len__(self) -> int:
        return self._length
