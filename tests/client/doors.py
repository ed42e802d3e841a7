"""Two doors to one service: sockets, and memory on a virtual clock.

Over sockets nothing may really wait, so clients there are quick: pauses of a millisecond.
In memory clients keep the product's own patience, because virtual time costs nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from lipsync_async import AsyncClient, Audio, Generation, PollPolicy, RetryPolicy, Video
from lipsync_async._transport.memory import VirtualClock
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.memory import MEMORY_URL

Door = Literal["memory", "sockets"]

INPUTS = (Video("https://media.example/clip.mp4"), Audio("https://media.example/speech.wav"))
ORDER: dict[str, Any] = {"model": "lipsync-2", "input": INPUTS}

_QUICK: dict[str, Any] = {
    "retry": RetryPolicy(first_pause=0.001, longest_pause=0.002),
    "poll": PollPolicy(first_interval=0.001, longest_interval=0.002, long_poll=None),
}


def connect(sandbox: Sandbox, **settings: Any) -> AsyncClient:
    """Return a client of the sandbox, through the door that the sandbox has."""
    if sandbox.url == MEMORY_URL:
        settings = {"transport": sandbox.transport(), **settings}
    else:
        settings = _QUICK | settings
    return AsyncClient(sandbox.api_key, base_url=sandbox.url, **settings)


@asynccontextmanager
async def opened(door: Door, **settings: Any) -> AsyncIterator[tuple[AsyncClient, Sandbox]]:
    """Run a sandbox that renders nothing, and a client that is connected to it."""
    clock = VirtualClock() if door == "memory" else None
    usual: dict[str, Any] = {"seed": 1, "render": False, "progression": "polls(2)", "clock": clock}
    async with Sandbox(**usual | settings) as sandbox, connect(sandbox) as client:
        yield client, sandbox


async def order(client: AsyncClient, **fields: Any) -> Generation:
    """Order a generation like any other."""
    return await client.generations.create(**ORDER | fields)


async def completed(client: AsyncClient, **fields: Any) -> Generation:
    """Order a generation and see it through."""
    return await client.generations.run(**ORDER | fields)
