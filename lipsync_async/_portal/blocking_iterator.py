"""One blocking iteration over async items, entered, stepped and left in one task.

A cancel scope must not be left by another task than it was entered by, so successive
calls cannot each drive the async iterator themselves. Nothing runs ahead of the demand:
what is not asked for is not fetched.
"""

from __future__ import annotations

import _thread
import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sized
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from lipsync_async._portal.blocking_call import Call, Item, current_call, shorten
from lipsync_async._threads import may_wait
from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self

    from lipsync_async._callsite import Place
    from lipsync_async._portal.loop_thread import LoopThread


T = TypeVar("T")

_END = object()


def drawn_at_caller(items: Iterable[T]) -> Iterable[T] | AsyncIterator[T]:
    """Let async code draw items in the thread that waits for it.

    While that thread does something else, nothing is drawn; when it leaves, nothing more is.

    Args:
        items: The items; a list or tuple, and what is no input, stays what it is.

    """
    # A list has no code of the user's to run, and the async code refuses what is no input.
    stays = isinstance(items, list | tuple | str | bytes | Mapping)
    if stays or not isinstance(items, Iterable):
        return items
    return _SizedDrawn(items, len(items)) if isinstance(items, Sized) else _Drawn(items)


class _Drawn(AsyncIterator[T]):
    """Hold the items for the async code."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items: Iterator[T] | None = iter(items)

    def __aiter__(self) -> Self:
        current_call().at_leaving.append(self._let_go)
        return self

    async def __anext__(self) -> T:
        call = current_call()
        try:
            item = await call.run_at_caller(self._next, (call,), can_wait=True)
        except StopAsyncIteration as error:  # which would end the input in silence
            raise RuntimeError("the input raised StopAsyncIteration") from error
        if item is _END:
            raise StopAsyncIteration
        return cast("T", item)

    def _next(self, call: Call) -> Any:
        return _END if call.is_leaving or self._items is None else next(self._items, _END)

    def _let_go(self) -> None:
        self._items = None


class _SizedDrawn(_Drawn[T]):
    """Hold items whose number is known."""

    def __init__(self, items: Iterable[T], length: int) -> None:
        super().__init__(items)
        self._length = length

    def __len__(self) -> int:
        return self._length


# What may be asked for, besides an exception that is to be raised inside.
_NEXT, _STOP = object(), object()
# By then the generator that an interruption met while it was closed is gone.
_SOON = 0.01


class Opened(AbstractContextManager["Iterator[T]"], Generic[T]):
    """Keep an async context manager entered, and hand out its items one by one.

    Args:
        keeper: What must not end before this does.
        thread: Where it runs.
        manager: Gives out the items.
        place: The user's own line, which warnings show.

    """

    def __init__(
        self,
        keeper: object,
        thread: LoopThread,
        manager: AbstractAsyncContextManager[AsyncIterator[T]],
        place: Place,
    ) -> None:
        self._keeper = keeper
        self._thread = thread
        self._demands: asyncio.Queue[object] = asyncio.Queue()
        self._stepping = threading.Lock()
        self._is_entered = False
        self._is_left = False
        self._call = Call(thread, partial(_serve, manager, self._demands), place)

    def __enter__(self) -> Iterator[T]:
        if self._is_entered:
            raise ConfigurationError("This block was entered before. Ask for a new one.")
        self._is_entered = True
        self._outcome(self._call.begin())
        return self

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if not self._is_entered:
            raise ConfigurationError("Enter it first: `with ... as items:`, then iterate.")
        if self._is_left or self._call.is_left:
            raise StopIteration
        if self._call.has_ended:  # which only closing the client brings about
            self._outcome(None)
        if not self._stepping.acquire(blocking=False):
            raise ValueError("this iteration is being asked for its next item already")
        try:
            answer = self._call.ask(self._demands.put_nowait, _NEXT)
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
            self._let_input_go()
            return self._is_swallowed(error, traceback)
        except BaseException as interruption:
            if not isinstance(interruption, Exception):
                self._call.leave(interruption)
            raise
        finally:
            self._let_input_go()  # it may have been begun only just now
            self._is_left = True

    def _let_input_go(self) -> None:
        if not self._thread.is_current:
            self._call.let_go()

    def _is_swallowed(self, error: BaseException | None, traceback: TracebackType | None) -> bool:
        """End the iteration; tell whether that was the end of an error as well."""
        call = self._call
        if call.has_ended or call.is_left or self._thread.is_elsewhere:
            return False
        if self._thread.is_current or self._stepping.locked() or not may_wait():
            # The garbage collector found it there, or another thread waits: do not join in.
            self._let_go()
            return False
        if error is None or isinstance(error, (GeneratorExit, StopIteration)):
            # The latter two cannot be raised in a coroutine.
            self._stop(is_dropped=isinstance(error, GeneratorExit))
            return False
        if not isinstance(error, Exception):
            call.leave(error)
            return False
        return self._has_swallowed(error, traceback)

    def __del__(self) -> None:
        call = getattr(self, "_call", None)  # an interruption may have come before it was made
        if call is not None and self._is_entered and not (call.has_ended or call.is_left):
            self._let_go()

    def _stop(self, *, is_dropped: bool) -> None:
        """End the iteration and wait for its clean-up."""
        try:
            self._end(_STOP)
        except KeyboardInterrupt:
            if not is_dropped:
                raise
            # A generator that is closed because nobody holds it can raise nothing.
            threading.Timer(_SOON, _interrupt_main).start()

    def _end(self, demand: object) -> bool:
        """Make a last demand; tell whether it was met, and not made of a closed client."""
        try:
            answer = self._call.ask(self._demands.put_nowait, demand)
        except ConfigurationError:  # pragma: no cover - only if the client is closed just now
            return False
        self._outcome(answer)
        return True

    def _has_swallowed(self, error: Exception, traceback: TracebackType | None) -> bool:
        """Raise an error inside; tell whether it stayed there."""
        try:
            return self._end(error)
        except Exception as raised:
            if raised is not error:
                raise
            error.with_traceback(traceback)  # without its way through the loop
            return False

    def _let_go(self) -> None:
        """Ask for the end without waiting for it."""
        with suppress(ConfigurationError):
            self._thread.offer(self._demands.put_nowait, _STOP)

    def _outcome(self, answer: Item | None) -> Any:
        """Return or raise what an answer stands for, with a traceback for its reader."""
        try:
            return self._call.result() if answer is None else answer.result()
        except StopIteration:
            raise
        except BaseException as error:
            shorten(error)
            raise
        finally:
            del answer  # it may hold its error, whose traceback holds this frame


def _interrupt_main() -> None:
    """Send the main thread a signal that wakes it, too, where it waits.

    Where nobody handles that signal, it would end the process.
    """
    if os.name != "posix":  # pragma: no cover - Windows sends no signal to a thread
        _thread.interrupt_main()
    elif callable(signal.getsignal(signal.SIGINT)):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


async def _serve(
    manager: AbstractAsyncContextManager[AsyncIterator[Any]],
    demands: asyncio.Queue[object],
) -> None:
    send = current_call().send
    async with manager as items:
        send(Item())
        while (demand := await demands.get()) is not _STOP:
            if isinstance(demand, BaseException):
                raise demand
            send(await _step(items))


async def _step(items: AsyncIterator[Any]) -> Item:
    try:
        return Item(await anext(items))
    except StopAsyncIteration:
        return Item(is_last=True)
    except Exception as error:  # noqa: BLE001 - it is raised again, at the caller
        return Item(error=error)


def iterate(opened: Opened[T]) -> Generator[T, None, None]:
    """Yield the items; whoever leaves the generator leaves the context manager."""
    with opened as items:
        yield from items
