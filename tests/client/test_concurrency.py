"""Many at once over one client, and leaving in the middle."""

import asyncio
from contextlib import suppress
from functools import partial

import anyio
import pytest

from lipsync_async import AsyncClient, Generation
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.client.connections import Door, cancel_when, completed, opened, order

Pair = tuple[AsyncClient, Sandbox]


async def test_fifty_tasks(client_and_sandbox: Pair) -> None:
    """Fifty tasks order and wait over one client; each gets its own job."""
    client, sandbox = client_and_sandbox
    done: list[Generation] = []

    async def run(number: int) -> None:
        job = await completed(client, output_file_name=f"take-{number}")
        assert job.output_file_name == f"take-{number}"
        done.append(job)

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(run, number)
    assert len({job.id for job in done}) == 50
    assert sandbox.jobs.count("COMPLETED") == 50


@pytest.mark.traced_once
async def test_thousand_looks_at_once(door: Door) -> None:
    """A thousand looks at once all succeed, each at its own job, without a retry."""
    async with opened(door, progression="manual") as (client, sandbox):
        jobs = [(await order(client)).id for _ in range(10)]
        sandbox.requests.clear()
        seen: list[bool] = []

        async def look(number: int) -> None:
            wanted = jobs[number % 10]
            seen.append((await client.generations.get(wanted)).id == wanted)

        async with anyio.create_task_group() as tasks:
            for number in range(1000):
                tasks.start_soon(look, number)
        assert seen == [True] * 1000
        assert len(sandbox.requests) == 1000
    assert "in_flight=0" in repr(client)


async def test_in_flight(async_door: Door) -> None:
    """The repr tells how many calls are under way, of all views together."""
    async with opened(async_door) as (client, sandbox):
        sandbox.faults.add(Fault("hang", count=3))
        view = client.with_options(timeout=30.0)
        await cancel_when(
            lambda: "in_flight=3" in repr(client) and repr(view) == repr(client),
            *(each.models.list for each in (client, view, view)),
        )
        assert "in_flight=0" in repr(client)


async def test_cancelled_requests_leave_the_client_usable(async_door: Door) -> None:
    """Requests cancelled in the middle, anyio's way or asyncio's, take no place with them."""
    async with opened(async_door, progression="manual") as (client, sandbox):
        job = await order(client)
        sandbox.requests.clear()
        sandbox.faults.add(Fault("hang", count=220))
        look = partial(client.generations.get, job.id)
        await cancel_when(lambda: len(sandbox.requests) >= 100, *[look] * 110)
        task = asyncio.create_task(client.generations.get(job.id))
        arrived = len(sandbox.requests)
        while len(sandbox.requests) == arrived:
            await anyio.lowlevel.checkpoint()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        sandbox.faults.clear()
        assert (await client.generations.get(job.id)).id == job.id


async def test_native_timeout_of_a_wait(async_door: Door) -> None:
    """`asyncio.timeout` around a wait ends the wait, and the job goes on."""
    async with opened(async_door, progression="manual") as (client, sandbox):
        job = await order(client)
        sandbox.faults.add(Fault("hang", method="GET"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await client.generations.wait_until_complete(job)
        sandbox.jobs.move(job.id, "PROCESSING")
        sandbox.jobs.move(job.id, "COMPLETED")
        assert (await client.generations.wait_until_complete(job)).is_completed
