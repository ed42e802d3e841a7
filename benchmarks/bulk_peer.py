"""The usual way to run jobs with the service's official client: a task for each.

The task creates its job and then gets it every two seconds until it has ended.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sync import AsyncSync
from sync.common import Audio, GenerationOptions, Video

from benchmarks.bulk_orders import AUDIO, VIDEO

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INTERVAL = 2.0
_ENDED = frozenset({"COMPLETED", "FAILED", "REJECTED"})


@asynccontextmanager
async def peer_client(base_url: str, api_key: str) -> AsyncIterator[AsyncSync]:
    """Build the client as its README does; only the address is another."""
    client = AsyncSync(api_key=api_key, base_url=base_url)
    yield client
    # It has no way of its own to close its connections.
    await client._client_wrapper.httpx_client.httpx_client.aclose()  # noqa: SLF001


async def run_as_peer(client: AsyncSync, interval: float = INTERVAL) -> Any:
    """Run one job, and return it when it has ended."""
    job = await client.generations.create(
        model="lipsync-2",
        input=[Video(url=VIDEO), Audio(url=AUDIO)],
        options=GenerationOptions(sync_mode="cut_off", temperature=0.5),
    )
    while job.status not in _ENDED:
        await asyncio.sleep(interval)
        job = await client.generations.get(job.id)
    return job
