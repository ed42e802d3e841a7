"""An input that is drawn in the thread that waits: a generator may be bound to it.

It is let go there as well: a generator's clean-up runs where its last reference is dropped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sized
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lipsync_async._portal.calls import Call, current_call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

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
