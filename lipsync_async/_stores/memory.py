"""Account store in this process's memory, for tests and for clients of several event loops."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

import attrs

from lipsync_async._threads import new_lock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lipsync_async._stores.protocol import Rule

T = TypeVar("T")


@attrs.define(slots=True, eq=False)
class MemoryAccountStore:
    """Account store in this process's memory.

    Args:
        clock: Returns the time in seconds; it must not go back.
    """

    _clock: Callable[[], float] = time.monotonic
    _documents: dict[str, bytes] = attrs.field(factory=dict, init=False)
    _listeners: dict[object, tuple[str, asyncio.AbstractEventLoop, Callable[[], object]]] = (
        attrs.field(factory=dict, init=False)
    )
    _lock: Lock = attrs.field(factory=new_lock, init=False)

    def __attrs_post_init__(self) -> None:
        _STORES.add(self)

    async def change(self, name: str, rule: Rule[T], *, tells: bool = False) -> T:
        """Change a document by a rule, atomically, and return the rule's answer.

        Args:
            name: The document's name.
            rule: Gets the document (`None`: there is none) and the time in seconds; returns the
                new document (`None`: nothing is changed) and an answer.
            tells: Whether to call the listeners of the document, if it is changed.

        """
        with self._lock:
            document, answer = rule(self._documents.get(name), self._clock())
            if document is not None:
                self._documents[name] = document
            listeners = [*self._listeners.values()] if tells and document is not None else []
        for listened, loop, callback in listeners:
            if listened == name:
                with suppress(RuntimeError):  # that loop is closed
                    loop.call_soon_threadsafe(callback)
        return answer

    @asynccontextmanager
    async def listen(self, name: str, callback: Callable[[], object]) -> AsyncIterator[None]:
        """Call `callback` in the running loop after each change that tells; inside the block."""
        listener = object()
        with self._lock:
            self._listeners[listener] = name, asyncio.get_running_loop(), callback
        try:
            yield
        finally:
            with self._lock:
                del self._listeners[listener]

    async def forget(self, name: str) -> None:
        """Delete a document, as a server that loses its state does; for tests."""
        with self._lock:
            self._documents.pop(name, None)

    async def aclose(self) -> None:
        """Close nothing: the documents stay."""


_STORES: WeakSet[MemoryAccountStore] = WeakSet()


def _begin_anew_after_fork() -> None:  # pragma: no cover - forked children are not traced
    for store in [*_STORES]:
        store._lock = new_lock()  # noqa: SLF001 - the thread that held it is not in the child


# Not every platform forks.
getattr(os, "register_at_fork", dict)(after_in_child=_begin_anew_after_fork)
