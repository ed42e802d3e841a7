"""Three doors to one service: sockets, memory on a virtual clock, and the blocking client.

Over sockets nothing may really wait, so clients there are quick: pauses of a millisecond.
In memory clients keep the product's own patience, because virtual time costs nothing. The
blocking client goes over sockets, too; the tests see it as an async one.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

import anyio
import attrs

from lipsync_async import (
    AsyncClient,
    Audio,
    Client,
    Generation,
    Limits,
    PollPolicy,
    RetryPolicy,
    Video,
)
from lipsync_async.sandbox import Sandbox, VirtualClock
from lipsync_async.sandbox.server.memory_server import MEMORY_URL
from tests.client.blocking_as_async import awaited

Door = Literal["memory", "sockets", "blocking"]

INPUTS = (Video("https://media.example/clip.mp4"), Audio("https://media.example/speech.wav"))
ORDER: dict[str, Any] = {"model": "lipsync-2", "input": INPUTS}

UNLIMITED = Limits(**{limit.name: None for limit in attrs.fields(Limits)})
QUICK: dict[str, Any] = {
    "retry": RetryPolicy(first_pause=0.001, longest_pause=0.002),
    "poll": PollPolicy(
        initial_interval=0.001, max_interval=0.002, long_poll=None, shared_interval=0.001
    ),
    "limits": UNLIMITED,
}


def connect(sandbox: Sandbox, **settings: Any) -> AsyncClient:
    """Return a client of the sandbox, through the door that the sandbox has."""
    if sandbox.url == MEMORY_URL:
        settings = {"transport": sandbox.transport(), "limits": UNLIMITED, **settings}
    else:
        settings = QUICK | settings
    return AsyncClient(sandbox.api_key, base_url=sandbox.url, **settings)


@asynccontextmanager
async def opened(door: Door, **settings: Any) -> AsyncIterator[tuple[AsyncClient, Sandbox]]:
    """Run a sandbox that renders nothing, and a client that is connected to it."""
    clock = VirtualClock() if door == "memory" else None
    usual: dict[str, Any] = {"seed": 1, "render": False, "progression": "polls(2)", "clock": clock}
    async with Sandbox(**usual | settings) as sandbox, entered(door, sandbox) as client:
        yield client, sandbox


def entered(
    door: Door, sandbox: Sandbox, **settings: Any
) -> AbstractAsyncContextManager[AsyncClient]:
    """Return what opens a client of the sandbox; the blocking one looks like an async one."""
    if door != "blocking":
        return connect(sandbox, **settings)
    return awaited(Client(sandbox.api_key, base_url=sandbox.url, **QUICK | settings))


def records_of(sandbox: Sandbox) -> dict[str, Any]:
    """Return what the service keeps of each idempotency key, of whatever route."""
    records = sandbox._state.idempotency._records  # noqa: SLF001
    return {key.rpartition(" ")[2]: record for key, record in records.items()}


async def order(client: AsyncClient, **fields: Any) -> Generation:
    """Order a generation like any other."""
    return await client.generations.create(**ORDER | fields)


async def completed(client: AsyncClient, **fields: Any) -> Generation:
    """Order a generation and see it through."""
    return await client.generations.run(**ORDER | fields)


async def cancel_when(
    is_time: Callable[[], bool], *calls: Callable[[], Coroutine[Any, Any, Any]]
) -> None:
    """Make calls at once, and cancel all of them in the middle.

    A task of its own is cancelled, because Python 3.11 does not trace what the same task
    does next, and coverage would miss it.
    """

    async def make_and_cancel() -> None:
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call)
            while not is_time():
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(make_and_cancel)
