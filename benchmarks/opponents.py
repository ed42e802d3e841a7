"""The ways to get a generation, each as its makers would have it.

`raw` is the least that an asyncio program can do: one aiohttp session, `json`, and the
same decoding as ours. `peer` is the service's official client with its defaults. Both
`ours` and `peer` come in async and in blocking.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from sync import AsyncSync, Sync

from lipsync_async import AsyncClient, Client, Generation, Limits
from lipsync_async._logic.codec import decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    Get = Callable[[str], Awaitable[Any]]
    Opponent = Callable[[str], AbstractAsyncContextManager[Get]]
    BlockingGet = Callable[[str], Any]
    BlockingOpponent = Callable[[str], AbstractContextManager[BlockingGet]]

_UNLIMITED = Limits(creates_per_minute=None, requests_per_minute=None)
_CONNECTIONS = 100  # as many as our own pool has


@asynccontextmanager
async def raw(base_url: str) -> AsyncIterator[Get]:
    """Build what a careful user of aiohttp would write by hand."""
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    headers = {"x-api-key": "key"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def get(generation_id: str) -> Generation:
            async with session.get(f"{base_url}/v2/generate/{generation_id}") as answer:
                return decode(Generation, json.loads(await answer.read()))

        yield get


@asynccontextmanager
async def ours(base_url: str) -> AsyncIterator[Get]:
    """Build this project's client with its defaults; the others keep no budget either."""
    async with AsyncClient("key", base_url=base_url, limits=_UNLIMITED) as client:
        yield client.generations.get


@asynccontextmanager
async def peer(base_url: str) -> AsyncIterator[Get]:
    """Build `syncsdk`'s client as its README does; only the address is another."""
    client = AsyncSync(api_key="key", base_url=base_url)
    yield client.generations.get
    # It has no way of its own to close its connections.
    await client._client_wrapper.httpx_client.httpx_client.aclose()  # noqa: SLF001


@contextmanager
def blocking_ours(base_url: str) -> Iterator[BlockingGet]:
    """Build this project's blocking client with its defaults."""
    with Client("key", base_url=base_url, limits=_UNLIMITED) as client:
        yield client.generations.get


@contextmanager
def blocking_peer(base_url: str) -> Iterator[BlockingGet]:
    """Build `syncsdk`'s blocking client as its README does; only the address is another."""
    client = Sync(api_key="key", base_url=base_url)
    yield client.generations.get
    # It has no way of its own to close its connections.
    client._client_wrapper.httpx_client.httpx_client.close()  # noqa: SLF001


OPPONENTS: dict[str, Opponent] = {"raw": raw, "ours": ours, "peer": peer}
BLOCKING_OPPONENTS: dict[str, BlockingOpponent] = {"ours": blocking_ours, "peer": blocking_peer}
