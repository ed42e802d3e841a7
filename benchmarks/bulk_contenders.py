"""The ways to run many jobs at once, each as its makers would have it.

`ours` is `run_many`. `peer` is the usual way of using the service's official client: a
task for each job, which creates it and then gets it every two seconds. `raw` is the least
that one task for each job costs: an aiohttp session, `json`, and no more read of a job than
its status.
"""

from __future__ import annotations

import asyncio
import json
import time
from array import array
from itertools import repeat
from typing import TYPE_CHECKING, Any

import aiohttp

from benchmarks.bulk_jobs import place_of
from benchmarks.bulk_orders import AUDIO, VIDEO, order
from lipsync_async import AsyncClient, Limits, PollPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Contender = Callable[[str, "Notices", float], Awaitable[None]]

# An account without limits: more at once than any run has jobs.
_BOUNDLESS = Limits(
    creates_per_minute=None,
    requests_per_minute=None,
    concurrent_generations=1_000_000,
)
_CONNECTIONS = 100  # as many as our own pool has
_BODY = json.dumps(
    {
        "model": "lipsync-2",
        "input": [{"type": "video", "url": VIDEO}, {"type": "audio", "url": AUDIO}],
        "options": {"sync_mode": "cut_off", "temperature": 0.5},
    }
)
_ENDED = frozenset({"COMPLETED", "FAILED", "REJECTED"})


class Notices:
    """Write down when the end of each job was noticed.

    Args:
        number: Jobs in all.

    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.moments = array("d", repeat(0.0, number))
        self.errors: list[str] = []

    def note(self, job_id: str) -> None:
        """Note that a job has ended."""
        self.moments[place_of(job_id)] = time.monotonic()

    def fail(self, error: BaseException | None) -> None:
        """Note that a job came to nothing."""
        self.errors.append(repr(error))


async def ours(base_url: str, notices: Notices, tick: float) -> None:
    """Run all jobs through `run_many`."""
    poll = PollPolicy(shared_interval=tick)
    async with (
        AsyncClient("key", base_url=base_url, limits=_BOUNDLESS, poll=poll) as client,
        client.generations.run_many(map(order, range(notices.number))) as outcomes,
    ):
        async for outcome in outcomes:
            if outcome.generation is None or outcome.error is not None:
                notices.fail(outcome.error)
            else:
                notices.note(outcome.generation.id)


async def bare_posts(base_url: str, number: int) -> None:
    """Create jobs one after another, and read each answer: the least that a create costs."""
    async with _session(base_url) as session:
        for _ in range(number):
            await _create(session)


async def raw(base_url: str, notices: Notices, tick: float) -> None:
    """Let a task for each job ask at every tick."""
    async with _session(base_url) as session:

        async def run() -> None:
            job = await _create(session)
            while job["status"] not in _ENDED:
                await asyncio.sleep(tick)
                async with session.get(f"/v2/generate/{job['id']}") as answer:
                    job = json.loads(await answer.read())
            notices.note(job["id"])

        await _each_in_a_task(run, notices)


async def peer(base_url: str, notices: Notices, _: float) -> None:
    """Let a task for each job ask every two seconds, through one shared client."""
    # Here and not above, for its weight is not for the others to carry.
    from benchmarks.bulk_peer import peer_client, run_as_peer  # noqa: PLC0415

    async with peer_client(base_url, "key") as client:

        async def run() -> None:
            notices.note((await run_as_peer(client)).id)

        await _each_in_a_task(run, notices)


CONTENDERS: dict[str, Contender] = {"ours": ours, "raw": raw, "peer": peer}


def _session(base_url: str) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    headers = {"x-api-key": "key", "content-type": "application/json"}
    return aiohttp.ClientSession(base_url, connector=connector, headers=headers)


async def _create(session: aiohttp.ClientSession) -> dict[str, Any]:
    async with session.post("/v2/generate", data=_BODY) as answer:
        job: dict[str, Any] = json.loads(await answer.read())
    return job


async def _each_in_a_task(run: Callable[[], Awaitable[None]], notices: Notices) -> None:
    async def run_one() -> None:
        try:
            await run()
        except Exception as error:  # noqa: BLE001 - counted, and told at the end
            notices.fail(error)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(notices.number):
            tasks.create_task(run_one())
