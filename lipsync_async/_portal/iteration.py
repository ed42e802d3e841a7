"""One blocking iteration over async items, entered, stepped and left in one task.

A cancel scope must not be left by another task than it was entered by, so successive
calls cannot each drive the async iterator themselves. Nothing runs ahead of the demand:
what is not asked for is not fetched.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lipsync_async._portal.calls import Call, Item, current_call, result_of
from lipsync_async._portal.tracebacks import shorten
from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator
    from contextlib import AbstractAsyncContextManager
    from types import FrameType, TracebackType

    from lipsync_async._portal.calls import Answer
    from lipsync_async._portal.loop_thread import LoopThread

T = TypeVar("T")

# What may be asked for, besides an exception that is to be raised inside.
_NEXT, _STOP = object(), object()


class Opened(AbstractContextManager["Iterator[T]"], Generic[T]):
    """Keep an async context manager entered, and hand out its items one by one.

    Args:
        thread: Where it runs.
        manager: Gives out the items.
        caller: The user's own frame, whose line warnings show.

    """

    def __init__(
        self,
        thread: LoopThread,
        manager: AbstractAsyncContextManager[AsyncIterator[T]],
        caller: FrameType,
    ) -> None:
        self._thread = thread
        self._manager = manager
        self._caller = caller
        self._demands: asyncio.Queue[object] = asyncio.Queue()
        self._call: Call | None = None

    def __enter__(self) -> Iterator[T]:
        self._call = Call(self._thread, self._serve(), self._caller)
        _settled(self._call.begin())
        return self

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._call is None or self._call.is_over:
            raise StopIteration
        item: T = _settled(self._call.ask(self._demands.put_nowait, _NEXT))
        return item

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        call = self._call
        if call is None or call.is_over or self._thread.is_elsewhere:
            return False
        if self._thread.is_current:  # the garbage collector found it there; it must not wait
            self._thread.submit(self._demands.put_nowait, _STOP)
            return False
        if error is None or isinstance(error, (GeneratorExit, StopIteration)):
            # The latter two cannot be raised in a coroutine.
            self._end(call, _STOP)
            return False
        if not isinstance(error, Exception):
            call.leave(error)
            return False
        try:
            self._end(call, error)
        except Exception as raised:
            if raised is not error:
                raise
            error.__traceback__ = traceback  # without its way through the loop
            return False
        return True

    def _end(self, call: Call, demand: object) -> None:
        try:
            answer = call.ask(self._demands.put_nowait, demand)
        except ConfigurationError:  # the client was closed: everything is cleaned up already
            return
        _settled(answer)

    async def _serve(self) -> None:
        send = current_call().send
        async with self._manager as items:
            send(Item())
            while (demand := await self._demands.get()) is not _STOP:
                if isinstance(demand, BaseException):
                    raise demand
                send(await _step(items))


def iterate(opened: Opened[T]) -> Generator[T, None, None]:
    """Yield the items; whoever leaves the generator leaves the context manager."""
    with opened as items:
        yield from items


def _settled(answer: Answer) -> Any:
    """Return or raise what an answer stands for, with a traceback for its reader."""
    try:
        return result_of(answer)
    except StopIteration:
        raise
    except BaseException as error:
        shorten(error)
        raise
    finally:
        del answer  # it may hold its error, whose traceback holds this frame


async def _step(items: AsyncIterator[Any]) -> Item:
    try:
        return Item(await anext(items))
    except StopAsyncIteration:
        return Item(error=StopIteration())
    except Exception as error:  # noqa: BLE001 - it is raised again, at the caller
        return Item(error=error)
