"""Several runs of one client share its account, at once or one after another."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from lipsync_async import AsyncClient, GenerationRequest, Outcome, PollPolicy, RetryPolicy
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.bulk.runs import made, opened, refusals, requests, slots
from tests.client.connections import connect


async def all_at_once(*clients: AsyncClient, many: int) -> list[list[Outcome]]:
    """Run as many requests with each client, all at once."""
    found: list[list[Outcome]] = []

    async def run(client: AsyncClient) -> None:
        found.append(await client.generations.run_all(requests(many)))

    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(run, client)
    return found


@pytest.mark.parametrize("limit", [1, 3, 6])
async def test_runs_share_the_slots(limit: int) -> None:
    """Together they keep a known number of slots full, and never exceed it."""
    async with opened(slots(limit), concurrency=limit) as (client, sandbox, clock):
        found = await all_at_once(client, client, client, many=8)
        assert [sum(each.is_success for each in run) for run in found] == [8] * 3
        assert refusals(sandbox) == 0
        assert set(made(sandbox).values()) == {3}
        assert clock.now() <= 24 / limit * 11.1 + 5


async def settled(sandbox: Sandbox, jobs: int) -> bool:
    """Let all tasks run; return whether so many jobs were made."""
    for _ in range(100):
        await anyio.lowlevel.checkpoint()
    return sandbox.jobs.created == jobs


def fail_newest(sandbox: Sandbox) -> None:
    """Let the job that was made last fail."""
    (*_, job) = sandbox.jobs
    sandbox.jobs.move(job.id, "PROCESSING")
    sandbox.jobs.move(job.id, "FAILED")


async def test_a_run_waits_for_the_slots_of_another() -> None:
    """What one run frees by an end the other takes at once; what it leaves runs on in its slot."""
    async with (
        opened(slots(2), progression="manual") as (client, sandbox, clock),
        anyio.create_task_group() as tasks,
    ):
        async with client.generations.run_many(requests(2)) as first:
            assert await settled(sandbox, 2)
            tasks.start_soon(client.generations.run_all, requests(3))
            assert await settled(sandbox, 2)
            fail_newest(sandbox)
            await anext(first)
            assert await settled(sandbox, 3)
        assert await settled(sandbox, 3)
        (left, *_) = sandbox.jobs
        sandbox.jobs.move(left.id, "PROCESSING")
        sandbox.jobs.move(left.id, "COMPLETED")
        await clock.sleep(5.1)
        assert await settled(sandbox, 4)
        tasks.cancel_scope.cancel()


async def test_a_run_inside_another() -> None:
    """What comes of one run may be the input of a second, which need not wait for its end."""
    async with opened(slots(4), concurrency=4) as (client, sandbox, clock):
        async with client.generations.run_many(requests(12)) as first:

            async def again() -> AsyncIterator[GenerationRequest]:
                async for each in first:
                    yield each.request

            found = await client.generations.run_all(again())
        assert len(found) == 12
        assert sandbox.jobs.created == 24
        assert refusals(sandbox) == 0
        assert clock.now() <= 24 / 4 * 11.1 + 20


async def test_views_share_too() -> None:
    """A view's own patience and callback are used, on the same slots."""
    seen: list[str] = []
    async with opened(slots(2), concurrency=2) as (client, sandbox, _):
        view = client.with_options(
            on_response=lambda response: seen.append(response.method),
            timeout=5.0,
            retry=RetryPolicy(attempts=2),
            poll=PollPolicy(shared_interval=2.0),
        )
        sandbox.faults.add(Fault("status", status=500, path="/v2/generate", count=2))
        found = await all_at_once(client, view, many=6)
        assert all(each.is_success for run in found for each in run)
        assert refusals(sandbox) == 0
        assert seen.count("POST") >= 6


async def test_waits_and_runs_share_the_poller() -> None:
    """A wait for a job beside a run shares its polls."""
    async with opened(slots(30), progression="time(30)") as (client, sandbox, _):
        own = [await client.generations.create(request) for request in requests(10)]
        async with anyio.create_task_group() as tasks:
            for job in own:
                tasks.start_soon(client.generations.wait_until_complete, job)
            found = await client.generations.run_all(requests(20))
        assert all(each.is_success for each in found)
        assert sandbox.requests.count("GET") <= 30 / 0.5 + 30


async def test_one_loop_after_another() -> None:
    """A client that two `asyncio.run` calls use begins anew in each, whatever the first left."""

    async def leave(client: AsyncClient) -> None:
        async with client.generations.run_many(requests(2)):
            raise LookupError

    async def finish(client: AsyncClient) -> list[Outcome]:
        async with client:
            return await client.generations.run_all(requests(8))

    def in_two_loops(sandbox: Sandbox) -> list[Outcome]:
        client = connect(sandbox, limits=slots(2))
        with pytest.raises(LookupError):
            asyncio.run(leave(client))
        return asyncio.run(finish(client))

    async with Sandbox(render=False, progression="polls(2)") as sandbox:
        with ThreadPoolExecutor(1) as pool:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(pool, in_two_loops, sandbox)
        assert [each.is_success for each in found] == [True] * 8
        assert 8 <= sandbox.jobs.created <= 10
