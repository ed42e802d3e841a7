"""An input that is drawn in the thread that waits: a generator may be bound to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lipsync_async._portal.calls import current_call

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

_END = object()


def drawn_at_caller(items: Iterable[T]) -> Iterable[T] | AsyncIterator[T]:
    """Let async code draw items in the thread that waits for it.

    While that thread does something else, nothing is drawn.

    Args:
        items: The items; a list or tuple, and what cannot be iterated over, stays what it is.

    """
    # A list has no code of the user's to run, and the async code refuses what is no input.
    if isinstance(items, list | tuple) or not isinstance(items, Iterable):
        return items
    return _draw(iter(items))


async def _draw(items: Iterator[T]) -> AsyncIterator[T]:
    while (item := await current_call().run_at_caller(_next, (items,))) is not _END:
        yield cast("T", item)


def _next(items: Iterator[Any]) -> Any:
    return next(items, _END)
