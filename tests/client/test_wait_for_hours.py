"""Waiting in virtual time: hours, outages and deadlines, in milliseconds."""

import logging
from collections.abc import AsyncIterator

import anyio
import pytest

from lipsync_async import (
    AsyncClient,
    Generation,
    NotFoundError,
    PollPolicy,
    RequestTimeoutError,
    Response,
    ServerError,
    Status,
    WaitTimeoutError,
)
from lipsync_async._models.http import Request
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import VirtualClock
from tests.client.connections import ORDER, opened, order
from tests.client.waiters import LOOKS, World, world


@pytest.fixture
async def hours() -> AsyncIterator[World]:
    """Give jobs of ten minutes on a clock that takes no time."""
    async with world("time(600)") as entered:
        yield entered


@pytest.fixture
async def endless() -> AsyncIterator[World]:
    """Give jobs that never end by themselves."""
    async with world("manual") as entered:
        yield entered


async def test_two_hours_are_the_usual_limit(endless: World) -> None:
    """A wait ends after two hours to the second, and says how to go on."""
    created = await order(endless.client)
    with pytest.raises(WaitTimeoutError) as caught:
        await endless.client.generations.wait_until_complete(created)
    assert endless.clock.now() == 7200.0
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.generation == created
    assert f"wait_until_complete({created.id!r}) to go on waiting" in str(caught.value)
    endless.complete(created)
    assert (await endless.client.generations.wait_until_complete(created.id)).is_completed


@pytest.mark.parametrize("timeout", [0.25, 1.0, 1.5, 90.0])
async def test_any_limit_is_kept(endless: World, timeout: float) -> None:
    """Short limits are kept as exactly as long ones, and hold at least one look."""
    created = await order(endless.client)
    with pytest.raises(WaitTimeoutError, match=f"after {timeout:g} s"):
        await endless.client.generations.wait_until_complete(created, timeout=timeout)
    assert endless.clock.now() == timeout
    assert endless.looks >= 1


async def test_no_limit() -> None:
    """With `None` a wait lasts as long as the job."""
    clock = VirtualClock()
    rarely = PollPolicy(long_poll=None, max_interval=600.0)
    async with opened("memory", clock=clock, progression="time(100000)") as (client, _):
        done = await client.with_options(poll=rarely).generations.run(**ORDER, timeout=None)
    assert done.is_completed
    assert 100_000.0 <= clock.now() <= 100_600.0


@pytest.mark.parametrize("timeout", [60.0, 3.0])
async def test_long_poll_is_honoured(hours: World, timeout: float) -> None:
    """The end is seen in two seconds by five looks a minute, held beyond the timeout or not."""
    done = await hours.client.with_options(timeout=timeout).generations.run(**ORDER)
    assert done.is_completed
    assert 600.0 <= hours.clock.now() <= 602.0
    assert 50 <= hours.looks <= 61
    assert hours.sandbox.requests.count(*LOOKS, query={"wait": "true"}) == hours.looks


@pytest.mark.parametrize(("long_poll", "asked"), [(10.0, 1), (None, 0)])
async def test_without_the_long_poll(hours: World, long_poll: float | None, asked: int) -> None:
    """Where looks are answered at once, or not to be held, pauses grow to the longest."""
    hours.break_looks("ignore_wait")
    plain = hours.client.with_options(poll=PollPolicy(long_poll=long_poll))
    assert (await plain.generations.run(**ORDER)).is_completed
    assert 600.0 <= hours.clock.now() <= 610.0
    assert 600 / 10 <= hours.looks <= 600 / 5 + 10
    assert hours.sandbox.requests.count(*LOOKS, query={"wait": "true"}) == asked


async def test_lying_long_poll_is_no_busy_loop() -> None:
    """A service that claims to hold looks open, but answers at once, is spared too."""
    clock, looks = VirtualClock(), 0

    async def answer(request: Request) -> Response:
        nonlocal looks
        looks += 1
        await anyio.lowlevel.checkpoint()
        headers = {"x-sync-wait-mode": "long_poll"}
        return Response("GET", request.url, 200, headers, b'{"id": "job-1", "status": "PENDING"}')

    async with AsyncClient("key", transport=MemoryTransport(answer, clock)) as client:
        with pytest.raises(WaitTimeoutError):
            await client.generations.wait_until_complete("job-1", timeout=600.0)
    assert looks <= 600 / 5 + 10


async def test_a_fresh_create_may_still_spread(hours: World) -> None:
    """Right after the create, "no such generation" is given some seconds of grace."""
    hours.break_looks("status", status=404, count=3)
    assert (await hours.client.generations.run(**ORDER)).is_completed


@pytest.mark.parametrize(("grace", "latest"), [(10.0, 10.2), (0.0, 0.0)])
async def test_grace_ends(
    hours: World, grace: float, latest: float, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that no one knows is an error after the grace, not after two hours; the log tells."""
    caplog.set_level(logging.INFO, "lipsync_async.retry")
    job_id = "00000000-0000-4000-8000-000000000000"
    strict = hours.client.with_options(poll=PollPolicy(not_found_grace=grace))
    with pytest.raises(NotFoundError) as caught:
        await strict.generations.wait_until_complete(job_id)
    assert grace <= hours.clock.now() <= latest
    assert caught.value.generation is not None
    assert caught.value.generation.id == job_id
    told = f"waiting: the service does not know generation {job_id} (404), which may be too new"
    assert caplog.messages == [f"{told}; asking again for up to 10 s"] * (grace > 0)


@pytest.mark.parametrize("kind", ["status", "reset_before", "hang", "malformed_json"])
async def test_an_outage_is_sat_out(hours: World, kind: str) -> None:
    """Four minutes of a broken service do not end a wait."""
    created = await order(hours.client)
    hours.break_looks(kind, status=500 if kind == "status" else None)
    hours.clock.call_later(240.0, hours.sandbox.faults.clear)
    assert (await hours.client.generations.wait_until_complete(created)).is_completed


async def test_an_outage_without_end(hours: World) -> None:
    """After `give_up_after` an outage is an error that still names the job."""
    created = await order(hours.client)
    hours.break_looks("status", status=503)
    with pytest.raises(ServerError) as caught:
        await hours.client.generations.wait_until_complete(created)
    assert 200.0 <= hours.clock.now() <= 300.0
    assert caught.value.generation == created


@pytest.mark.parametrize(("kind", "cause"), [("hang", RequestTimeoutError), ("status", None)])
async def test_deadline_clips_requests_and_pauses(
    endless: World, kind: str, cause: type[Exception] | None
) -> None:
    """Neither a hanging look nor the pause after a failed one outlasts the wait's limit."""
    created = await order(endless.client)
    endless.break_looks(kind, status=500 if kind == "status" else None)
    with pytest.raises(WaitTimeoutError) as caught:
        await endless.client.generations.wait_until_complete(created, timeout=42.0)
    assert endless.clock.now() == 42.0
    assert caught.value.generation == created
    assert isinstance(caught.value.__cause__, cause or Exception)


async def test_changes_that_the_limit_cuts_off(endless: World) -> None:
    """Updates end with the limit as an error, after what was seen until then."""
    created = await order(endless.client)
    endless.clock.call_later(5.0, lambda: endless.sandbox.jobs.move(created.id, "PROCESSING"))
    seen: list[Generation] = []
    async with endless.client.generations.updates(created, timeout=60.0) as changes:
        seen.append(await anext(changes))
        with pytest.raises(WaitTimeoutError, match="is still PROCESSING"):
            seen.append(await anext(changes))
    assert [change.status for change in seen] == [Status.PROCESSING]
