"""The blocking client behind the async one's face, so that one suite tests both.

Each verb runs in a thread of a pool, as blocking code in an async program does. What a
test expects of the async client it then expects of the blocking one, word for word.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any

from lipsync_async import Client
from lipsync_async._portal import SyncWrapper

_THREADS = 50
_END = object()


class Awaited:
    """Show a blocking object as an async one; its verbs run in the pool."""

    def __init__(self, source: SyncWrapper, pool: ThreadPoolExecutor) -> None:
        self._source = source
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        """Return the async form of a verb, or of another blocking object."""
        value = getattr(self._source, "close" if name == "aclose" else name)
        if isinstance(value, SyncWrapper):
            return Awaited(value, self._pool)
        forms: dict[str, Callable[..., Any]] = {
            "with_options": self._view,
            "updates": self._opened,
            "iter": self._iterated,
            "download_chunks": self._iterated,
            "iter_usage": self._iterated,
            "results": self._iterated,
        }
        return partial(forms.get(name, self._run), value)

    def __repr__(self) -> str:
        """Show the blocking object under the async one's name."""
        return repr(self._source).replace("<Client", "<AsyncClient")

    async def _run(self, verb: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, partial(verb, *arguments, **named))

    def _view(self, verb: Callable[..., SyncWrapper], **named: Any) -> "Awaited":
        return Awaited(verb(**named), self._pool)

    async def _iterated(
        self, verb: Callable[..., Iterator[Any]], *arguments: Any, **named: Any
    ) -> AsyncIterator[Any]:
        items = verb(*arguments, **named)
        try:
            async for item in self._stepped(items):
                yield item
        finally:
            await self._run(items.close)  # type: ignore[attr-defined] # it is a generator

    async def _stepped(self, items: Iterator[Any]) -> AsyncIterator[Any]:
        while (item := await self._run(next, items, _END)) is not _END:
            yield item

    @asynccontextmanager
    async def _opened(
        self,
        verb: Callable[..., AbstractContextManager[Iterator[Any]]],
        *arguments: Any,
        **named: Any,
    ) -> AsyncIterator[AsyncIterator[Any]]:
        manager = verb(*arguments, **named)
        items = await self._run(manager.__enter__)
        try:
            yield self._stepped(items)
        finally:
            await self._run(manager.__exit__, None, None, None)


@asynccontextmanager
async def awaited(client: Client) -> AsyncIterator[Any]:
    """Close a blocking client, and the threads that used it, in the end."""
    with ThreadPoolExecutor(_THREADS) as pool:
        shown = Awaited(client, pool)
        try:
            yield shown
        finally:
            await shown.aclose()
